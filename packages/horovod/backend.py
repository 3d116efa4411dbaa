"""Builds Horovod's wheel from its own published source archive, with the few changes that today's world needs.

The archive comes from the package index that pip is configured for, and must have the SHA-256 below.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from setuptools import build_meta

ARCHIVE = "horovod==0.28.1 --hash=sha256:92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0"
CHANGES = [  # file, what stands in it once, what takes its place
    # Allreduce inside jit_compile=True, off unless asked for: it needs headers that TensorFlow 2.19 no longer has.
    (
        "horovod/tensorflow/CMakeLists.txt",
        'list(APPEND TF_SOURCES "${PROJECT_SOURCE_DIR}/horovod/tensorflow/xla_mpi_ops.cc")\n',
        "",
    ),
    # GCC 14 refuses an assignment to it, in an operator that nobody calls.
    (
        "third_party/flatbuffers/include/flatbuffers/stl_emulation.h",
        "  const size_type count_;\n",
        "  size_type count_;\n",
    ),
    # It forgets HOROVOD_GLOO_IFACE where it connects process sets, through which all sums go, and listens at whatever
    # the host's name leads to: 127.0.1.1 on many a Debian host, nothing at all on others.
    (
        "horovod/common/gloo/gloo_context.cc",
        "  assert(global_context.IsEnabled());\n",
        "  assert(global_context.IsEnabled());\n  gloo_iface_ = global_context.gloo_iface_;\n",
    ),
    # The pause between cycles, of HOROVOD_CYCLE_TIME, ends when there is a tensor. In each cycle all ranks tell each
    # other which tensors are ready: a sum would wait for the end of a long pause, and short ones cost ranks that train
    # on processors a tenth of their time.
    (
        "horovod/common/operations.cc",
        "    std::this_thread::sleep_for(sleep_duration);\n",
        "    state.process_set_table.Get(0).tensor_queue.WaitForTensor(sleep_duration);\n",
    ),
    (
        "horovod/common/tensor_queue.h",
        "#include <mutex>\n",
        "#include <condition_variable>\n#include <mutex>\n",
    ),
    (
        "horovod/common/tensor_queue.h",
        "  void RemoveJoinTensor();\n",
        """  void RemoveJoinTensor();

  std::condition_variable has_tensor_;

  void WaitForTensor(std::chrono::nanoseconds longest) {
    std::unique_lock<std::mutex> lock(mutex_);
    has_tensor_.wait_for(lock, longest, [this] { return !tensor_table_.empty(); });
  }
""",
    ),
    (
        "horovod/common/tensor_queue.cc",
        "  message_queue_.push(std::move(message));\n  return Status::OK();\n",
        "  message_queue_.push(std::move(message));\n  has_tensor_.notify_one();\n  return Status::OK();\n",
    ),
    (
        "horovod/common/tensor_queue.cc",
        "    message_queue_.push(std::move(messages[i]));\n  }\n",
        "    message_queue_.push(std::move(messages[i]));\n  }\n  has_tensor_.notify_one();\n",
    ),
]
# Headers that GCC 13 no longer includes by itself.
FLAGS = "-include stdexcept -include string -include cstdint"
SETTINGS = {
    "HOROVOD_WITH_TENSORFLOW": "1",
    "HOROVOD_WITH_GLOO": "1",
    "HOROVOD_WITHOUT_MPI": "1",
    "HOROVOD_WITHOUT_PYTORCH": "1",
    "HOROVOD_WITHOUT_MXNET": "1",
    "HOROVOD_LOCAL_VERSION": "farandole",  # what tells this Horovod from the published one
}


def build_wheel(directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """The hook of PEP 517; returns the name of the wheel that it put into `directory`.

    What the environment says wins: HOROVOD_GPU_OPERATIONS and the like, CXX, CXXFLAGS in addition to ours.
    """
    with tempfile.TemporaryDirectory() as scratch:
        archive = download(Path(scratch))
        shutil.unpack_archive(archive, scratch)  # no filter: Python 3.11.2 knows none, and the bytes are checked
        os.chdir(archive.with_name(archive.name.removesuffix(".tar.gz")))
        change(Path())
        os.environ.update(SETTINGS | os.environ)
        os.environ["CXXFLAGS"] = f"{FLAGS} {os.environ.get('CXXFLAGS', '')}"
        return build_meta.__legacy__.build_wheel(directory, config_settings)


def download(directory: Path) -> Path:
    """Horovod's source archive, by pip, which knows the user's index, proxies and certificates, and checks the hash.

    Raises:
        RuntimeError: with the words of pip, which cannot have it, or got another.
    """
    wanted = directory / "archive.txt"
    wanted.write_text(ARCHIVE)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:", "--no-build-isolation"]
    index = {"PIP_INDEX_URL": os.environ["UV_DEFAULT_INDEX"]} if "UV_DEFAULT_INDEX" in os.environ else {}
    done = subprocess.run(
        [*pip, "--dest", directory, "-r", wanted], env=index | os.environ, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"pip cannot fetch Horovod's sources:\n{done.stderr}")
    return next(directory.glob("horovod-*.tar.gz"))


def change(source: Path) -> None:
    """Makes CHANGES in Horovod's unpacked sources.

    Raises:
        RuntimeError: a text does not stand in its file exactly once.
    """
    for name, old, new in CHANGES:
        text = (source / name).read_text()
        if text.count(old) != 1:
            raise RuntimeError(f"{name} should hold {old!r} once, holds it {text.count(old)} times; see CHANGES")
        (source / name).write_text(text.replace(old, new))
