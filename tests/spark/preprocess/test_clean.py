"""The preprocess stage on small folders: every record ends in one place, and twice the same gives the same bytes."""

import hashlib
import shutil
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from manifests import file_entry
from PIL import Image as Pillow
from pyspark.sql import SparkSession

from farandole.config.data import Image, Split
from farandole.config.jobs import Paths
from farandole.config.load import Config, Data
from farandole.core.dataset.manifest import Manifest, read_manifest
from farandole.core.dataset.schema import CLEAN, DEDUPLICATED, QUARANTINE
from farandole.core.dataset.versions import Origin
from farandole.core.fingerprint import hash_ids, id_checksum
from farandole.core.plan.layout import files_by_hash
from farandole.core.record import image
from farandole.errors import DataError
from farandole.spark.preprocess import clean, decode_parts, duplicates, place_parts, stage_parts
from farandole.spark.preprocess.clean_files import CleanFile
from farandole.spark.preprocess.place_parts import SplitCounts
from farandole.spark.source import records
from stage_runs import run_preprocess

SIDE = 8


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def put(path: Path, pixels: np.ndarray | Pillow.Image, file_format: str = "PNG") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (pixels if isinstance(pixels, Pillow.Image) else Pillow.fromarray(pixels)).save(path, file_format)


def config_for(tmp_path: Path, **split: Any) -> Config:
    return Config(
        paths=Paths(work=str(tmp_path / "work")),
        data=Data(source="folder", path=str(tmp_path / "raw")),
        image=Image(height=SIDE, width=SIDE),
        split=Split(**split),
    )


def listing_of(config: Config) -> pa.Table:
    return records.list_source(config.data, config.missing)


def run(spark: SparkSession, config: Config) -> Manifest:
    shutil.rmtree(config.work / "clean", ignore_errors=True)  # so that nothing is taken over
    return run_preprocess(spark, config)


def rows_of(config: Config, folder: str) -> pa.Table:
    paths = sorted((config.work / "clean").glob(f"{folder}/part-*.parquet"))
    return pa.concat_tables([pq.read_table(path, partitioning=None) for path in paths])


def quarantine_of(config: Config) -> dict[str, str]:
    table = rows_of(config, "quarantine")
    assert table.schema.names == QUARANTINE.names
    return dict(zip(table["id"].to_pylist(), table["reason"].to_pylist(), strict=True))


def hashes_of(directory: Path) -> dict[str, str]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def put_hostile(folder: Path) -> None:
    """What a folder of real images has collected over the years."""
    put(folder / "cmyk.jpg", Pillow.fromarray(picture(901)).convert("CMYK"), "JPEG")
    put(folder / "deep.png", np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000)
    put(folder / "palette.gif", Pillow.fromarray(picture(902)).quantize(8), "GIF")
    put(folder / "alpha.png", np.dstack([picture(903), picture(904)[:, :, 0]]))
    put(folder / "short.jpg", picture(905), "JPEG")
    (folder / "short.jpg").write_bytes((folder / "short.jpg").read_bytes()[:-40])
    put(folder / "blank.png", np.full((8, 8, 3), 7, np.uint8))
    (folder / "text.jpg").write_text("I am no picture")
    (folder / "empty.png").touch()
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (folder / "bomb.png").write_bytes(bomb + struct.pack(">I", 9) + b"IDAT")
    (folder / "link.png").symlink_to("alpha.png")


def make_messy(tmp_path: Path) -> Config:
    """Sixty images of three classes, ten hostile files, two duplicates, two with conflicting labels, one loose file."""
    raw = tmp_path / "raw"
    for index in range(60):
        put(raw / f"class {index % 3} ü" / f"{index:02d}.png", picture(index))
    put_hostile(raw / "class 0 ü")
    put(raw / "class 0 ü" / "copy of 03.bmp", picture(3), "BMP")
    put(raw / "class 1 ü" / "00 first.png", picture(31))
    put(raw / "class 1 ü" / "doubtful.png", picture(100))
    put(raw / "class 2 ü" / "doubtful.png", picture(100))
    (raw / "notes.txt").write_text("hello")
    return config_for(tmp_path)


