"""Listings: every file is a record, nothing is followed, and what cannot be listed whole is refused."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from farandole.config.data import Data, Image
from farandole.core.record.quality import RejectedError
from farandole.errors import ConfigError, DataError
from farandole.spark.source.folder import file_loader, list_folder
from farandole.spark.source.listing import LISTING, listing_fingerprint


def folder(path: Path) -> Data:
    return Data(source="folder", path=str(path))


def put(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())


def listed(root: Path) -> list[tuple[str, str | None, str | None, str | None]]:
    rows = list_folder(folder(root)).to_pylist()
    return [(row["id"], row["split"], row["class_name"], row["reason"]) for row in rows]


def refuse_to_list(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Folders of this name cannot be listed."""
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == name:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)


def test_class_folders(tmp_path: Path) -> None:
    put(
        tmp_path,
        "dog/2.png",
        "cat/deep/er/1.png",
        "cat/ü 猫.jpg",
        "cat/.DS_Store",
        "README",
        ".git/x",
        "__MACOSX/cat/y",
    )
    assert listed(tmp_path) == [
        (".git/x", None, None, "missing_label"),
        ("README", None, None, "missing_label"),
        ("__MACOSX/cat/y", None, None, "missing_label"),
        ("cat/.DS_Store", None, "cat", None),
        ("cat/deep/er/1.png", None, "cat", None),
        ("cat/ü 猫.jpg", None, "cat", None),
        ("dog/2.png", None, "dog", None),
    ]


def test_split_folders_with_their_aliases(tmp_path: Path) -> None:
    put(tmp_path, "Train/cat/1", "train/cat/1", "valid/cat/2", "validation/dog/2", "val/dog/deep/3", "test/dog/4")
    put(tmp_path, "test/loose", "loose", ".cache/cat/5", "test/.thumbs/6")
    assert listed(tmp_path) == [
        (".cache/cat/5", None, None, "missing_label"),
        ("Train/cat/1", "train", "cat", None),
        ("loose", None, None, "missing_label"),
        ("test/.thumbs/6", "test", None, "missing_label"),
        ("test/dog/4", "test", "dog", None),
        ("test/loose", "test", None, "missing_label"),
        ("train/cat/1", "train", "cat", None),
        ("val/dog/deep/3", "val", "dog", None),
        ("valid/cat/2", "val", "cat", None),
        ("validation/dog/2", "val", "dog", None),
    ]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    put(tmp_path, "train/1.png", "bus/1.png")
    assert listed(tmp_path) == [("bus/1.png", None, "bus", None), ("train/1.png", None, "train", None)]


@pytest.mark.parametrize(
    "tool",
    ["@eaDir", ".thumbnails", "__MACOSX", "#recycle", "lost+found", "System Volume Information", "$RECYCLE.BIN"],
)
def test_what_a_tool_keeps_is_no_picture_at_any_depth(tmp_path: Path, tool: str) -> None:
    put(tmp_path, "cat/1", f"{tool}/cat/2", f"cat/{tool}/1/3", f"cat/deep/{tool}/4")
    rejected = (None, None, "missing_label")
    assert {row[0]: row[1:] for row in listed(tmp_path)} == {
        "cat/1": (None, "cat", None),
        f"{tool}/cat/2": rejected,
        f"cat/{tool}/1/3": rejected,
        f"cat/deep/{tool}/4": rejected,
    }
    details = {row["detail"] for row in list_folder(folder(tmp_path)).to_pylist()}
    assert details == {None, f"in a tool's folder, {tool!r}"}


