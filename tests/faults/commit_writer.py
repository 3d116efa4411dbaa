"""Writers of small data sets that die on command: python commit_writer.py STAGE.

Version 0 is committed at once. Then each line on stdin is a number N: a child is forked that commits version after
version, removes all but the two newest, and kills itself with SIGKILL at its N-th step, a step being a line of
farandole/core or a call that Python audits, such as open, rename and mkdir. Importing once and forking often makes a
kill cost milliseconds.
On stdout: "committed VERSION", "killed at WHAT", and "ended" when the child is gone.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from balanced_data import write_balanced
from farandole.core.dataset import commit, versions
from farandole.core.dataset.manifest import FILE_NAME

CORE = str(Path(commit.__file__).parent)
AUDITED = ("open", "os.", "fcntl.", "ctypes.", "shutil.")


def newest_of(stage: Path) -> int:
    """The highest number that write_version has made."""
    return max(int(path.name, 16) for path in versions.list_versions(stage))


def write_version(stage: Path, version: int) -> None:
    """Commits a data set of three files, none of which is like that of another version."""
    with commit.new_directory(stage / f"{version:08x}") as directory:
        manifest = write_balanced(directory, train=[[3], [2, 2]], val=2, side=2, seed=version)
        named = manifest.model_copy(update={"created_by": f"version {version}"})
        commit.write_text(directory / FILE_NAME, named.to_json())
    versions.remove_old_versions(stage, 2, ())


def die_at(step: int) -> None:
    """Arms this process: its step number `step` from now on is its last."""
    count = 0

    def tick(what: str) -> None:
        nonlocal count
        count += 1
        if count == step:
            os.write(1, f"killed at {what}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(CORE):
            return None
        if event == "line":
            tick(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")
        return trace

    sys.addaudithook(lambda event, _arguments: tick(event) if event.startswith(AUDITED) else None)
    sys.settrace(trace)


def commit_until_killed(stage: Path, step: int) -> None:
    """Commits versions for ever."""
    version = newest_of(stage)
    die_at(step)
    while True:
        version += 1
        write_version(stage, version)
        os.write(1, f"committed {version}\n".encode())


if __name__ == "__main__":
    write_version(Path(sys.argv[1]), 0)  # whatever is imported late is imported now
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            commit_until_killed(Path(sys.argv[1]), int(line))
        _, status = os.waitpid(child, 0)
        os.write(1, f"ended {status}\n".encode())