@pytest.fixture
def messy(tmp_path: Path) -> Config:
    return make_messy(tmp_path)


@pytest.fixture(scope="module")
def cleaned(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Manifest]:
    """The messy folder after one run; tests only look at it."""
    config = make_messy(tmp_path_factory.mktemp("cleaned"))
    return config, run(spark, config)


def test_every_record_ends_in_one_place(cleaned: tuple[Config, Manifest]) -> None:
    messy, manifest = cleaned
    assert quarantine_of(messy) == {
        "class 0 ü/blank.png": "blank",
        "class 0 ü/bomb.png": "too_large",
        "class 0 ü/empty.png": "missing_image",
        "class 0 ü/link.png": "unsafe_path",
        "class 0 ü/short.jpg": "truncated",
        "class 0 ü/text.jpg": "not_an_image",
        "class 1 ü/doubtful.png": "conflicting_label",
        "class 2 ü/doubtful.png": "conflicting_label",
        "notes.txt": "missing_label",
    }
    deduplicated = rows_of(messy, "deduplicated")
    assert deduplicated.schema.names == DEDUPLICATED.names
    assert deduplicated.to_pylist() == [
        {"id": name, "source": name, "kept_id": kept}
        for name, kept in (
            ("class 0 ü/copy of 03.bmp", "class 0 ü/03.png"),
            ("class 1 ü/31.png", "class 1 ü/00 first.png"),
        )
    ]
    kept = rows_of(messy, "data/split=*")["id"].to_pylist()
    everywhere = [*kept, *quarantine_of(messy), *deduplicated["id"].to_pylist()]
    assert sorted(everywhere) == listing_of(messy)["id"].to_pylist()
    assert {"class 0 ü/cmyk.jpg", "class 0 ü/deep.png", "class 0 ü/palette.gif", "class 0 ü/alpha.png"} <= set(kept)
    assert (manifest.input_rows, manifest.deduplicated_rows, len(kept)) == (75, 2, 64)
    assert manifest.quarantine == Counter(quarantine_of(messy).values())
    details = dict(zip(*(rows_of(messy, "quarantine")[name].to_pylist() for name in ("id", "detail")), strict=True))
    assert details["class 2 ü/doubtful.png"] == "the same picture is labelled 'class 1 ü', 'class 2 ü'"
    assert details["notes.txt"] == "not in a class folder"


def test_the_manifest_tells_what_is_in_the_files(cleaned: tuple[Config, Manifest]) -> None:
    messy, manifest = cleaned
    directory = messy.work / "clean"
    assert read_manifest(directory) == manifest
    assert (manifest.stage, manifest.config_fingerprint) == ("preprocess", "c" * 64)
    assert manifest.class_names == ["class 0 ü", "class 1 ü", "class 2 ü"]
    listed = {entry.path for split in manifest.splits.values() for entry in split.files}
    assert {path for path in hashes_of(directory) if path.startswith("data/")} == listed
    assert not (directory / "staging").exists()
    for split, entry in manifest.splits.items():
        rows = rows_of(messy, f"data/split={split}")
        assert rows.schema.names == [*CLEAN.names, "class_name"]
        assert rows["class_name"].to_pylist() == [manifest.class_names[label] for label in rows["label"].to_pylist()]
        assert all(file.sha256 == hashes_of(directory)[file.path] for file in entry.files)
        assert list(entry.class_counts.values()) == np.bincount(rows["label"].to_numpy(), minlength=3).tolist()
        assert entry.id_checksum == f"{id_checksum(hash_ids(rows['id']), 0):016x}"
        folders = [sample_id.split("/")[0] for sample_id in rows["id"].to_pylist()]
        assert [manifest.class_names[label] for label in rows["label"].to_pylist()] == folders