def test_a_tools_folder_that_cannot_be_listed_or_is_a_link_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a/1", "lost+found/2")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/lib64").symlink_to(tmp_path / "a")
    (tmp_path / "@eaDir").symlink_to(tmp_path / "a")
    refuse_to_list(monkeypatch, "lost+found")
    assert listed(tmp_path) == [("a/1", None, "a", None)]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["Training", "Testing"], ["train", "test"]),
        (["train2017", "val2017"], ["train", "val"]),
        (["train_set", "test-set", "ValidationSet"], ["train", "test", "val"]),
        (["TRAIN IMAGES", "trainset", "testsets"], ["train", "train", "test"]),
    ],
)
def test_names_of_splits(tmp_path: Path, names: list[str], splits: list[str]) -> None:
    put(tmp_path, *(f"{name}/cat/1" for name in names))
    found = {record_id.split("/")[0]: (split, name) for record_id, split, name, _ in listed(tmp_path)}
    assert found == {name: (split, "cat") for name, split in zip(names, splits, strict=True)}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["seg_train", "seg_test", "seg_pred"], r"\['seg_test', 'seg_train'\] beside \['seg_pred'\], which are none"),
        (
            ["Training", "PublicTest", "PrivateTest"],
            r"\['PrivateTest', 'PublicTest', 'Training'\]; expected only test,",
        ),
        (["trainA", "testA"], r"\['testA', 'trainA'\]; expected only .*: rename them, and move the others out"),
    ],
)
def test_names_that_hint_at_splits_are_refused(tmp_path: Path, names: list[str], said: str) -> None:
    put(tmp_path, *(f"{name}/cat/{number}" for name in names for number in "12"))
    (tmp_path / names[0] / ".DS_Store").touch()
    with pytest.raises(DataError, match=rf"has the split folders {said}"):
        list_folder(folder(tmp_path))


def test_classes_whose_names_have_a_split_in_them(tmp_path: Path) -> None:
    put(tmp_path, "crash test/1", "crash test/2", "crash test/more/3", "screen test/1", "contest/deep/1", "trainer/1")
    names = {name for _, split, name, _ in listed(tmp_path) if split is None}
    assert names == {"crash test", "screen test", "contest", "trainer"}


def test_split_folders_beside_others_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/1", "test/cat/2", "extra/3")
    with pytest.raises(
        DataError, match=r"has the split folders \['test', 'train'\] beside \['extra'\], which are none"
    ):
        list_folder(folder(tmp_path))


def test_sizes_and_the_schema(tmp_path: Path) -> None:
    put(tmp_path, "a/1234567")
    table = list_folder(folder(tmp_path))
    assert table.schema == LISTING
    assert table["num_bytes"].to_pylist() == [len("a/1234567")]


def test_linked_files_and_odd_files_are_records_with_a_reason(tmp_path: Path) -> None:
    put(tmp_path, "a/1")
    (tmp_path / "a/link").symlink_to(tmp_path / "a/1")
    (tmp_path / "a/dangling").symlink_to("nowhere")
    (tmp_path / "a/circle").symlink_to("circle")
    os.mkfifo(tmp_path / "a/pipe")
    assert listed(tmp_path) == [
        ("a/1", None, "a", None),
        ("a/circle", None, "a", "unsafe_path"),
        ("a/dangling", None, "a", "unsafe_path"),
        ("a/link", None, "a", "unsafe_path"),
        ("a/pipe", None, "a", "unreadable"),
    ]


def test_names_that_are_no_utf8_are_escaped_and_rejected(tmp_path: Path) -> None:
    put(tmp_path, "a/1")
    (tmp_path / os.fsdecode(b"a/\xff.png")).write_bytes(b"x")
    (tmp_path / os.fsdecode(b"b\xfe")).mkdir()
    (tmp_path / os.fsdecode(b"b\xfe/2.png")).write_bytes(b"x")
    assert listed(tmp_path) == [
        ("a/1", None, "a", None),
        ("a/\\udcff.png", None, "a", "unsafe_path"),
        ("b\\udcfe/2.png", None, None, "unsafe_path"),
    ]
    details = [row["detail"] for row in list_folder(folder(tmp_path)).to_pylist()]
    assert details == [None, "its name is no UTF-8", "its name is no UTF-8"]


def test_a_linked_folder_is_refused_by_name(tmp_path: Path) -> None:
    put(tmp_path, "a/1")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(DataError, match=r"folder '.*/b' is a symbolic link; its files would be missed"):
        list_folder(folder(tmp_path))


def test_a_folder_that_cannot_be_listed_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a/1", "b/2")
    refuse_to_list(monkeypatch, "b")
    with pytest.raises(DataError, match=r"cannot list folder '.*/b/?': Permission denied"):
        list_folder(folder(tmp_path))


class Closed:
    """A file in a folder that lists its names, and tells nothing of them: mode r--."""

    def __init__(self, entry: os.DirEntry[str]) -> None:
        self.name, self.path, self.is_dir, self.is_symlink = entry.name, entry.path, entry.is_dir, entry.is_symlink

    def stat(self, **_: bool) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self.path)


