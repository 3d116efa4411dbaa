"""All or nothing: a new directory replaces the old one in one step, and only one process writes it."""

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from farandole.core.manifest import FILE_NAME
from farandole.errors import ConflictError, DataError, ResourceError

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextmanager
def exclusive(target: Path) -> Iterator[None]:
    """Holds the lock on writing `target`; the lock goes with the process, however it ends.

    Raises:
        ConflictError: another process holds it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(f".{target.name}.lock")
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder before us may have unlinked the file between our open and our lock; then another
            # process can lock a new file of the same name, and ours protects nothing.
            if not lock.exists() or os.fstat(file.fileno()).st_ino != lock.stat().st_ino:
                raise BlockingIOError
        except BlockingIOError as error:
            raise ConflictError(
                f"another process is writing {target}; wait for it, or set another paths.work"
            ) from error
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


@contextmanager
def new_directory(target: Path) -> Iterator[Path]:
    """Gives a temporary sibling to fill; on success it takes target's place, on any error target stays as it was.

    Readers see the old directory or the new one, never a mix: on Linux the two change places in one system call.

    Raises:
        ConflictError: another process is writing the same target.
        DataError: what lies at target is not a data set of ours, so it must not be replaced.
        ResourceError: the disk is full.
    """
    with exclusive(target):
        if target.exists() and any(target.iterdir()) and not (target / FILE_NAME).exists():
            raise DataError(f"{target} exists and has no {FILE_NAME}, so it is not ours to replace; move it away")
        for left_over in target.parent.glob(f".{target.name}.tmp-*"):  # of a writer that was killed: we hold the lock
            shutil.rmtree(left_over, ignore_errors=True)
        temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}")
        temporary.mkdir(parents=True)
        try:
            yield temporary
            _publish(temporary, target)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                free = shutil.disk_usage(target.parent).free
                raise ResourceError(
                    f"disk full while writing {target}: {free} bytes free; make room and run again"
                ) from error
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


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


def _publish(temporary: Path, target: Path) -> None:
    if not (temporary / FILE_NAME).exists():
        raise FileNotFoundError(f"{temporary / FILE_NAME} was not written; nothing is published without it")
    if target.exists():
        _exchange(temporary, target)
    else:
        temporary.rename(target)
    sync_directory(target.parent)


def _exchange(one: Path, other: Path) -> None:
    """Swaps two directories; where the file system cannot, moves the old one aside first."""
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    if done != 0:
        aside = one.with_name(f"{one.name}.old")
        other.rename(aside)
        one.rename(other)
        aside.rename(one)
