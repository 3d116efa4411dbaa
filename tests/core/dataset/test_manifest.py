"""A manifest is input like any other: what does not add up, or leads out of its directory, is refused."""

import json

import pytest

from balanced_data import write_balanced
from farandole.core.dataset.manifest import read_manifest
from farandole.errors import DataError


@pytest.fixture
def root(tmp_path):
    write_balanced(tmp_path, train=[[4, 4]], test=3)
    return tmp_path


def edit(root, change) -> None:
    path = root / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_reading_gives_back_what_was_written(root):
    manifest = read_manifest(root)
    assert manifest.splits["train"].files[0].row_groups == [4, 4]
    assert manifest.fingerprint() == read_manifest(root).fingerprint()


@pytest.mark.parametrize("path", ["../x.parquet", "/etc/passwd", "a/../../x", "a\\..\\x", ""])
def test_paths_that_lead_out_are_refused(root, path):
    edit(root, lambda m: m["splits"]["train"]["files"][0].update(path=path))
    with pytest.raises(DataError, match="leads out of the data directory"):
        read_manifest(root)


def test_symbolic_links_are_refused(root):
    file = root / read_manifest(root).splits["test"].files[0].path
    file.rename(root / "elsewhere")
    file.symlink_to(root / "elsewhere")
    with pytest.raises(DataError, match="is a symbolic link or leads out"):
        read_manifest(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["splits"]["train"].update(num_rows=9), "9 rows, but 8 in files and 8 in classes"),
        (lambda m: m["splits"]["train"]["files"][0].update(row_groups=[4, 5]), "do not add up to 8 rows"),
        (lambda m: m["splits"].pop("val"), r"splits \['test', 'train'\]; expected"),
        (lambda m: m.update(schema_version=99), "schema_version 99; this farandole reads 4"),
        (lambda m: m.update(schema_version=1, splits={}), "schema_version 1; this farandole reads 4"),
        (lambda m: m.update(quarantine={"ugly": 1}), r"unknown quarantine reasons \['ugly'\]"),
        (lambda m: m["sample"].update(class_names=["x", "y", "z"]), "class_counts are not in the order of class_names"),
        (lambda m: m.update(stage="preprocess", input_rows=12), "12 input rows, but 11 kept"),
        (lambda m: m.update(surprise=1), "Extra inputs are not permitted"),
    ],
)
def test_what_does_not_add_up_is_refused(root, change, message):
    edit(root, change)
    with pytest.raises(DataError, match=message):
        read_manifest(root)


def test_missing_or_resized_files_are_named(root):
    manifest = read_manifest(root)
    train, test = (root / manifest.splits[split].files[0].path for split in ("train", "test"))
    with train.open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match=r"split=train/part-00000.parquet has \d+ bytes, the manifest says \d+; remove"):
        read_manifest(root)
    train.unlink()
    with pytest.raises(DataError, match=r"split=train/part-00000.parquet is listed in the manifest but does not exist"):
        read_manifest(root)
    (root / "manifest.json").unlink()
    with pytest.raises(DataError, match="is not a finished data set"):
        read_manifest(root)
    assert test.exists()