def test_a_folder_that_does_not_tell_of_its_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a/1", ".git/2")
    scandir = os.scandir

    def closing(path: Path | str) -> list[Any]:
        return [Closed(entry) if Path(path).name in closed else entry for entry in scandir(path)]

    monkeypatch.setattr(os, "scandir", closing)
    closed = [".git"]
    assert [row[0] for row in listed(tmp_path)] == [".git/2", "a/1"]
    closed = ["a"]
    message = r"cannot look at '.*/a/1': Permission denied; check the permissions of its folder"
    with pytest.raises(DataError, match=message):
        list_folder(folder(tmp_path))


def test_a_source_behind_a_closed_folder_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, **_: bool) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(ConfigError, match=r"data.path '.*' cannot be reached: Permission denied; give the folder that"):
        list_folder(folder(tmp_path))


def test_the_folder_around_a_data_set_is_no_class(tmp_path: Path) -> None:
    put(tmp_path, "README", "__MACOSX/pets/x", "pets/labels.csv", "pets/train/cat/1", "pets/test/cat/2")
    with pytest.raises(
        DataError, match=r"holds one folder, 'pets', which would .*; in it are 'test', 'train': give data"
    ):
        list_folder(folder(tmp_path))
    with pytest.raises(DataError, match=rf": give data.path = '{tmp_path}/pets'$"):
        list_folder(folder(tmp_path))
    assert {row[1:3] for row in listed(tmp_path / "pets")} == {(None, None), ("test", "cat"), ("train", "cat")}
    put(tmp_path, "more/cat/3")
    assert ("pets/train/cat/1", None, "pets", None) in listed(tmp_path)


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.path '.*/nowhere' does not exist; give the folder"):
        list_folder(folder(tmp_path / "nowhere"))
    put(tmp_path, "file")
    with pytest.raises(DataError, match=r"data.path '.*/file' is not a directory"):
        list_folder(folder(tmp_path / "file"))
    with pytest.raises(DataError, match=r"holds 1 files but no class folders; expected SPLIT/CLASS/FILE or CLASS/FILE"):
        list_folder(folder(tmp_path))
    (tmp_path / "empty/cat").mkdir(parents=True)
    with pytest.raises(DataError, match=r"data.path '.*/empty' holds no files"):
        list_folder(folder(tmp_path / "empty"))


def test_the_fingerprint_follows_ids_sizes_splits_classes_and_reasons(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/1", "test/dog/2")

    def now() -> str:
        return listing_fingerprint(list_folder(folder(tmp_path)))

    seen = [now()]
    assert now() == seen[0]
    (tmp_path / "train/cat/1").write_bytes(b"longer than it was before")
    seen.append(now())
    put(tmp_path, "test/dog/3")
    seen.append(now())
    (tmp_path / "test/dog/3").rename(tmp_path / "test/dog/4")
    seen.append(now())
    (tmp_path / "test/dog").rename(tmp_path / "test/cow")
    seen.append(now())
    assert len(set(seen)) == len(seen)
    table = list_folder(folder(tmp_path))
    for column in ("split", "class_name", "reason"):
        other = table.set_column(table.schema.get_field_index(column), column, [["x"] * table.num_rows])
        assert listing_fingerprint(other) != listing_fingerprint(table)


def rejection(load: Callable[[str], bytes], source: str) -> tuple[str, str]:
    with pytest.raises(RejectedError) as caught:
        load(source)
    return caught.value.reason, caught.value.detail


def test_files_are_read_or_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a/1", "a/long")
    (tmp_path / "a/empty").touch()
    (tmp_path / "a/link").symlink_to("1")
    os.mkfifo(tmp_path / "a/pipe")
    load = file_loader(folder(tmp_path), Image(max_file_bytes=5))
    assert load("a/1") == b"a/1"
    assert rejection(load, "a/long") == ("too_large", "6 bytes, above image.max_file_bytes = 5")
    assert rejection(load, "a/empty") == ("missing_image", "the file is empty")
    assert rejection(load, "a/gone") == ("missing_image", "the file is gone since it was listed")
    assert rejection(load, "a/link")[0] == "unsafe_path"
    assert rejection(load, "a/pipe") == ("unreadable", "not a regular file")  # and does not wait for a writer
    assert rejection(load, "a") == ("unreadable", "not a regular file")

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # tests may run as root, whom no mode bits stop
    assert rejection(load, "a/1") == ("unreadable", "Permission denied")
