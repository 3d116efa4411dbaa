"""A directory is the old one or the new one; one writer wins."""

import errno
import os
import subprocess
import sys

import pytest

from farandole.core.commit import exclusive, new_directory, write_text
from farandole.errors import ConflictError, DataError, ResourceError


def publish(target, text):
    with new_directory(target) as directory:
        (directory / "data").write_text(text)
        (directory / "manifest.json").write_text("{}")


def test_new_takes_the_place_of_old_and_leaves_nothing_behind(tmp_path):
    target = tmp_path / "clean"
    publish(target, "old")
    publish(target, "new")
    assert (target / "data").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean"]


def test_an_error_leaves_the_old_one(tmp_path):
    target = tmp_path / "clean"
    publish(target, "old")

    def fail():
        with new_directory(target) as directory:
            (directory / "data").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (target / "data").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["clean"]


def test_nothing_is_published_without_a_manifest(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"manifest.json was not written"), new_directory(tmp_path / "clean"):
        pass
    assert not (tmp_path / "clean").exists()


def test_a_full_disk_is_a_resource_error(tmp_path):
    message = r"disk full while writing .*clean: \d+ bytes free"
    with pytest.raises(ResourceError, match=message), new_directory(tmp_path / "clean"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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


def test_a_second_writer_is_refused_until_the_first_is_done(tmp_path):
    target = tmp_path / "clean"
    with exclusive(target), pytest.raises(ConflictError, match="another process is writing"), exclusive(target):
        pass
    with exclusive(target):
        pass


def test_what_a_killed_writer_left_goes_away(tmp_path):
    program = (
        "import os, signal, sys; from pathlib import Path; from farandole.core.commit import new_directory\n"
        "with new_directory(Path(sys.argv[1])) as d:\n"
        "    (d / 'data').write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    target = tmp_path / "clean"
    publish(target, "old")
    assert subprocess.run([sys.executable, "-c", program, str(target)], check=False).returncode == -9
    assert len(list(tmp_path.glob(".clean.tmp-*"))) == 1
    assert (target / "data").read_text() == "old"
    publish(target, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["clean"]


def test_write_text_replaces_whole_files(tmp_path):
    write_text(tmp_path / "a", "one")
    write_text(tmp_path / "a", "two")
    assert (tmp_path / "a").read_text() == "two"
    assert len(list(tmp_path.iterdir())) == 1
