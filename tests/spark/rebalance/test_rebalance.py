"""rebalance on real files: exact counts, equal files, the same bytes every time, and nothing lost."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from manifests import count_labels, make_manifest, sample_of, split_entry

from farandole.config.load import parse_config
from farandole.core.dataset.manifest import Manifest, SplitEntry, Stats, read_manifest
from farandole.core.dataset.parquet import write_file
from farandole.core.dataset.schema import CLEAN, SPLITS
from farandole.core.fingerprint import hash_ids, id_checksum
from farandole.core.plan.balance import plan_balance
from farandole.core.plan.rebalance_plan import plan_rebalance
from farandole.errors import DataError
from farandole.spark.rebalance import move
from farandole.spark.tasks import reduce_tasks, run_tasks
from stage_runs import run_rebalance

NAMES = ["cat", "dog", "eel"]
COUNTS = {"train": [41, 13, 3], "val": [7, 5, 0], "test": [4, 2, 6]}
SIDE = 4


def image_of(sample_id: str) -> bytes:
    """The only picture that belongs to this id."""
    return (sample_id.encode() * SIDE * SIDE * 3)[: SIDE * SIDE * 3]


def rows_of(split: str, counts: list[int]) -> pa.Table:
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    ids = [f"{split}/{NAMES[label]}/ünï-{number}.png" for number, label in enumerate(labels)]
    columns = [ids, [image_of(sample_id) for sample_id in ids], labels, np.arange(len(ids)) * 7]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, CLEAN, strict=True)], schema=CLEAN)


def write_split(clean: Path, split: str, rows: pa.Table, num_files: int) -> SplitEntry:
    files = []
    num_files = min(num_files, rows.num_rows)
    for number, part in enumerate(np.array_split(np.arange(rows.num_rows), num_files) if num_files else []):
        groups = [rows.take(part[start : start + 5]) for start in range(0, len(part), 5)]
        files.append(write_file(clean, f"data/split={split}/part-{number:05d}.parquet", CLEAN, groups))
    counts = count_labels(rows["label"].to_numpy(), NAMES)
    return split_entry(counts, files, id_sum=id_checksum(hash_ids(rows["id"]), 0))


def write_clean(work: Path, tables: dict[str, pa.Table], *, num_files: int = 2, encoding: str = "raw") -> Manifest:
    """A clean/ directory as preprocess leaves it, and its manifest."""
    entries = {split: write_split(work / "clean", split, tables[split], num_files) for split in SPLITS}
    stats = {"image": Stats(mean=[1.0, 2.0, 3.0], std=[1.0, 1.0, 1.0])}
    manifest = make_manifest(
        entries,
        image_shape=(SIDE, SIDE, 3),
        encoding=encoding,
        stats=stats,
        quarantine={"blank": 2},
        deduplicated_rows=4,
    )
    (work / "clean" / "manifest.json").write_text(manifest.to_json())
    return read_manifest(work / "clean")


def tables(counts: dict[str, list[int]] = COUNTS) -> dict[str, pa.Table]:
    return {split: rows_of(split, counts[split]) for split in SPLITS}


def config_for(work: Path, strategy: str, *, max_repeats: int = 10, num_files: int = 3, seed: int = 0):
    return parse_config(
        {
            "paths": {"work": str(work)},
            "balance": {"strategy": strategy, "max_repeats": max_repeats, "seed": seed},
            "layout": {"num_files": num_files, "rows_per_row_group": 6},
        }
    )


def read_split(work: Path, manifest: Manifest, split: str) -> pa.Table:
    """All rows of a balanced split, files in the order of the manifest."""
    paths = [work / "balanced" / file.path for file in manifest.splits[split].files]
    return pa.concat_tables([pq.ParquetFile(path).read() for path in paths])


def hashes(manifest: Manifest) -> list[tuple[str, str]]:
    return [(file.path, file.sha256) for split in SPLITS for file in manifest.splits[split].files]


@pytest.fixture
def on_executors(monkeypatch):
    """As data that are too large for the driver are moved: by Spark tasks, through spill files."""
    monkeypatch.setattr("farandole.spark.rebalance.rebalance.MAX_DRIVER_BYTES", 0)


@pytest.mark.parametrize(
    ("strategy", "max_repeats", "expected"),
    [
        ("none", 10, [41, 13, 3]),
        ("undersample", 10, [3, 3, 3]),
        ("oversample", 10, [41, 41, 30]),
        ("oversample", 2, [41, 26, 6]),
    ],
)
def test_counts_files_and_rows_are_exact(spark, tmp_path, strategy, max_repeats, expected):
    inputs = tables()
    clean = write_clean(tmp_path, inputs)
    config = config_for(tmp_path, strategy, max_repeats=max_repeats)
    manifest = run_rebalance(spark, config, clean)

    assert read_manifest(tmp_path / "balanced") == manifest
    assert list(manifest.splits["train"].class_counts.values()) == expected
    assert len(manifest.splits["train"].files) == 3
    for split in SPLITS:
        check_layout(tmp_path, manifest, split)
        check_rows(read_split(tmp_path, manifest, split), inputs[split], manifest.splits[split])
    # In train, copies of an image are as many as any other image of its class has, or one more.
    copies = Counter(read_split(tmp_path, manifest, "train")["id"].to_pylist())
    for label, (before, after) in enumerate(zip(COUNTS["train"], expected, strict=True)):
        of_class = [copies[row["id"]] for row in inputs["train"].to_pylist() if row["label"] == label]
        assert sorted(Counter(of_class)) == sorted({after // before, -(-after // before)})
    for split in ("val", "test"):
        assert manifest.splits[split].id_checksum == clean.splits[split].id_checksum
        assert manifest.splits[split].num_rows == clean.splits[split].num_rows


def check_layout(work: Path, manifest: Manifest, split: str) -> None:
    per_file = []
    for file in manifest.splits[split].files:
        table = pq.ParquetFile(work / "balanced" / file.path).read()
        assert table.num_rows == file.num_rows
        assert max(file.row_groups) <= 6
        assert max(file.row_groups) - min(file.row_groups) <= 1
        per_file.append(np.bincount(table["label"].to_numpy(), minlength=len(NAMES)))
    assert np.ptp(np.sum(per_file, axis=1)) <= 1
    assert np.ptp(per_file, axis=0).max() <= 1


def check_rows(found: pa.Table, before: pa.Table, entry: SplitEntry) -> None:
    """Every row is one of the input's rows, unchanged; its copies are numbered from 0, and rows through the split."""
    assert found["row"].to_pylist() == list(range(entry.num_rows))
    original = {row["id"]: row for row in before.to_pylist()}
    numbers: dict[str, set[int]] = {}
    for row in found.to_pylist():
        assert original[row["id"]] == {name: row[name] for name in CLEAN.names}
        assert row["image"] == image_of(row["id"])
        assert row["copy"] not in numbers.setdefault(row["id"], set())
        numbers[row["id"]].add(row["copy"])
    assert all(copies == set(range(len(copies))) for copies in numbers.values())
    checksum = id_checksum(hash_ids(found["id"]), found["copy"].to_numpy())
    assert entry.id_checksum == f"{checksum:016x}"


