"""What a job says of clean/, and what it refuses, before it goes on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from manifests import make_manifest, split_entry
from PIL import Image as Pillow

from farandole.config.load import Config, parse_config
from farandole.core.dataset.manifest import Manifest
from farandole.core.dataset.versions import Version
from farandole.errors import ConfigError, DataError
from farandole.pipeline.clean_summary import check_quarantine, say_clean
from farandole.pipeline.data_stages import Session, ensure_clean

DIRECTORY = Path("/work/clean")


def manifest_with(test: dict[str, int], quarantine: dict[str, int]) -> Manifest:
    train = dict.fromkeys(test, 5)
    splits = {"train": split_entry(train), "val": split_entry(dict.fromkeys(test, 0)), "test": split_entry(test)}
    rejected = sum(quarantine.values())
    manifest = make_manifest(splits)
    return Manifest(**manifest.model_dump() | {"quarantine": quarantine, "input_rows": manifest.input_rows + rejected})


def said(capfd: pytest.CaptureFixture[str], manifest: Manifest) -> list[str]:
    say_clean(manifest, DIRECTORY)
    return capfd.readouterr().err.splitlines()


def test_the_line_says_where_all_records_are(capfd: pytest.CaptureFixture[str]) -> None:
    assert said(capfd, manifest_with({"cat": 10, "dog": 10}, {"blank": 2, "too_small": 1})) == [
        "preprocess: 33 records = 30 kept + 3 quarantined (2 blank, 1 too_small) + 0 deduplicated, in /work/clean"
    ]
    assert "0 quarantined (none) +" in said(capfd, manifest_with({"cat": 10, "dog": 10}, {}))[0]


def test_classes_with_few_test_rows_are_warned_of(capfd: pytest.CaptureFixture[str]) -> None:
    assert said(capfd, manifest_with({"cat": 40, "dog": 1, "ship": 0}, {}))[1:] == [
        "preprocess: warning: 2 of 3 classes have fewer than 10 test rows, so their figures say little: "
        "'ship' 0, 'dog' 1"
    ]
    assert said(capfd, manifest_with({"cat": 0, "dog": 0}, {}))[1:] == []  # nobody wants test figures


def test_a_larger_share_of_quarantined_records_is_refused() -> None:
    manifest = manifest_with({"cat": 10, "dog": 10}, {"blank": 7, "too_small": 3})
    check_quarantine(0.25, manifest, DIRECTORY)
    with pytest.raises(
        DataError,
        match=r"10 of 40 records are quarantined, more than data.max_quarantine_fraction = 0.24 allows: 7 blank \(set "
        r"image.reject_blank = .*\), 3 too_small \(lower .*\); they are listed in /work/clean/quarantine",
    ):
        check_quarantine(0.24, manifest, DIRECTORY)


def config_for(tmp_path: Path, **data: Any) -> Config:
    return parse_config(
        {
            "paths": {"work": str(tmp_path / "work")},
            "data": {"source": "folder", "path": str(tmp_path / "raw"), **data},
            "split": {"val_fraction": 0.0, "test_fraction": 0.0},
        }
    )


def held(session: Session, config: Config) -> Version:
    with ensure_clean(session, config) as version:
        return version


def test_the_share_is_checked_in_every_job_and_decodes_nothing_anew(spark: Any, tmp_path: Path) -> None:
    for number in range(8):
        path = tmp_path / "raw" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Pillow.fromarray(pixels if number < 6 else np.zeros_like(pixels)).save(path)
    strict = config_for(tmp_path, max_quarantine_fraction=0.1)
    with pytest.raises(
        DataError, match=r"2 of 8 records are quarantined, more than data.max_quarantine_fraction = 0.1"
    ):
        held(lambda: spark, strict)
    assert list((tmp_path / "work").glob("clean/*/quarantine/*"))
    with pytest.raises(DataError, match=r"2 of 8 records are quarantined"):
        held(lambda: pytest.fail("up to date"), strict)
    assert held(lambda: pytest.fail("up to date"), config_for(tmp_path)).manifest.quarantine == {"blank": 2}


def test_a_work_directory_that_cannot_be_made_is_bad_usage(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for work in ("/proc/nowhere", f"{tmp_path}/file", f"{tmp_path}/file/deeper"):
        config = parse_config({"paths": {"work": work}})
        with pytest.raises(ConfigError, match=rf"paths.work '{work}' cannot be made: .*; choose a directory that can"):
            held(lambda: pytest.fail("no session is needed"), config)
