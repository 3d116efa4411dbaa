"""All or nothing: a new directory appears in one step, and only one process writes it."""

import errno
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from safetensors import SafetensorError

from farandole.core.dataset.lock import exclusive
from farandole.core.dataset.manifest import FILE_NAME
from farandole.errors import ConflictError, DataError, ResourceError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_MUCH_BYTES = 1024**3
"""Where so many are free, it is another disk that is full, or one of its other limits."""


@contextmanager
def new_directory(target: Path) -> Iterator[Path]:
    """Gives a temporary sibling to fill; on success it becomes target, on any error there is none.

    Readers see nothing, or a directory in which everything is on disk.

    Raises:
        ConflictError: another process is writing the same target, or has just done so.
        DataError: what lies at target is not a data set of ours.
        ResourceError: the disk is full.
    """
    with exclusive(target):
        _clear_left_overs(target)
        if (target / FILE_NAME).exists():
            raise ConflictError(f"another process has just written {target}; run again")
        if target.exists() and any(target.iterdir()):
            raise DataError(f"{target} exists and has no {FILE_NAME}, so it is not ours to replace; move it away")
        # The name is never used again: a task that outlives a killed driver cannot write into the next one's directory.
        temporary = target.with_name(f".{target.name}.tmp-{uuid.uuid4().hex}")
        try:
            temporary.mkdir()
            yield temporary
            _publish(temporary, target)
        except OSError as error:
            if is_disk_full(error):
                raise _disk_full(temporary, target, error.errno) from error
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def is_disk_full(error: BaseException) -> bool:
    """Whether the disk, or the user's share of it, is full; safetensors says it in words alone."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    return isinstance(error, SafetensorError) and any(f"(os error {code})" in str(error) for code in _FULL)


def check_free(target: Path, num_bytes: int) -> None:
    """Refuses, before any work, what the disk has no room for.

    Args:
        target: to be written beside the old one; its parent exists.
        num_bytes: that are there at a time, besides the old one.

    Raises:
        ResourceError: fewer bytes are free; tells both numbers.
    """
    free = shutil.disk_usage(target.parent).free
    if free < num_bytes:
        raise ResourceError(
            f"{target} needs {num_bytes} bytes while it is written, {free} bytes are free; "
            f"make room, or set another paths.work"
        )


def write_text(path: Path, text: str) -> None:
    """Writes a file by way of a sibling and a rename, synced: readers see the old text or the new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Makes renames inside a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _clear_left_overs(target: Path) -> None:
    """Removes what writers that were killed have left, of other targets beside this one, too; their locks are free."""
    left = [path.name for pattern in (".*.tmp-*", ".*.lock") for path in target.parent.glob(pattern)]
    for name in {name[1:].removesuffix(".lock").partition(".tmp-")[0] for name in left}:
        with suppress(ConflictError), nullcontext() if name == target.name else exclusive(target.with_name(name)):
            for path in target.parent.glob(f".{name}.tmp-*"):
                shutil.rmtree(path, ignore_errors=True)


def _disk_full(temporary: Path, target: Path, code: int | None) -> ResourceError:
    written = sum(path.stat().st_size for path in temporary.rglob("*") if path.is_file())
    free = shutil.disk_usage(target.parent).free
    if free > _MUCH_BYTES and code == errno.ENOSPC:
        return ResourceError(
            f"a disk is full, but that of {target} has {free} bytes free: look at {tempfile.gettempdir()}, at "
            f"spark.local.dir, and at the number of files (df -i); make room, and run again"
        )
    return ResourceError(
        f"disk full while writing {target}: {written} bytes were written and more are needed, {free} bytes are free; "
        f"make room, or set another paths.work, and run again"
    )


def _publish(temporary: Path, target: Path) -> None:
    if not (temporary / FILE_NAME).exists():
        raise FileNotFoundError(f"{temporary / FILE_NAME} was not written; nothing is published without it")
    _sync_tree(temporary)
    temporary.rename(target)
    sync_directory(target.parent)


def _sync_tree(root: Path) -> None:
    """Makes all files and their names durable; for what the tasks have synced already, that costs next to nothing."""
    for folder, _, names in os.walk(root):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                os.fsync(file.fileno())
        sync_directory(Path(folder))
