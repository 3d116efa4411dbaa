"""The pictures of a report: what was rejected is shown where that is safe, what was trained as training saw it."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from balanced_data import write_balanced
from farandole.config.data import Data
from farandole.config.data import Image as ImageRules
from farandole.config.train import Augment
from farandole.core.dataset.parquet import write_file
from farandole.core.dataset.schema import QUARANTINE
from farandole.core.record.preview import SIDE_PIXELS
from farandole.report import pictures
from farandole.spark.source.look_again import describe_source, record_loader
from farandole.train.input.augment import augment

RULES = ImageRules(max_pixels=10_000, max_file_bytes=100_000)


def quarantined(clean: Path, *rows: tuple[str, str]) -> None:
    """Writes clean/quarantine: (source, reason), a file for each two."""
    for number in range(0, len(rows), 2):
        table = [
            {"id": source, "source": source, "reason": reason, "detail": f"detail of {source}"}
            for source, reason in rows[number : number + 2]
        ]
        path = f"quarantine/part-{number:05d}.parquet"
        write_file(clean, path, QUARANTINE, [pa.Table.from_pylist(table, schema=QUARANTINE)])


def test_what_can_be_decoded_within_bounds_is_shown_and_the_rest_has_its_reason(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    Image.new("RGB", (1, 40), "red").save(raw / "thin.png")
    Image.new("L", (30, 30), 7).save(raw / "blank.png")
    Image.effect_noise((101, 100), 50).save(raw / "large.png")
    (raw / "text.png").write_text("no picture")
    (raw / "heavy.png").write_bytes((raw / "blank.png").read_bytes() + bytes(100_000))
    (raw / "link.png").symlink_to(raw / "blank.png")
    (raw / "away").symlink_to(tmp_path)
    shutil.copy(raw / "blank.png", tmp_path / "outside.png")
    rows = [
        ("thin.png", "too_small"),
        ("blank.png", "blank"),
        ("large.png", "too_large"),
        ("text.png", "not_an_image"),
        ("heavy.png", "too_large"),
        ("link.png", "unsafe_path"),
        ("gone.png", "missing_image"),
        ("../outside.png", "unsafe_path"),
        ("away/outside.png", "unsafe_path"),
        (f"{tmp_path}/outside.png", "unsafe_path"),
    ]
    quarantined(tmp_path / "clean", *rows)
    load = record_loader(Data(source="folder", path=str(raw)), RULES)
    found = {image.id: image for image in pictures.rejected_images(tmp_path / "clean", load, RULES)}
    assert {(image.id, image.reason) for image in found.values()} == set(rows)
    assert sorted(name for name, image in found.items() if image.image is not None) == ["blank.png", "thin.png"]
    assert found["thin.png"].image.shape == (SIDE_PIXELS, SIDE_PIXELS, 3)
    assert found["thin.png"].image[SIDE_PIXELS // 2].max(axis=0).tolist() == [255, 0, 0]
    assert found["gone.png"].detail == "detail of gone.png"


def test_every_reason_is_shown_and_no_more_than_a_page(tmp_path: Path) -> None:
    rows = [(f"{number}.png", "truncated") for number in range(100)] + [("one.png", "blank"), ("two.png", "too_small")]
    quarantined(tmp_path, *rows)
    found = pictures.rejected_images(tmp_path, None, RULES)
    assert len(found) == pictures.NUM_REJECTED_IMAGES
    assert {image.reason for image in found} == {"truncated", "blank", "too_small"}
    assert all(image.image is None for image in found)
    assert pictures.rejected_images(tmp_path / "none", None, RULES) == []


def test_train_images_are_those_of_the_first_epoch(tmp_path: Path) -> None:
    manifest = write_balanced(tmp_path, train=[[10, 10], [7, 10]])
    plain = pictures.train_images(lambda batch: batch, manifest, tmp_path)
    rules = Augment(flip="random", translate_pixels=2)
    shown = pictures.train_images(partial(augment, rules=rules, seed=3, epoch=0, fill=[0.0]), manifest, tmp_path)
    assert [image.id for image in shown] == [image.id for image in plain]
    assert len({image.id for image in plain}) == len(plain) == pictures.NUM_TRAIN_IMAGES
    assert any(not np.array_equal(a.image, b.image) for a, b in zip(plain, shown, strict=True))
    assert {image.label for image in plain} <= set(manifest.class_names)


def test_a_source_is_described_for_people() -> None:
    assert describe_source(Data(source="folder", path="/data/cats")) == "folder /data/cats"
    labelled = Data(source="folder", path="/data/cats", label_table="labels.csv")
    assert describe_source(labelled) == "folder /data/cats, labels in /data/cats/labels.csv"
    assert describe_source(Data()) == "digits, which come with scikit-learn"
    assert record_loader(Data(source="table", path="/data/cats"), RULES) is None
    digits = record_loader(Data(), RULES)
    assert digits is not None
    assert digits("digits/0003").shape == (8, 8)
