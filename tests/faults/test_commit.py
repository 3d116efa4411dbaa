"""Commit under fire: whenever a writer is killed, readers find whole versions, and nothing stays for ever."""

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farandole.core.dataset.manifest import read_manifest
from farandole.core.dataset.versions import list_versions
from farandole.core.fingerprint import file_sha256
from faults.commit_writer import newest_of, write_version

NUM_KILLS, MAX_STEPS = 100, 700
"""One commit takes about 500 steps."""
Kill = Callable[[int], list[str]]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Path]:
    """Where data sets are committed: in memory, since a kill takes nothing from the disk that was written to it."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path / "clean"
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder) / "clean"


@pytest.fixture
def kill(stage: Path) -> Iterator[Kill]:
    """Lets a writer commit versions until its N-th step, and returns what it said."""
    script = Path(__file__).with_name("commit_writer.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, str(script), str(stage)]
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


def check_whole(stage: Path) -> int:
    """The newest version, after comparing every byte of all versions with their manifests; nothing else is in them."""
    directories = list_versions(stage)
    for directory in directories:
        entries = [entry for split in read_manifest(directory).splits.values() for entry in split.files]
        for entry in entries:
            assert file_sha256(directory / entry.path) == entry.sha256
        found = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
        assert found == {"manifest.json", *(entry.path for entry in entries)}
    assert {path for path in stage.iterdir() if not path.name.startswith(".")} == set(directories)
    newest = newest_of(stage)
    assert {int(path.name, 16) for path in directories} >= {newest, max(newest - 1, 0)}
    return newest


def test_a_hundred_kills_leave_whole_versions(stage: Path, kill: Kill) -> None:
    steps = random.Random(0)
    newest, published_unsaid, left_overs, kept = 0, 0, 0, 0
    for _ in range(NUM_KILLS):
        said = kill(steps.randrange(1, MAX_STEPS))
        assert said[-1] == "ended 9"
        newest = max([newest, *(int(line.split()[1]) for line in said if line.startswith("committed"))])
        version = check_whole(stage)
        assert version in (newest, newest + 1), said
        # Who dies after the new one is there, and before an old one is removed, leaves one more than there were.
        kept = (0 if len(said) > 2 else kept) + (version > newest)
        assert len(list_versions(stage)) <= 2 + kept, said
        published_unsaid += version > newest
        newest = version
        left_overs += len(left := list(stage.glob(".*.tmp-*")))
        assert len(left) <= 2, "the next writer removes what the one before it has left"
    assert newest > NUM_KILLS // 5
    assert published_unsaid > 1  # some died after the new one was there, most before it
    assert left_overs > NUM_KILLS // 3
    write_version(stage, newest + 1)
    assert check_whole(stage) == newest + 1
    assert sorted(path.name for path in stage.iterdir()) == [f"{newest:08x}", f"{newest + 1:08x}"]
