"""A launched process and the one that started it."""

import errno
import os
import subprocess
import sys

import psutil
import pytest
from safetensors import SafetensorError

from farandole.core.rank_spec import Assignment, Failure, RankSpec, message_from_json, to_json
from farandole.train.rank import describe_failure


def test_a_rank_whose_starter_has_ended_already_ends_at_once():
    """Python takes seconds to start on a busy machine: too late to ask the kernel for a signal."""
    rank = [sys.executable, "-m", "farandole.train.rank"]
    assignment = Assignment("train", config={}, data_directory="", data_fingerprint="")
    # The parent is not this process, which did start it.
    spec = to_json(RankSpec(assignment, 0, [], "127.0.0.1", "lo", stall_seconds=60, parent=os.getppid())) + "\n"
    done = subprocess.run(rank, input=spec, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_a_rank_that_is_told_the_spec_of_another_version_says_so():
    rank = [sys.executable, "-m", "farandole.train.rank"]
    done = subprocess.run(rank, input='{"task": "train"}\n', capture_output=True, text=True, timeout=120)
    failure = message_from_json(done.stdout)
    assert isinstance(failure, Failure)
    assert (done.returncode, failure.exit_code) == (1, 4)
    assert failure.message.startswith("RankSpec lacks ['address', 'assignment', 'interface', ")
    assert "has unknown ['task']; driver and executors must run the same version of farandole" in failure.message


def test_a_rank_that_is_stopped_while_python_starts_ends_with_its_starter(tmp_path):
    """The starter stops it at once and is killed; nothing in the rank itself has run by then."""
    starter = f"""
import os, signal
from pathlib import Path
from farandole.spark.ranks.child import Child
child = Child("farandole.train.rank", 0, Path({str(tmp_path / "log")!r}), {{}})
child.signal(signal.SIGSTOP)
print(child.pid, flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        rank = psutil.Process(int(process.stdout.readline()))
        assert rank.is_running()
        process.kill()
    psutil.wait_procs([rank], timeout=60)
    assert not rank.is_running()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_no_reason_to_start_ranks_again(error):
    failure = describe_failure(error)
    assert failure.exit_code == 4
    assert failure.message.endswith("; make room in paths.work, and run the same command again")
    assert describe_failure(OSError(errno.EIO, "Input/output error")).exit_code == 1
    assert describe_failure(SafetensorError("I/O error: Input/output error (os error 5)")).exit_code == 1
