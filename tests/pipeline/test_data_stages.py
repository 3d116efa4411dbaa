"""Versions of the data stages: found again wherever they lie, beside each other, removed when nobody needs them."""

import json
import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from pyspark.sql import SparkSession

from farandole.config.load import Config, parse_config
from farandole.core.dataset.versions import Version, hold
from farandole.errors import ConfigError, DataError
from farandole.pipeline import data_stages, origins
from farandole.pipeline.data_stages import Session, ensure_balanced, ensure_clean
from farandole.train.run.run_directory import RunDirectory

NUM_PICTURES = 24


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    for number in range(NUM_PICTURES):
        path = tmp_path / "raw" / "ab"[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    return tmp_path / "raw"


def config_for(raw: Path, **tables: Any) -> Config:
    work = {"paths": {"work": str(raw.parent / "work")}, "data": {"source": "folder", "path": str(raw)}}
    return parse_config({**work, "layout": {"num_files": 1}, **tables})


def balanced(session: Session, config: Config) -> Version:
    with ensure_balanced(session, config) as version:
        return version


def cleaned(session: Session, config: Config, **asked: bool) -> Version:
    with ensure_clean(session, config, **asked) as version:
        return version


def no_session() -> Any:
    pytest.fail("a stage runs though its version is there")


def test_two_configs_in_one_work_directory_do_not_disturb_each_other(spark: SparkSession, raw: Path) -> None:
    one, two = (config_for(raw, image={"height": side, "width": side}) for side in (8, 12))
    first = balanced(lambda: spark, one)
    with hold(first.directory):  # a run that reads it
        second = balanced(lambda: spark, two)
        assert first.directory != second.directory
        assert balanced(no_session, one) == first
    assert balanced(no_session, two) == second
    assert [one.manifest.sample.features["image"].shape[0] for one in (first, second)] == [8, 12]


def test_the_same_files_elsewhere_are_the_same_data(
    spark: SparkSession, raw: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = balanced(lambda: spark, config_for(raw))
    moved = raw.rename(raw.with_name("moved"))
    monkeypatch.chdir(raw.parent)
    for spelled in (str(moved), f"{moved}/", "moved", "./moved/."):
        assert balanced(no_session, config_for(raw, data={"source": "folder", "path": spelled})) == first
    shutil.copytree(raw.parent, raw.parent.with_name("cluster"))
    elsewhere = balanced(no_session, config_for(raw.parent.with_name("cluster") / "moved"))
    assert elsewhere.manifest == first.manifest


def test_without_its_source_a_version_is_used_as_it_is(
    spark: SparkSession, raw: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = config_for(raw)
    first = balanced(lambda: spark, config)
    clean = cleaned(no_session, config)
    raw.rename(raw.with_name("archive"))
    raw.mkdir()  # what is left of a file system that is not mounted
    capfd.readouterr()
    assert balanced(no_session, config) == first
    said = capfd.readouterr().err
    assert f"preprocess: {clean.directory} is used without a look at data.path '{raw}', because it is not there" in said
    with pytest.raises(
        DataError, match=rf"data.path '{raw}' holds no files"
    ):  # who asks for the stage means its source
        cleaned(no_session, config, asked=True)
    other = raw.with_name("another")
    elsewhere = config_for(raw, data={"source": "folder", "path": str(other)})
    message = (
        rf"'{other}' does not exist; {clean.directory} was made with the same settings from '{raw}': set pipeline.ch"
    )
    with pytest.raises(ConfigError, match=message):
        balanced(no_session, elsewhere)
    trusting = elsewhere.model_copy(update={"pipeline": config.pipeline.model_copy(update={"check_source": False})})
    assert balanced(no_session, trusting) == first
    never_seen = config_for(raw, data={"source": "folder", "path": str(other)}, split={"seed": 5})
    with pytest.raises(ConfigError, match=rf"data.path '{other}' does not exist; give the folder"):
        balanced(no_session, never_seen)


def test_a_source_behind_a_closed_folder_is_not_taken_for_gone(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_file", refuse)
    assert data_stages._is_there(config_for(raw).data)  # what is in the way is said when it is listed


def test_a_source_that_is_not_looked_at_may_have_changed(spark: SparkSession, raw: Path) -> None:
    first = balanced(lambda: spark, config_for(raw))
    (raw / "a/00.png").unlink()
    assert balanced(no_session, config_for(raw, pipeline={"check_source": False})) == first
    assert balanced(lambda: spark, config_for(raw)).directory != first.directory


def test_what_a_listing_does_not_show_is_told(
    spark: SparkSession, raw: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(raw / "a/pipe")  # what cannot be read, also for root
    made = cleaned(lambda: spark, config_for(raw))
    capfd.readouterr()
    cleaned(no_session, config_for(raw))
    remedy = f"remove {made.directory}, and the next job makes it anew"
    unreadable = f"preprocess: warning: 1 files could not be read for it; once they can be, {remedy}"
    assert capfd.readouterr().err.splitlines()[1:] == [unreadable]
    path = raw / "b/01.png"
    path.write_bytes(bytes(path.stat().st_size))  # another picture of the same length
    os.utime(path, (2**30, 2**30))
    cleaned(no_session, config_for(raw))
    said = capfd.readouterr().err
    assert (
        f"1 files were written to since, and are as long as before: if they hold other pictures now, {remedy}" in said
    )
    moved = raw.rename(raw.with_name("moved"))
    cleaned(no_session, config_for(raw, data={"source": "folder", "path": str(moved)}))
    assert "were written to" not in capfd.readouterr().err  # copies have times of their own


@pytest.mark.parametrize(
    "other",
    [{"split": {"seed": 7}}, {"split": {"val_fraction": 0.3}}, {"missing": {"label": "a"}}],
)
def test_other_splits_and_labels_decode_nothing_anew(
    spark: SparkSession, raw: Path, capfd: pytest.CaptureFixture[str], other: dict[str, Any]
) -> None:
    cleaned(lambda: spark, config_for(raw))
    capfd.readouterr()
    reused = cleaned(lambda: spark, config_for(raw, **other))
    assert f"preprocess: reused {NUM_PICTURES} of {NUM_PICTURES} pictures" in capfd.readouterr().err
    shutil.rmtree(raw.parent / "work")
    anew = cleaned(lambda: spark, config_for(raw, **other))
    assert anew.manifest == reused.manifest


def test_a_rule_that_rejects_nothing_new_trains_nothing_anew(spark: SparkSession, raw: Path) -> None:
    plain, stricter = config_for(raw), config_for(raw, image={"max_pixels": 10_000})
    first, second = (balanced(lambda: spark, config) for config in (plain, stricter))
    assert first.directory != second.directory
    assert first.manifest.fingerprint() == second.manifest.fingerprint()
    assert RunDirectory(plain, first.manifest).name == RunDirectory(stricter, second.manifest).name


def test_old_versions_go_unless_somebody_needs_them(
    spark: SparkSession, raw: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def seeded(seed: int) -> Config:
        return config_for(raw, split={"seed": seed}, pipeline={"keep_versions": 1})

    unfinished = balanced(lambda: spark, seeded(1))
    run = RunDirectory(seeded(1), unfinished.manifest)
    run.prepare(unfinished.names)
    reading = balanced(lambda: spark, seeded(2))
    with ExitStack() as stack:
        stack.enter_context(hold(reading.directory))
        newest = balanced(lambda: spark, seeded(3))
    directories = {path for path in (raw.parent / "work/balanced").iterdir() if not path.name.startswith(".")}
    assert directories == {unfinished.directory, reading.directory, newest.directory}
    run.metrics.write_text(json.dumps({}))
    capfd.readouterr()
    last = balanced(lambda: spark, seeded(4))
    left = [sorted(path.name for path in (raw.parent / "work" / stage).iterdir()) for stage in ("clean", "balanced")]
    assert left == [[last.names["clean"]], [last.names["balanced"]]]
    assert f"removed {newest.directory}, since pipeline.keep_versions = 1" in capfd.readouterr().err


def test_a_version_that_was_just_made_stays_though_the_clock_was_set_back(spark: SparkSession, raw: Path) -> None:
    def seeded(seed: int) -> Config:
        return config_for(raw, split={"seed": seed}, pipeline={"keep_versions": 1})

    balanced(lambda: spark, seeded(1))
    for path in (raw.parent / "work").glob("*/*/manifest.json"):
        os.utime(path, (2**32, 2**32))
    made = balanced(lambda: spark, seeded(2))
    assert balanced(no_session, seeded(2)) == made


def test_other_rules_for_images_and_another_schema_make_other_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse_config({})

    def settings() -> list[str]:
        return [
            origins.clean_settings(config.data, config.image, config.sample, config.missing, config.split),
            origins.decode_settings(config.data, config.image, config.missing),
            origins.balanced_settings(config.balance, config.layout),
        ]

    seen = [settings()]
    for name in ("RULES_VERSION", "SCHEMA_VERSION"):
        monkeypatch.setattr(origins, name, getattr(origins, name) + 1)
        seen.append(settings())
    assert seen[0][:2] != seen[1][:2]
    assert seen[0][2] == seen[1][2]
    assert all(before != after for before, after in zip(seen[1], seen[2], strict=True))