def test_what_becomes_of_each_class_is_said(spark, tmp_path, capfd):
    clean = write_clean(tmp_path, tables())
    run_rebalance(spark, config_for(tmp_path, "oversample", max_repeats=2), clean)
    assert (
        "rebalance: oversample: 57 train rows -> 73: 'cat' 41, 'dog' 13 -> 26, 'eel' 3 -> 6;" in capfd.readouterr().err
    )


def test_manifest_carries_the_past_over(spark, tmp_path):
    clean = write_clean(tmp_path, tables())
    manifest = run_rebalance(spark, config_for(tmp_path, "weights"), clean)
    assert manifest.stage == "rebalance"
    assert manifest.config_fingerprint == "cf"
    assert manifest.parent_fingerprint == "p"
    assert manifest.class_counts_before == {"cat": 41, "dog": 13, "eel": 3}
    assert manifest.class_weights == {"cat": 57 / (3 * 41), "dog": 57 / (3 * 13), "eel": 57 / (3 * 3)}
    for name in ("sample", "stats", "quarantine", "input_rows", "deduplicated_rows"):
        assert getattr(manifest, name) == getattr(clean, name)


def test_order_is_shuffled_and_depends_on_the_seed(spark, tmp_path):
    clean = write_clean(tmp_path, tables())
    orders = []
    for seed in (0, 1):
        manifest = run_rebalance(spark, config_for(tmp_path, "none", seed=seed), clean)
        orders.append(read_split(tmp_path, manifest, "train")["id"].to_pylist())
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]
    assert sorted(orders[0]) not in orders