def test_pixels_hashes_and_statistics_are_those_of_the_images(cleaned: tuple[Config, Manifest]) -> None:
    messy, manifest = cleaned
    rows = rows_of(messy, "data/split=*").to_pylist()
    for row in rows:
        decoded = image.decode((Path(messy.data.path) / row["id"]).read_bytes(), messy.image)
        assert row["image"] == decoded.tobytes()
        digest = hashlib.blake2b(b"(8, 8, 3)" + row["image"], digest_size=16).digest()
        assert row["content_hash"] == int.from_bytes(digest[:8], "little", signed=True)
    train = np.frombuffer(b"".join(rows_of(messy, "data/split=train")["image"].to_pylist()), np.uint8).reshape(-1, 3)
    assert manifest.stats["image"].mean == pytest.approx(train.mean(axis=0).tolist(), rel=1e-12)
    assert manifest.stats["image"].std == pytest.approx(train.std(axis=0).tolist(), rel=1e-12)


def test_a_rerun_and_any_parallelism_give_the_same_bytes(
    spark: SparkSession,
    cleaned: tuple[Config, Manifest],
    messy: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(records, "RECORDS_PER_PART", 10)
    manifest = run(spark, messy)
    assert (manifest.splits, manifest.stats) == (cleaned[1].splits, cleaned[1].stats)  # parts decide on nothing
    monkeypatch.setattr(records, "RECORDS_PER_FILE", 10)
    manifest = run(spark, messy)
    for split, entry in manifest.splits.items():
        whole = cleaned[1].splits[split]
        assert (entry.id_checksum, entry.class_counts) == (whole.id_checksum, whole.class_counts)
    assert sum(len(split.files) for split in manifest.splits.values()) > 8
    first = hashes_of(messy.work / "clean")
    for file in (file for split in manifest.splits.values() for file in split.files):
        keys = hash_ids(pq.ParquetFile(messy.work / "clean" / file.path).read()["id"])
        assert (np.diff(keys.astype(object)) > 0).all()  # classes begin the ids, so that they are mixed
        assert set(files_by_hash(keys, 8)) == {int(file.path[-13:-8])}
    monkeypatch.setattr(place_parts, "MAX_GROUPS", 3)  # each of three parts
    run(spark, messy)
    assert {name: first[name] for name in first if name.startswith("data/")} == {
        name: digest for name, digest in hashes_of(messy.work / "clean").items() if name.startswith("data/")
    }
    monkeypatch.setattr(place_parts, "MAX_GROUPS", 256)
    # Another directory, whose name is a pattern to Spark, and another number of shuffle partitions.
    other = messy.model_copy(update={"paths": Paths(work=str(tmp_path / "a [b] {c,d} *é? x=1"))})
    before = spark.conf.get("spark.sql.shuffle.partitions")
    spark.conf.set("spark.sql.shuffle.partitions", "3")
    try:
        assert run(spark, other).fingerprint() == manifest.fingerprint()
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", before)
    assert hashes_of(other.work / "clean") == first


def test_tasks_that_run_again_leave_the_same_files(
    spark: SparkSession, cleaned: tuple[Config, Manifest], messy: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def again(task: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments: (task(*arguments), task(*arguments))[1]

    for module, name in ((stage_parts, "stage_part"), (clean, "place_parts"), (clean, "write_files")):
        monkeypatch.setattr(module, name, again(getattr(module, name)))
    assert run(spark, messy).splits == cleaned[1].splits
    once, twice = (hashes_of(config.work / "clean") for config in (cleaned[0], messy))
    assert {name for name in once if once[name] != twice.get(name)} <= {"manifest.json", "listing.parquet"}
    assert once.keys() == twice.keys()


def test_a_file_of_several_row_groups_holds_the_same_rows(
    spark: SparkSession, cleaned: tuple[Config, Manifest], messy: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(_spark: Any, _description: str, num_items: int, task: Callable[[int], Any], **_: Any) -> list[Any]:
        return [task(number) for number in range(num_items)]

    monkeypatch.setattr(decode_parts, "MAX_ROWS_PER_ROW_GROUP", 7)  # which Python workers would not see
    for module in (clean, duplicates):
        monkeypatch.setattr(module, "run_tasks", here)
    manifest = run(spark, messy)
    (file,) = manifest.splits["train"].files
    assert len(file.row_groups) > 5
    assert max(file.row_groups) <= 7
    for split in manifest.splits:
        rows, whole = (rows_of(config, f"data/split={split}") for config in (messy, cleaned[0]))
        assert rows.combine_chunks().equals(whole.combine_chunks())


def test_appending_images_moves_no_old_row(spark: SparkSession, messy: Config) -> None:
    run(spark, messy)
    before = splits_of(messy)
    for index in range(200, 230):
        put(Path(messy.data.path) / "class 1 ü" / f"{index}.png", picture(index))
    run(spark, messy)
    after = splits_of(messy)
    assert len(after) == len(before) + 30
    assert before.items() <= after.items()


def test_given_splits_are_kept_and_test_wins_over_val_over_train(spark: SparkSession, tmp_path: Path) -> None:
    config = config_for(tmp_path, val_fraction=0.5, test_fraction=0.4)
    raw = tmp_path / "raw"
    for index in range(20):
        put(raw / "train" / f"c{index % 2}" / f"{index:02d}.png", picture(index))
    for index in range(20, 26):
        put(raw / "valid" / f"c{index % 2}" / f"{index:02d}.png", picture(index))
        put(raw / "test" / f"c{index % 2}" / f"{index:02d}.png", picture(index + 100))
    put(raw / "test/c0/again.png", picture(0))  # also train/c0/00.png
    put(raw / "test/c1/from val.png", picture(21))  # also valid/c1/21.png
    put(raw / "valid/c1/from train.png", picture(1))  # also train/c1/01.png
    manifest = run(spark, config)
    kept = {row["id"]: row["kept_id"] for row in rows_of(config, "deduplicated").to_pylist()}
    assert kept == {
        "train/c0/00.png": "test/c0/again.png",
        "train/c1/01.png": "valid/c1/from train.png",
        "valid/c1/21.png": "test/c1/from val.png",
    }
    assert {split: entry.num_rows for split, entry in manifest.splits.items()} == {"train": 18, "val": 6, "test": 8}
    for split, prefix in (("train", "train/"), ("val", "valid/"), ("test", "test/")):
        assert all(row.startswith(prefix) for row in rows_of(config, f"data/split={split}")["id"].to_pylist())


def test_digits_need_no_files_and_jpeg_is_stored_on_request(spark: SparkSession, tmp_path: Path) -> None:
    config = Config(
        paths=Paths(work=str(tmp_path)), image=Image(height=16, width=16, channels=1, encoding="jpeg", resize="pad")
    )
    manifest = run(spark, config)
    assert manifest.class_names == list("0123456789")
    assert sum(split.num_rows for split in manifest.splits.values()) == 1797
    assert (manifest.quarantine, manifest.deduplicated_rows) == ({}, 0)
    assert all(data[:2] == b"\xff\xd8" for data in rows_of(config, "data/split=val")["image"].to_pylist())


def test_row_groups_are_bounded_by_rows_and_by_bytes() -> None:
    assert decode_parts.rows_per_row_group(Image()) == 256
    assert decode_parts.rows_per_row_group(Image(height=512, width=256)) == 3 * 1024 * 1024 // (512 * 256 * 3)
    large = Image(height=2048, width=1024, encoding="jpeg")  # what a task decodes at once is larger than what it stores
    assert decode_parts.rows_per_row_group(large) == 32 * 1024 * 1024 // (2048 * 1024 * 3)


def test_a_failed_run_leaves_the_old_data_set(spark: SparkSession, messy: Config) -> None:
    run(spark, messy)
    before = hashes_of(messy.work / "clean")
    listing = listing_of(messy)
    gone = listing.filter(pa.array([row["class_name"] == "class 0 ü" for row in listing.to_pylist()]))
    with pytest.raises(
        DataError, match=r"only one class has usable images: 'class 0 ü' with 24, out of 31 records; tr"
    ):
        clean.preprocess(spark, messy, gone, messy.work / "other", Origin("c" * 64, "p" * 64))
    assert hashes_of(messy.work / "clean") == before
    assert [path.name for path in messy.work.iterdir()] == ["clean"]


def test_no_usable_image_is_refused_with_the_reasons(spark: SparkSession, tmp_path: Path) -> None:
    config = config_for(tmp_path)
    for name in ("cat", "dog"):
        (tmp_path / "raw" / name).mkdir(parents=True)
        (tmp_path / "raw" / name / "1.jpg").write_text("text")
    (tmp_path / "raw/dog/2.jpg").touch()
    with pytest.raises(
        DataError,
        match=r"none of 3 records is usable: 2 not_an_image \(such as 'cat/1.jpg', .*; check that these are encoded"
        r" images, such as JPEG or PNG; raw .*\), 1 missing_image \(such as 'dog/2.jpg', the file is empty; put",
    ):
        run(spark, config)
    assert not (config.work / "clean").exists()


def test_links_are_named_as_the_reason_with_the_remedy(spark: SparkSession, tmp_path: Path) -> None:
    put(tmp_path / "store/1.png", picture(1))
    for name in ("cat", "dog"):
        (tmp_path / "raw" / name).mkdir(parents=True)
        (tmp_path / "raw" / name / "1.png").symlink_to(tmp_path / "store/1.png")
    with pytest.raises(
        DataError,
        match=r"is usable: 2 unsafe_path \(such as 'cat/1.png', a symbolic link; put the files themselves there",
    ):
        run(spark, config_for(tmp_path))


def test_a_split_without_a_usable_record_is_drawn(
    spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for seed in range(60):
        put(tmp_path / "raw/train" / "ab"[seed % 2] / f"{seed}.png", picture(seed))
    put(tmp_path / "raw/test/60.png", picture(60))  # without a class
    (tmp_path / "raw/val/a").mkdir(parents=True)
    (tmp_path / "raw/val/a/.DS_Store").write_text("no image")
    manifest = run(spark, config_for(tmp_path, val_fraction=0.2, test_fraction=0.25))
    rows = {split: entry.num_rows for split, entry in manifest.splits.items()}
    assert rows["test"] > 0
    assert rows["val"] > 0
    assert sum(rows.values()) == 60
    said = capfd.readouterr().err
    assert "no record that is given as test can be used; split.test_fraction draws its rows" in said
    assert "no record that is given as val can be used; split.val_fraction draws its rows" in said


@pytest.mark.parametrize("unused", ["a notes", "m notes", "z notes"])
def test_a_name_without_an_image_is_no_class(
    spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str], unused: str
) -> None:
    for seed in range(40):
        put(tmp_path / "raw" / ("cat", "owl")[seed % 2] / f"{seed:02d}.png", picture(seed))
    (tmp_path / "raw" / unused).mkdir()
    (tmp_path / "raw" / unused / "licence.txt").write_text("all rights to everybody")
    config = config_for(tmp_path, val_fraction=0.2, test_fraction=0.2)
    manifest = run(spark, config)
    assert manifest.class_names == ["cat", "owl"]
    assert manifest.quarantine == {"not_an_image": 1}
    assert f"warning: '{unused}': no usable image, hence no class" in capfd.readouterr().err
    rows = rows_of(config, "data/split=*").to_pylist()
    assert {(row["id"].split("/")[0], row["label"]) for row in rows} == {("cat", 0), ("owl", 1)}
    counts = [entry.class_counts for entry in manifest.splits.values()]
    assert {name: sum(count[name] for count in counts) for name in manifest.class_names} == {"cat": 20, "owl": 20}


def splits_of(config: Config) -> dict[str, str]:
    return {
        row: split
        for split in ("train", "val", "test")
        for row in rows_of(config, f"data/split={split}")["id"].to_pylist()
    }


def test_no_setting_of_image_moves_a_row_to_another_split(spark: SparkSession, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for seed in range(80):
        put(tmp_path / f"raw/{'ab'[seed % 2]}/{seed:02d}.png", rng.integers(0, 256, (32, 24, 3), dtype=np.uint8))
    config = config_for(tmp_path, val_fraction=0.2, test_fraction=0.3)
    found = []
    for rules in (
        Image(height=32, width=24),
        Image(height=12, width=12, channels=1),
        Image(height=5, width=9, resize="crop", encoding="jpeg"),
    ):
        run(spark, config.model_copy(update={"image": rules}))
        found.append(splits_of(config))
    assert set(found[0].values()) == {"train", "val", "test"}
    assert found == [found[0]] * 3


def test_which_copy_is_kept_and_where_depends_on_no_name(spark: SparkSession, tmp_path: Path) -> None:
    found = []
    for formats in (("PNG", "BMP"), ("BMP", "PNG")):
        root = tmp_path / formats[0]
        for seed in range(40):
            for copy, file_format in zip("xy", formats, strict=True):
                put(root / f"raw/{'ab'[seed % 2]}/{copy}{seed:02d}", picture(seed), file_format)
        config = config_for(root, val_fraction=0.2, test_fraction=0.3)
        assert run(spark, config).deduplicated_rows == 40
        found.append({name.split("/")[1][1:]: split for name, split in splits_of(config).items()})
    assert found[0] == found[1]


def put_long_tail(raw: Path) -> None:
    """Two classes of 30 pictures, and ten each of one and of two."""
    seeds = iter(range(1_000))
    for number in range(22):
        for index in range(30 if number < 2 else 1 + number % 2):
            put(raw / f"species {number:02d}" / f"{index}.png", picture(next(seeds)))


def test_every_class_of_a_long_tail_is_trained(
    spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    put_long_tail(tmp_path / "raw")
    config = config_for(tmp_path, val_fraction=0.2, test_fraction=0.3)
    manifest = run(spark, config)
    counts = {split: list(entry.class_counts.values()) for split, entry in manifest.splits.items()}
    assert min(counts["train"]) >= 1
    assert sum(counts["test"]) > 0
    assert np.sum(list(counts.values()), axis=0).tolist() == [30, 30, *([1, 2] * 10)]
    assert manifest.stats["image"].mean == pytest.approx(
        np.mean([list(row) for row in rows_of(config, "data/split=train")["image"].to_pylist()], axis=0)
        .reshape(-1, 3)
        .mean(axis=0)
        .tolist()
    )
    said = capfd.readouterr().err
    assert "rows that would be held out stay in train, since nothing else of their classes would; the smallest" in said


def test_small_classes_are_refused_on_request_before_a_picture_is_written(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_long_tail(tmp_path / "raw")
    monkeypatch.setattr(clean, "StagedImages", None)  # what pictures are written from
    with pytest.raises(
        DataError,
        match=r"10 classes have fewer rows than split.min_rows_per_class = 2: 'species 02' 1, .*, \.\.\.; add images,",
    ):
        run(spark, config_for(tmp_path, min_rows_per_class=2))


def test_names_that_nearly_agree_are_warned_of(
    spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for seed, name in enumerate(["Cat", "cat", "dog", "dog "] * 10):
        put(tmp_path / "raw" / name / f"{seed}.png", picture(seed))
    run(spark, config_for(tmp_path, val_fraction=0.0, test_fraction=0.0))
    said = capfd.readouterr().err
    assert "2 classes have several names that nearly agree: 'Cat' and 'cat', 'dog' and 'dog '; give them one na" in said


@pytest.mark.parametrize(("num_rows", "checksum"), [(2, 5), (3, 6)])
def test_rows_that_do_not_arrive_are_noticed(num_rows: int, checksum: int) -> None:
    sent = [SplitCounts(np.array([1, 1]), 2**64 - 1, [], [], {}), SplitCounts(np.array([1, 0]), 6, [], [], {})]

    def arrived(num_rows: int, checksum: int) -> list[dict[str, CleanFile]]:
        return [{}, {"train": CleanFile(file_entry([num_rows]), checksum)}]

    entry = clean._split_entry("train", sent, arrived(3, 5), ["a", "b"])
    assert (entry.num_rows, entry.class_counts, entry.id_checksum) == (3, {"a": 2, "b": 1}, f"{5:016x}")
    match = f"clean split train has {num_rows} rows of id_checksum {checksum:016x}, sent to it were 3 of {5:016x}: rows"
    with pytest.raises(DataError, match=match):
        clean._split_entry("train", sent, arrived(num_rows, checksum), ["a", "b"])
