"""A real cluster: a master and two workers, each in a network namespace of its own, secured, with pretended GPUs."""

import importlib.util
import json
import secrets
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from farandole.spark.session import read_properties

ROOT = Path(__file__).parents[2]
QUICK_JVM = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}  # six of them start on two cores
_spec = importlib.util.spec_from_file_location("cluster", ROOT / "bench" / "cluster.py")
assert _spec is not None
assert _spec.loader is not None
cluster = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cluster)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """What --py-files takes: the library, and the program of the ranks."""
    path = tmp_path / "package.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for root in (ROOT / "lib", ROOT / "tests"):
            for file in [*root.glob("farandole/**/*.*"), *root.glob("distributed/*.py")]:
                archive.write(file, file.relative_to(root))
    return path


@pytest.fixture
def two_gpus(tmp_path: Path) -> Path:
    """docker/discover_gpus.sh with an nvidia-smi that pretends."""
    (tmp_path / "bin").mkdir()
    pretended = tmp_path / "bin" / "nvidia-smi"
    pretended.write_text("#!/bin/sh\necho 0\necho 1\n")
    pretended.chmod(0o755)
    script = tmp_path / "discover.sh"
    script.write_text(f"#!/bin/sh\nPATH={tmp_path / 'bin'}:$PATH exec {ROOT / 'docker' / 'discover_gpus.sh'}\n")
    script.chmod(0o755)
    return script


def test_the_discovery_script_answers_as_spark_wants_it(two_gpus: Path) -> None:
    answer = subprocess.run([str(two_gpus)], capture_output=True, text=True, check=True).stdout
    assert json.loads(answer) == {"name": "gpu", "addresses": ["0", "1"]}
    (two_gpus.parent / "bin" / "nvidia-smi").write_text("#!/bin/sh\necho no driver >&2\nexit 9\n")
    failed = subprocess.run([str(two_gpus)], capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stdout, failed.stderr) == (9, "", "no driver\n")


@pytest.mark.skipif(not cluster.available(), reason="needs root and `ip netns`")
def test_ranks_on_two_hosts_find_each_other_their_package_and_a_gpu_each(
    tmp_path: Path, package: Path, two_gpus: Path
) -> None:
    properties = {
        **read_properties(ROOT / "conf" / "spark" / "secure.conf"),
        "spark.authenticate.secret": secrets.token_hex(16),
        "spark.worker.resource.gpu.amount": "2",
        "spark.worker.resource.gpu.discoveryScript": str(two_gpus),
        "spark.executor.resource.gpu.amount": "2",
        "spark.executor.memory": "512m",
        "spark.pyspark.python": sys.executable,
    }
    # In an empty directory: the package must come from the archive, on the driver and on the executors.
    with cluster.Cluster(
        tmp_path / "cluster", cores=3, memory="600m", properties=properties, environment=QUICK_JVM
    ) as hosts:
        program = str(ROOT / "tests" / "distributed" / "tell_ranks.py")
        job = hosts.submit(program, "4", str(tmp_path / "logs"), options=("--py-files", str(package)), cwd=tmp_path)
        output, errors = job.communicate(timeout=120)
    assert job.returncode == 0, errors[-3000:]
    told = json.loads(output.strip().splitlines()[-1])
    assert (told["cores"], told["tasks"], told["slots"]) == (6, 6, 4)
    ranks = told["ranks"]
    assert sorted(rank["address"] for rank in ranks) == sorted([*hosts.addresses, *hosts.addresses])
    assert {rank["interface"] for rank in ranks} == {"eth0"}
    assert {rank["meeting"]["rendezvous_address"] for rank in ranks} == {ranks[0]["address"]}
    assert sorted((rank["address"], rank["gpus"]) for rank in ranks) == [
        (address, gpu) for address in hosts.addresses for gpu in "01"
    ]
    assert all("package.zip" in rank["package"] for rank in ranks)
    assert not [
        line for line in subprocess.check_output(["ip", "link"], text=True).splitlines() if hosts.bridge in line
    ]
