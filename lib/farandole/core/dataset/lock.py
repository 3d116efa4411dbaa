"""The lock on writing a directory: the system's, which goes with the process, or a file where there is none."""

import errno
import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from uuid import uuid4

from farandole.errors import ConfigError, ConflictError, DataError

_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
"""What flock says on file systems without locks: some of clusters, of FUSE, and NFS without its lock daemon."""
_NO_RIGHT = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def exclusive(target: Path) -> Iterator[None]:
    """Holds the lock on writing `target`; the lock goes with the process, however it ends.

    On a file system without locks a file names the process that writes. One that was killed is passed over on its own
    host; another host cannot know.

    Raises:
        ConflictError: another process holds it.
        ConfigError: this user may not write there.
        DataError: the lock is a link.
    """
    lock = target.with_name(f".{target.name}.lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        release = _take(target, lock)
    except OSError as error:
        if error.errno not in _NO_RIGHT:
            raise
        raise ConfigError(
            f"{target} cannot be written: {error.filename}: {error.strerror}; choose a paths.work that can be"
        ) from None  # no stack could be written there
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        release()


def _take(target: Path, lock: Path) -> Callable[[], None]:
    """Takes the lock; returns what gives it back."""
    while True:
        if lock.is_symlink():  # O_NOFOLLOW is for one that appears after this look
            raise DataError(f"{lock} is a link, and nothing outside paths.work is written; remove it")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in _NO_LOCKS:
                return _own(target, lock.with_suffix(".owner"))
            if isinstance(error, BlockingIOError):
                raise ConflictError(_wait_for(target)) from None
            raise
        # The holder before us may have unlinked the file between our open and our lock; then another process can lock
        # a new file of the same name, and ours protects nothing.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), lock.stat()):
                return partial(os.close, descriptor)
        os.close(descriptor)


def _own(target: Path, path: Path) -> Callable[[], None]:
    """The same by a file that only one process can make, which it leaves behind if it is killed."""
    own = json.dumps([socket.gethostname(), os.getpid(), _started(os.getpid())])
    while True:
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(own)
            return partial(path.unlink, missing_ok=True)
        except FileExistsError:
            _remove_if_dead(target, path)


def _remove_if_dead(target: Path, path: Path) -> None:
    """Raises:
    ConflictError: the process that the file names is alive, or on another host.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    try:
        host, pid, started = json.loads(text)
    except (ValueError, TypeError):  # being written, or its writer was killed meanwhile
        host, pid, started = "", "an unknown one", ""
    if host != socket.gethostname():
        raise ConflictError(
            f"another process is writing {target}: {pid}{' on ' if host else ''}{host}, says {path}, as the file "
            f"system has no locks; wait for it, or remove that file if it has ended"
        )
    if _started(pid) == started:
        raise ConflictError(_wait_for(target))
    aside = path.with_name(f"{path.name}.{uuid4().hex}")
    with suppress(FileNotFoundError):  # another process was first
        path.rename(aside)
        if aside.read_text(encoding="utf-8") != text:  # another process was first, and has made its own
            aside.rename(path)
        aside.unlink(missing_ok=True)


def _started(pid: int) -> str | None:
    """Since which boot of this host and which of its clock ticks a process runs; None: there is none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return f"{boot} {fields[19]}"
    except (FileNotFoundError, ProcessLookupError):
        return None


def _wait_for(target: Path) -> str:
    return f"another process is writing {target}; wait for it, or set another paths.work"
