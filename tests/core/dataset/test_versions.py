"""Versions of a stage: found by their manifests, held by who reads them, removed when nobody needs them."""

import os
import shutil
import subprocess
import sys

import pytest

from balanced_data import write_balanced
from farandole.core.dataset.versions import Origin, hold, list_versions, read_versions, remove_old_versions
from farandole.errors import ConflictError


def make(stage, *names):
    """Versions, the first one the oldest."""
    for age, name in enumerate(names):
        (stage / name).mkdir(parents=True)
        write_balanced(stage / name, train=[[2]])
        os.utime(stage / name / "manifest.json", (1000 + age, 1000 + age))


def names_in(stage):
    return sorted(path.name for path in stage.iterdir())


def test_a_version_is_named_by_its_origin():
    origin = Origin("own", "parent", "decoding", "/data")
    assert origin.version == Origin("own", "parent").version == origin.fingerprint[:8]
    assert len({origin.version, Origin("own", "other").version, Origin("other", "parent").version}) == 3


def test_finished_ones_are_found_the_newest_first(tmp_path):
    assert list_versions(tmp_path / "clean") == []
    make(tmp_path, "b", "a", "c")
    (tmp_path / "half").mkdir()
    shutil.copytree(tmp_path / "a", tmp_path / ".a.tmp-1")
    (tmp_path / "c/manifest.json").write_text("{")
    os.utime(tmp_path / "c/manifest.json", (0, 0))
    assert [path.name for path in list_versions(tmp_path)] == ["a", "b", "c"]
    assert [path.name for path, _ in read_versions(tmp_path)] == ["a", "b"]


def test_the_newest_and_the_needed_stay(tmp_path):
    make(tmp_path, "a", "b", "c", "d", "e")
    (tmp_path / "half").mkdir()
    assert remove_old_versions(tmp_path, 2, {"b"}) == [tmp_path / "c", tmp_path / "a"]
    assert names_in(tmp_path) == ["b", "d", "e", "half"]


def test_what_is_held_is_not_removed(tmp_path):
    make(tmp_path, "a", "b", "c")
    with hold(tmp_path / "a") as version:
        assert version.manifest.splits["train"].num_rows == 2
        assert remove_old_versions(tmp_path, 1, ()) == [tmp_path / "b"]
    assert remove_old_versions(tmp_path, 1, ()) == [tmp_path / "a"]


def test_another_process_holds_it_until_it_ends_however_it_ends(tmp_path):
    make(tmp_path, "a", "b")
    program = (
        "import sys; from pathlib import Path; from farandole.core.dataset.versions import hold\n"
        "with hold(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "a")], **pipes) as reader:
        assert reader.stdout.readline() == b"held\n"
        with hold(tmp_path / "a"):  # two may read
            pass
        assert remove_old_versions(tmp_path, 1, ()) == []
        reader.kill()
    assert remove_old_versions(tmp_path, 1, ()) == [tmp_path / "a"]
    assert names_in(tmp_path) == ["b"]


@pytest.mark.parametrize("gone", ["before", "between"])
def test_one_that_is_removed_just_then_is_a_conflict(tmp_path, monkeypatch, gone):
    make(tmp_path, "a", "b")
    if gone == "before":
        shutil.rmtree(tmp_path / "a")
    else:  # it is opened, and renamed before it is locked
        monkeypatch.setattr(
            "farandole.core.dataset.versions.fcntl.flock", lambda *_: (tmp_path / "a").rename(tmp_path / "x")
        )
    with (
        pytest.raises(ConflictError, match=r"/a was removed by another process just now; run again"),
        hold(tmp_path / "a"),
    ):
        pass


def test_without_locks_versions_are_read_and_none_is_removed(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    make(tmp_path, "a", "b")
    monkeypatch.setattr("farandole.core.dataset.versions.fcntl.flock", refuse)
    with hold(tmp_path / "a"):
        pass
    assert remove_old_versions(tmp_path, 1, ()) == []
    assert names_in(tmp_path) == ["a", "b"]