def test_same_bytes_again_and_for_any_layout_of_the_input(spark, tmp_path, monkeypatch):
    runs = []
    for run, (num_files, shuffled, piece_bytes, task_bytes, driver_rows, driver_bytes) in enumerate(
        [
            (2, False, 2**26, 2**26, 2**18, 2**28),
            (2, False, 2**26, 2**26, 2**18, 0),
            (5, True, 400, 900, 2**18, 2**28),
            (1, True, 2**26, 2**26, 0, 0),
            (5, True, 400, 900, 0, 0),
        ]
    ):
        monkeypatch.setattr("farandole.spark.rebalance.rebalance.MAX_DRIVER_BYTES", driver_bytes)
        monkeypatch.setattr("farandole.core.plan.rebalance_plan.MAX_PIECE_BYTES", piece_bytes)
        monkeypatch.setattr("farandole.spark.tasks.MAX_TASK_BYTES", task_bytes)
        monkeypatch.setattr("farandole.spark.rebalance.rebalance.MAX_DRIVER_ROWS", driver_rows)
        inputs = tables()
        if shuffled:
            order = {split: np.random.default_rng(run).permutation(inputs[split].num_rows) for split in SPLITS}
            inputs = {split: inputs[split].take(order[split]) for split in SPLITS}
        work = tmp_path / str(run)
        clean = write_clean(work, inputs, num_files=num_files)
        config = config_for(work, "oversample", num_files=3)
        runs.append(hashes(run_rebalance(spark, config, clean)))
    assert all(run == runs[0] for run in runs)
    assert len(runs[0]) >= 5


@pytest.mark.usefixtures("on_executors")
def test_histogram_passes_give_the_same_bytes(spark, tmp_path, monkeypatch):
    clean = write_clean(tmp_path, tables())
    config = config_for(tmp_path, "undersample")
    fetched_at_once = hashes(run_rebalance(spark, config, clean))
    descriptions = []

    def counted(spark, description, *arguments, **options):
        descriptions.append(description)
        return reduce_tasks(spark, description, *arguments, **options)

    monkeypatch.setattr("farandole.spark.rebalance.rebalance.MAX_DRIVER_ROWS", 0)
    monkeypatch.setattr("farandole.spark.rebalance.rebalance.reduce_tasks", counted)
    monkeypatch.setattr(
        "farandole.core.plan.order_statistics.keys_at_ranks.__kwdefaults__", {"max_keys": 20, "max_bins": 64}
    )
    assert hashes(run_rebalance(spark, config, clean)) == fetched_at_once
    assert descriptions.count("rebalance: select images") > 1


def test_number_of_files_follows_the_bytes_of_the_input(tmp_path):
    jpeg = write_clean(tmp_path, tables(), encoding="jpeg")
    balance = plan_balance(jpeg.splits["train"].class_counts, strategy="none", max_repeats=1)
    files = [file for split in SPLITS for file in jpeg.splits[split].files]
    plan = plan_rebalance(jpeg, balance, tmp_path, seed=0, num_files=0)
    assert plan.row_bytes == sum(file.num_bytes for file in files) // sum(file.num_rows for file in files)
    assert plan.num_files == 3  # one for each split
    raw = jpeg.model_copy(update={"sample": sample_of(1000, 1000, 3, class_names=jpeg.class_names)})
    plan = plan_rebalance(raw, balance, tmp_path, seed=0, num_files=0)
    assert plan.row_bytes == 3_000_000
    assert plan.files_of[0] == 3  # 57 rows of 3 MB in files of 64 MiB


def test_small_files_share_a_piece_and_large_ones_are_cut(tmp_path, monkeypatch):
    clean = write_clean(tmp_path, tables(), num_files=3)  # 19 train rows a file, in row groups of 5
    balance = plan_balance(clean.splits["train"].class_counts, strategy="none", max_repeats=1)
    wanted = [
        (index, file.path, group)
        for index, split in enumerate(SPLITS)
        for file in clean.splits[split].files
        for group in range(len(file.row_groups))
    ]
    for rows, num_pieces in ((1, 18), (10, 10), (24, 5), (1000, 3)):
        monkeypatch.setattr("farandole.core.plan.rebalance_plan.MAX_PIECE_BYTES", rows * SIDE * SIDE * 3)
        pieces = plan_rebalance(clean, balance, tmp_path, seed=0, num_files=3).pieces
        assert len(pieces) == num_pieces
        assert all(sum(run.num_rows for run in piece.runs) <= max(rows, 5) for piece in pieces)
        runs = [(piece.split, run) for piece in pieces for run in piece.runs]
        assert [(split, run.entry.path, g) for split, run in runs for g in range(run.first, run.stop)] == wanted


