"""layout.rewrite = "auto" on digits, which come mixed: their files are kept, read like any, and outlive clean/."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from farandole.config.load import Config
from farandole.core.batches.reader import SplitFiles, read_rows
from farandole.core.batches.slice_reader import read_slice
from farandole.core.dataset.manifest import Manifest, read_manifest
from farandole.core.dataset.parquet import write_file
from farandole.core.dataset.schema import CLEAN
from farandole.core.fingerprint import id_checksum
from farandole.core.plan.epoch_plan import plan_epoch, slice_for
from farandole.errors import DataError
from farandole.pipeline.data_stages import ensure_balanced, ensure_clean
from farandole.spark.rebalance import keep
from faults.digits import digits_config
from stage_runs import run_preprocess, run_rebalance


def config_for(work: Path, rewrite: str = "auto") -> Config:
    return digits_config(work, layout={"rewrite": rewrite})


@pytest.fixture(scope="module")
def preprocessed(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("preprocessed")
    run_preprocess(spark, config_for(work))
    return work / "clean"


@pytest.fixture
def clean(preprocessed: Path, tmp_path: Path) -> Manifest:
    shutil.copytree(preprocessed, tmp_path / "clean")
    return read_manifest(tmp_path / "clean")


def test_files_that_will_do_are_kept_and_outlive_clean(
    spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with ensure_clean(lambda: spark, config_for(tmp_path)) as clean:
        pass
    with ensure_balanced(lambda: spark, config_for(tmp_path)) as balanced:
        pass
    assert "rebalance: the files of clean/ are kept, because no row is added or dropped" in capfd.readouterr().err
    manifest = balanced.manifest
    assert manifest.splits == clean.manifest.splits
    for split in manifest.splits.values():
        assert all((clean.directory / file.path).samefile(balanced.directory / file.path) for file in split.files)
    shutil.rmtree(clean.directory)
    files = SplitFiles(balanced.directory, read_manifest(balanced.directory), "train")
    files.verify()
    plan = plan_epoch(manifest, epoch=0, seed=0, global_batch_size=100)
    batches = [batch for rank in range(2) for batch in read_slice(files, slice_for(plan, rank, 2))]
    assert sorted(row for batch in batches for row in batch.rows) == list(range(manifest.splits["train"].num_rows))
    checksum = sum(id_checksum(batch.id_hashes, batch.copies) for batch in batches) % 2**64
    assert f"{checksum:016x}" == manifest.splits["train"].id_checksum


def test_files_of_sorted_classes_are_rewritten(
    spark: SparkSession, tmp_path: Path, clean: Manifest, capfd: pytest.CaptureFixture[str]
) -> None:
    entry = clean.splits["train"].files[0]
    table = pq.ParquetFile(tmp_path / "clean" / entry.path).read(CLEAN.names).cast(CLEAN).sort_by("label")
    sorted_clean = forge(tmp_path, clean, [table.slice(start, 200) for start in range(0, table.num_rows, 200)])
    auto, always = (run_rebalance(spark, config_for(tmp_path, rewrite), sorted_clean) for rewrite in ("auto", "always"))
    assert (
        "are rewritten, because classes are not mixed: their clustering in row groups is 0." in capfd.readouterr().err
    )
    assert auto == always
    assert auto.splits != sorted_clean.splits


def test_kept_labels_are_those_of_the_manifest(spark: SparkSession, tmp_path: Path, clean: Manifest) -> None:
    counts = clean.splits["val"].class_counts
    swapped = counts | {"0": counts["1"] + 1, "1": counts["0"] - 1}
    other = clean.splits["val"].model_copy(update={"class_counts": swapped})
    forged = clean.model_copy(update={"splits": clean.splits | {"val": other}})
    with pytest.raises(DataError, match=r"clean, split val: the files hold \[.*\] rows of the classes, the"):
        run_rebalance(spark, config_for(tmp_path), forged)
    table = pq.ParquetFile(tmp_path / "clean" / clean.splits["train"].files[0].path).read(CLEAN.names).cast(CLEAN)
    labels = np.where(np.arange(table.num_rows) == 7, 10, table["label"].to_numpy())
    bad = table.set_column(2, CLEAN.field(2), pa.array(labels, pa.int32()))
    with pytest.raises(DataError, match=r"part-00000.parquet holds label 10, the manifest knows 0 to 9; run"):
        run_rebalance(spark, config_for(tmp_path), forge(tmp_path, clean, [bad.slice(0, 200)]))


@pytest.mark.parametrize(("split", "at"), [("test", -20), ("train", "label")])
def test_nothing_that_is_seen_to_be_damaged_is_kept(
    spark: SparkSession, tmp_path: Path, clean: Manifest, split: str, at: int | str
) -> None:
    path = tmp_path / "clean" / clean.splits[split].files[0].path
    data, group = bytearray(path.read_bytes()), pq.read_metadata(path).row_group(0)
    if isinstance(at, str):
        chunk = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == at)
        at = (chunk.dictionary_page_offset or chunk.data_page_offset) + chunk.total_compressed_size - 1
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"clean/data/split={split}/part-00000.parquet.* the file is damaged"):
        run_rebalance(spark, config_for(tmp_path), clean)
    assert not (tmp_path / "balanced").exists()


def test_what_keeping_does_not_read_is_verified_by_who_reads_it(
    spark: SparkSession, tmp_path: Path, clean: Manifest
) -> None:
    path = tmp_path / "clean" / clean.splits["test"].files[0].path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    manifest = run_rebalance(spark, config_for(tmp_path), clean)
    files = SplitFiles(tmp_path / "balanced", manifest, "test")
    with pytest.raises(DataError, match=r"balanced/data/split=test/part-00000.parquet, row group \d, .*damaged"):
        list(read_rows(files, 0, int(files.starts[-1]), 100))


def test_without_links_files_are_copied(
    spark: SparkSession, tmp_path: Path, clean: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(keep.os, "link", refuse)
    manifest = run_rebalance(spark, config_for(tmp_path), clean)
    for split in manifest.splits:
        SplitFiles(tmp_path / "balanced", manifest, split).verify()


def forge(work: Path, clean: Manifest, row_groups: list[pa.Table]) -> Manifest:
    """The manifest for a clean/ whose one train file is replaced by these row groups."""
    entry = write_file(work / "clean", clean.splits["train"].files[0].path, CLEAN, row_groups)
    counts = np.bincount(pa.concat_tables(row_groups)["label"].to_numpy(), minlength=10)[:10].tolist()
    counts[0] += entry.num_rows - sum(counts)
    changed = {"files": [entry], "num_rows": entry.num_rows, "class_counts": {str(i): n for i, n in enumerate(counts)}}
    train = clean.splits["train"].model_copy(update=changed)
    return clean.model_copy(update={"splits": clean.splits | {"train": train}})
