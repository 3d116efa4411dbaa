"""Commit under fire: whenever a writer is killed, readers find the old version or the new one, whole."""

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farandole.core.dataset.manifest import read_manifest
from farandole.core.fingerprint import file_sha256
from faults.commit_writer import version_of, write_version

NUM_KILLS, MAX_STEPS = 100, 700
"""One commit takes about 500 steps."""
Kill = Callable[[int], list[str]]


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """Where data sets are committed: in memory, since a kill takes nothing from the disk that was written to it."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path / "clean"
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder) / "clean"


@pytest.fixture
def kill(target: Path) -> Iterator[Kill]:
    """Lets a writer commit versions until its N-th step, and returns what it said."""
    script = Path(__file__).with_name("commit_writer.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, str(script), str(target)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def kill_at(step: int) -> list[str]:
            process.stdin.write(f"{step}\n")
            process.stdin.flush()
            said = []
            for line in process.stdout:
                said.append(line.strip())
                if line.startswith("ended"):
                    return said
            raise AssertionError(f"the writers are gone: {said}")

        yield kill_at
        process.stdin.close()


def check_whole(target: Path) -> int:
    """The version at target, after comparing every byte with its manifest; nothing else may lie there."""
    manifest = read_manifest(target)
    entries = [entry for split in manifest.splits.values() for entry in split.files]
    for entry in entries:
        assert file_sha256(target / entry.path) == entry.sha256
    found = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert found == {"manifest.json", *(entry.path for entry in entries)}
    return version_of(target)


def test_a_hundred_kills_leave_the_old_version_or_the_new_one(target: Path, kill: Kill) -> None:
    steps = random.Random(0)
    newest, published_unsaid, left_overs = 0, 0, 0
    for _ in range(NUM_KILLS):
        said = kill(steps.randrange(1, MAX_STEPS))
        assert said[-1] == "ended 9"
        newest = max([newest, *(int(line.split()[1]) for line in said if line.startswith("committed"))])
        version = check_whole(target)
        assert version in (newest, newest + 1), said
        published_unsaid += version > newest
        newest = version
        left_overs += len(left := list(target.parent.glob(".clean.tmp-*")))
        assert len(left) <= 1, "the next writer removes what the one before it has left"
    assert newest > NUM_KILLS // 5
    assert published_unsaid > 1  # some died after the exchange, most before it
    assert left_overs > NUM_KILLS // 2
    write_version(target, newest + 1)
    assert check_whole(target) == newest + 1
    assert [path.name for path in target.parent.iterdir()] == ["clean"]
