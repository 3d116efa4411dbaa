"""One process writes a directory, on file systems with locks and without."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from farandole.core.dataset.lock import exclusive
from farandole.errors import ConfigError, ConflictError


def test_a_second_writer_is_refused_until_the_first_is_done(tmp_path):
    target = tmp_path / "clean"
    with exclusive(target), pytest.raises(ConflictError, match="another process is writing"), exclusive(target):
        pass
    with exclusive(target):
        pass


def test_a_lock_file_that_its_holder_removes_is_taken_anew(tmp_path, monkeypatch):
    flock, calls = fcntl.flock, []

    def remove_before_locking(descriptor, operation):
        calls.append(operation)
        if len(calls) == 1:
            (tmp_path / ".clean.lock").unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", remove_before_locking)
    with exclusive(tmp_path / "clean"):
        assert len(calls) == 2
        with pytest.raises(ConflictError), exclusive(tmp_path / "clean"):
            pass


@pytest.fixture(params=[errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def no_locks(monkeypatch, request):
    def flock(descriptor, operation):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


def own(path, host, pid, started):
    path.write_text(json.dumps([host, pid, started]))


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_second_writer_is_refused_until_the_first_is_done(tmp_path):
    for _ in range(2):
        with (
            exclusive(tmp_path / "clean"),
            pytest.raises(ConflictError, match=r"another process is writing .*clean; wait for it, or set another"),
            exclusive(tmp_path / "clean"),
        ):
            pass
        assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_writer_that_was_killed_is_passed_over(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    for pid in (process.pid, os.getpid()):  # gone, and a process that has the same number
        own(tmp_path / ".clean.owner", socket.gethostname(), pid, "boot 1")
        with exclusive(tmp_path / "clean"):
            assert json.loads((tmp_path / ".clean.owner").read_text())[:2] == [socket.gethostname(), os.getpid()]
        assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_locks")
@pytest.mark.parametrize(("text", "who"), [('["node7", 12, 1.0]', "12 on node7"), ("", "an unknown one")])
def test_without_locks_a_writer_on_another_host_is_named(tmp_path, text, who):
    (tmp_path / ".clean.owner").write_text(text)
    message = rf"writing .*clean: {who}, says .*/\.clean\.owner, as the file system has no locks; wait for it, or"
    with pytest.raises(ConflictError, match=message), exclusive(tmp_path / "clean"):
        pass
    assert (tmp_path / ".clean.owner").read_text() == text


def test_another_error_of_the_lock_is_no_missing_lock(tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output error"), exclusive(tmp_path / "clean"):
        pass


@pytest.mark.parametrize("target", ["/sys/clean", "/sys/work/clean"])  # where root may not write, either
def test_a_directory_that_may_not_be_written_is_named(target):
    message = rf"{target} cannot be written: /sys/\S+: (Permission|Operation|Read-only).*; choose a paths.work that can"
    with pytest.raises(ConfigError, match=message), exclusive(Path(target)):
        pass