@pytest.mark.usefixtures("on_executors")
def test_nothing_but_data_and_manifest_is_left(spark, tmp_path):
    run_rebalance(spark, config_for(tmp_path, "none"), write_clean(tmp_path, tables()))
    assert sorted(path.name for path in (tmp_path / "balanced").iterdir()) == ["data", "manifest.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["balanced", "clean"]


def test_more_files_than_rows_and_empty_splits(spark, tmp_path):
    clean = write_clean(tmp_path, tables({"train": [2, 1, 1], "val": [0, 0, 0], "test": [1, 0, 0]}))
    manifest = run_rebalance(spark, config_for(tmp_path, "none", num_files=9), clean)
    assert [file.num_rows for file in manifest.splits["train"].files] == [1, 1, 1, 1]
    assert manifest.splits["val"].files == []
    assert manifest.splits["test"].num_rows == 1


def flip_bit(path: Path) -> None:
    """Of the last picture of the first row group."""
    group, content = pq.read_metadata(path).row_group(0), bytearray(path.read_bytes())
    chunk = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == "image")
    content[chunk.data_page_offset + chunk.total_compressed_size - 1] ^= 1
    path.write_bytes(content)


@pytest.mark.usefixtures("on_executors")
def test_a_damaged_input_file_is_named_and_nothing_is_left(spark, tmp_path):
    clean = write_clean(tmp_path, tables())
    config = config_for(tmp_path, "none")
    flip_bit(tmp_path / "clean/data/split=train/part-00001.parquet")
    with pytest.raises(DataError, match=r"clean/data/split=train/part-00001\.parquet, row group 0: .*CRC.*damaged"):
        run_rebalance(spark, config, clean)
    assert [path.name for path in tmp_path.iterdir()] == ["clean"]


def test_a_vanished_input_file_is_named(spark, tmp_path):
    clean = write_clean(tmp_path, tables())
    (tmp_path / "clean/data/split=val/part-00001.parquet").unlink()
    with pytest.raises(DataError, match=r"split=val/part-00001\.parquet is listed in the manifest but does not exist"):
        run_rebalance(spark, config_for(tmp_path, "none"), clean)


def test_another_file_in_its_place_is_named(spark, tmp_path):
    clean = write_clean(tmp_path, tables())
    rows = pq.ParquetFile(tmp_path / "clean/data/split=train/part-00000.parquet").read().cast(CLEAN)
    other_labels = rows.set_column(2, CLEAN.field(2), pa.array([2] * rows.num_rows, pa.int32()))
    groups = [other_labels.slice(start, 5) for start in range(0, rows.num_rows, 5)]
    write_file(tmp_path / "clean", "data/split=train/part-00000.parquet", CLEAN, groups)
    with pytest.raises(
        DataError, match=r"clean/data/split=train/part-00000\.parquet has a footer of SHA-256 \w+, .*damaged"
    ):
        run_rebalance(spark, config_for(tmp_path, "none"), clean)


def with_split(manifest: Manifest, split: str, **changes) -> Manifest:
    changed = manifest.splits[split].model_copy(update=changes)
    return manifest.model_copy(update={"splits": {**manifest.splits, split: changed}})


def test_other_ids_than_the_manifest_says_are_refused(spark, tmp_path):
    clean = with_split(write_clean(tmp_path, tables()), "val", id_checksum="0123456789abcdef")
    with pytest.raises(
        DataError,
        match=r"split val: .* hold 12 rows of id_checksum \w+ .* says 12 rows of id_checksum 0123456789abcdef",
    ):
        run_rebalance(spark, config_for(tmp_path, "none"), clean)


def test_an_unknown_label_is_refused(spark, tmp_path):
    clean = write_clean(tmp_path, tables())
    rows = pq.ParquetFile(tmp_path / "clean/data/split=train/part-00001.parquet").read().cast(CLEAN)
    rows = rows.set_column(2, CLEAN.field(2), pa.array([7] * rows.num_rows, pa.int32()))
    entry = write_file(tmp_path / "clean", "data/split=train/part-00001.parquet", CLEAN, [rows])
    forged = with_split(clean, "train", files=[clean.splits["train"].files[0], entry])
    with pytest.raises(
        DataError, match=r"part-00001\.parquet holds label 7, the manifest knows 0 to 2; run preprocess"
    ):
        run_rebalance(spark, config_for(tmp_path, "none"), forged)


def with_one_id_for(rows: pa.Table, label: int, count: int) -> pa.Table:
    """The first `count` rows of a class get the id of its first row."""
    ids, labels = rows["id"].to_pylist(), rows["label"].to_pylist()
    first = labels.index(label)
    ids[first : first + count] = [ids[first]] * count
    return rows.set_column(0, CLEAN.field(0), pa.array(ids))


