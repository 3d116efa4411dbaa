"""A directory is the old one or the new one; one writer wins."""

import errno
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from farandole.core.dataset.commit import check_free, new_directory, write_text
from farandole.core.dataset.lock import exclusive
from farandole.errors import ConflictError, DataError, ResourceError
from farandole.log import error_line


def publish(target, text):
    with new_directory(target) as directory:
        (directory / "data").write_text(text)
        (directory / "manifest.json").write_text("{}")


def test_what_is_published_stays_as_it_is_and_nothing_is_left_behind(tmp_path):
    target = tmp_path / "clean"
    publish(target, "old")
    with pytest.raises(ConflictError, match=r"another process has just written .*clean; run again"):
        publish(target, "new")
    assert (target / "data").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean"]


def test_after_an_error_there_is_nothing(tmp_path):
    target = tmp_path / "clean"

    def fail():
        with new_directory(target) as directory:
            (directory / "data").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_published_without_a_manifest(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"manifest.json was not written"), new_directory(tmp_path / "clean"):
        pass
    assert not (tmp_path / "clean").exists()


def test_a_full_disk_is_a_resource_error(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    message = (
        r"disk full while writing .*clean: 300 bytes were written and more are needed, \d+ bytes are free; make room"
    )

    def fail(code):
        with new_directory(tmp_path / "clean") as directory:
            (directory / "data").write_bytes(bytes(300))
            raise OSError(code, os.strerror(code))

    for code in (errno.ENOSPC, errno.EDQUOT):
        with pytest.raises(ResourceError, match=message):
            fail(code)
    with pytest.raises(PermissionError):
        fail(errno.EACCES)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_that_is_another_one_is_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**40))
    message = (
        rf"a disk is full, but that of .*clean has {2**40} bytes free: look at /\S+, at spark.local.dir, and at the"
    )
    with pytest.raises(ResourceError, match=message), new_directory(tmp_path / "clean"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(ResourceError, match="disk full while writing"), new_directory(tmp_path / "clean"):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))  # a user's share may be full beside any free bytes


def test_what_does_not_fit_is_refused_before_it_is_written(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    check_free(tmp_path / "clean", free // 2)
    with pytest.raises(
        ResourceError, match=rf"clean needs {free * 2} bytes while it is written, \d+ bytes are free; make"
    ):
        check_free(tmp_path / "clean", free * 2)


def test_a_directory_that_is_not_ours_is_never_replaced(tmp_path):
    target = tmp_path / "clean"
    target.mkdir()
    publish(target, "empty ones may be")
    (target / "manifest.json").unlink()
    (target / "thesis.txt").write_text("years of work")
    with pytest.raises(
        DataError, match=r"clean exists and has no manifest.json, so it is not ours to replace; move it"
    ):
        publish(target, "new")
    assert (target / "thesis.txt").read_text() == "years of work"


def test_everything_is_on_disk_before_it_is_published(tmp_path, monkeypatch):
    target, fsync, rename, synced, unsynced = tmp_path / "clean", os.fsync, Path.rename, set(), []

    def note(descriptor):
        fsync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    def look_and_rename(path, to):
        unsynced.extend(inside for inside in [path, *path.rglob("*")] if inside.stat().st_ino not in synced)
        synced.clear()
        rename(path, to)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(Path, "rename", look_and_rename)
    with new_directory(target) as directory:
        (directory / "data/split=train").mkdir(parents=True)
        (directory / "data/split=train/part-0").write_text("new")
        (directory / "manifest.json").write_text("{}")
    assert unsynced == []
    assert tmp_path.stat().st_ino in synced  # the new name itself, afterwards


def test_two_writers_of_one_directory(tmp_path):
    """While the first lives, the second is refused; when it was killed, whoever writes next clears up what it left."""
    program = (
        "import sys; from pathlib import Path; from farandole.core.dataset.commit import new_directory\n"
        "with new_directory(Path(sys.argv[1])) as directory:\n"
        "    (directory / 'data').write_text('half'); print('writing', flush=True); sys.stdin.read()\n"
    )
    target = tmp_path / "clean"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program, str(target)], **pipes) as first:
        assert first.stdout.readline() == b"writing\n"
        with pytest.raises(ConflictError, match=rf"another process is writing {target}; wait for it, or set") as caught:
            publish(target, "second")
        assert error_line(caught.value).startswith("error[1]: another process is writing")
        publish(tmp_path / "other", "beside it")
        assert len(list(tmp_path.glob(".clean.tmp-*"))) == 1
        first.kill()
    assert not target.exists()
    publish(tmp_path / "third", "beside it")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "third"]


def test_of_many_writers_at_once_one_is_in_and_all_others_are_told(tmp_path):
    inside, most, conflicts = [], [], []

    def write(number):
        for _ in range(50):
            try:
                with exclusive(tmp_path / "clean"):
                    inside.append(number)
                    most.append(len(inside))
                    (tmp_path / f"{number}").touch()
                    inside.remove(number)
            except ConflictError:
                conflicts.append(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert max(most) == 1
    assert len(most) + len(conflicts) == 400
    assert not (tmp_path / ".clean.lock").exists()


def test_write_text_replaces_whole_files(tmp_path):
    write_text(tmp_path / "a", "one")
    write_text(tmp_path / "a", "two")
    assert (tmp_path / "a").read_text() == "two"
    assert len(list(tmp_path.iterdir())) == 1