def test_an_id_that_occurs_twice_is_refused(spark, tmp_path):
    inputs = tables()
    inputs["test"] = with_one_id_for(inputs["test"], 1, 2)
    clean = write_clean(tmp_path, inputs)
    with pytest.raises(DataError, match=r"id 'test/dog/ünï-4.png' occurs twice in .*clean; run preprocess again"):
        run_rebalance(spark, config_for(tmp_path, "none", num_files=1), clean)


def test_equal_keys_at_a_cut_between_files_are_refused(spark, tmp_path):
    inputs = tables()
    inputs["train"] = with_one_id_for(inputs["train"], 1, 13)
    clean = write_clean(tmp_path, inputs)
    with pytest.raises(
        DataError,
        match=r"train/part-0000\d\.parquet would get \d+ rows of class 'dog', \d+ are planned: .* change balance\.seed",
    ):
        run_rebalance(spark, config_for(tmp_path, "none"), clean)


def test_equal_keys_at_the_selection_cut_are_refused(spark, tmp_path):
    inputs = tables()
    inputs["train"] = with_one_id_for(inputs["train"], 1, 13)
    clean = write_clean(tmp_path, inputs)
    config = config_for(tmp_path, "undersample", num_files=1)
    with pytest.raises(
        DataError,
        match=r"balanced split train: selected were 6 rows of id_checksum .*, planned are 9 .* change balance.seed",
    ):
        run_rebalance(spark, config, clean)


@pytest.mark.parametrize("bytes_on_driver", [0, 2**30])
def test_above_so_many_cuts_files_are_even_by_rows(spark, tmp_path, monkeypatch, bytes_on_driver):
    monkeypatch.setattr("farandole.spark.rebalance.rebalance.MAX_DRIVER_BYTES", bytes_on_driver)
    runs = []
    for run, (num_files, max_cuts) in enumerate([(2, 5), (5, 5), (2, 6)]):  # 3 classes, 2 cuts in train
        monkeypatch.setattr("farandole.core.plan.rebalance_plan.MAX_CUTS", max_cuts)
        work, inputs = tmp_path / str(run), tables()
        clean = write_clean(work, inputs, num_files=num_files)
        manifest = run_rebalance(spark, config_for(work, "oversample", num_files=3), clean)
        assert read_manifest(work / "balanced") == manifest
        assert manifest.even_by == ("rows" if max_cuts == 5 else "class")
        assert list(manifest.splits["train"].class_counts.values()) == [41, 41, 30]
        assert [file.num_rows for file in manifest.splits["train"].files] == [38, 37, 37]
        for split in SPLITS:
            check_rows(read_split(work, manifest, split), inputs[split], manifest.splits[split])
        runs.append(hashes(manifest))
    assert runs[0] == runs[1] != runs[2]


def test_equal_keys_at_a_cut_of_rows_are_refused(spark, tmp_path, monkeypatch):
    monkeypatch.setattr("farandole.core.plan.rebalance_plan.MAX_CUTS", 5)
    inputs = tables()
    inputs["train"] = with_one_id_for(inputs["train"], 0, 41)
    clean = write_clean(tmp_path, inputs)
    with pytest.raises(DataError, match=r"part-0000\d\.parquet would get \d+ rows, 19 are planned: .* balance\.seed"):
        run_rebalance(spark, config_for(tmp_path, "none"), clean)


@pytest.mark.usefixtures("on_executors")
def test_a_task_that_runs_twice_leaves_the_same_files(spark, tmp_path, monkeypatch):
    """Spark may run a task again, or twice at the same time."""
    first = tables()
    clean = write_clean(tmp_path, first)
    once = hashes(run_rebalance(spark, config_for(tmp_path, "oversample"), clean))

    def twice(*arguments, **options):
        run_tasks(*arguments, **options)
        return run_tasks(*arguments, **options)

    monkeypatch.setattr("farandole.spark.rebalance.rebalance.run_tasks", twice)
    assert hashes(run_rebalance(spark, config_for(tmp_path, "oversample"), clean)) == once


@pytest.mark.usefixtures("on_executors")
def test_lost_rows_are_noticed(spark, tmp_path, monkeypatch):
    """If a reduce task got other rows than a map task sent, the checksums would differ."""
    clean = write_clean(tmp_path, tables())

    def forge(spark, description, num_items, task, **options):
        results = run_tasks(spark, description, num_items, task, **options)
        if description == "rebalance: write files":
            results[0] = move.Written(results[0].entry, results[0].checksum ^ 1)
        return results

    monkeypatch.setattr("farandole.spark.rebalance.rebalance.run_tasks", forge)
    with pytest.raises(
        DataError, match=r"balanced split train has id_checksum \w+, the rows sent to it \w+: rows were lost"
    ):
        run_rebalance(spark, config_for(tmp_path, "none"), clean)
