"""The report, from literal figures: what must be on the page, what must not, and what is missing without harm."""

import base64
import dataclasses
import os
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from manifests import make_manifest, split_entry
from PIL import Image

from farandole.core.dataset.manifest import Manifest, SplitEntry, Stats
from farandole.report import draw, plots, tables
from farandole.report.contents import RejectedImage, RunReport, TrainImage, WrongImage
from farandole.report.html import duration, write_report

CHECKSUM = "00000000deadbeef"


def a_split(counts: dict[str, int]) -> SplitEntry:
    return split_entry(counts, id_sum=int(CHECKSUM, 16))


def a_manifest(before: dict[str, int], after: dict[str, int], **changes: Any) -> Manifest:
    """Of balanced/: val and test have 3 rows a class, 5 records are rejected, 2 deduplicated."""
    held_out = dict.fromkeys(before, 3)
    fields: dict[str, Any] = {
        "created_by": "farandole 0.1.0",
        "config_fingerprint": "c" * 64,
        "parent_fingerprint": "d" * 64,
        "stats": {"image": Stats(mean=[120.0, 121.5, 99.0], std=[60.0, 61.0, 62.0])},
        "quarantine": {"truncated": 4, "blank": 1},
        "input_rows": sum(before.values()) + 6 * len(before) + 7,
        "deduplicated_rows": 2,
        "class_counts_before": before,
    }
    splits = {"train": a_split(after), "val": a_split(held_out), "test": a_split(held_out)}
    return make_manifest(splits, stage="rebalance", **(fields | changes))


def measured(confusion: list[list[int]], names: list[str]) -> dict[str, Any]:
    """Exact figures of a confusion matrix, as metrics.json has them."""
    matrix = np.array(confusion)
    support, predicted, right = matrix.sum(axis=1), matrix.sum(axis=0), np.diag(matrix)
    recall, precision = right / np.maximum(support, 1), right / np.maximum(predicted, 1)
    f1 = 2 * right / np.maximum(support + predicted, 1)
    per_class = {
        name: {"support": int(support[i]), "precision": precision[i], "recall": recall[i], "f1": f1[i]}
        for i, name in enumerate(names)
    }
    return {
        "num_rows": int(matrix.sum()),
        "loss": 0.4321,
        "accuracy": float(right.sum() / max(matrix.sum(), 1)),
        "balanced_accuracy": float(recall.mean()),
        "macro_f1": float(f1.mean()),
        "per_class": per_class,
        "confusion": matrix.tolist(),
    }


TRAIN = {
    "num_ranks": 2,
    "epochs": 2,
    "steps": 20,
    "images": 120,
    "wall_seconds": 192.4,
    "images_per_second": 4321.0,
    "data_wait_fraction": 0.0123,
}


def train_line(epoch: int, step: int, **changes: Any) -> dict[str, Any]:
    line = {"kind": "train", "epoch": epoch, "step": step, "loss": 2.0 / step, "accuracy": 0.5, "learning_rate": 1e-3}
    line |= {"images": 6 * step, "images_per_second": 4300.0, "data_wait_fraction": 0.01, "wall_seconds": 0.1}
    return line | changes


def val_line(epoch: int, step: int) -> dict[str, Any]:
    line = {"kind": "val", "epoch": epoch, "step": step, "num_rows": 9, "loss": 0.5, "accuracy": 0.8}
    return line | {"balanced_accuracy": 0.8, "macro_f1": 0.79}


def receipt(epoch: int, per_class: dict[str, int], **changes: Any) -> dict[str, Any]:
    rows = sum(per_class.values())
    line = {"epoch": epoch, "rows_planned": rows, "rows_trained": rows, "per_class": per_class}
    return line | {"id_checksum": CHECKSUM} | changes


@pytest.fixture
def report() -> RunReport:
    """A run with three classes, the last one rare and oversampled."""
    before, after = {"cat": 30, "dog": 24, "emu": 6}, {"cat": 30, "dog": 30, "emu": 30}
    names = list(before)
    test = measured([[40, 2, 0], [7, 33, 1], [0, 3, 14]], names)
    history = [
        train_line(0, 5),
        train_line(0, 10),
        val_line(0, 10),
        train_line(1, 15),
        train_line(1, 20),
        val_line(1, 20),
    ]
    pixels = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    return RunReport(
        title="simple_cnn-1a2b3c",
        metrics={"train": TRAIN, "val": measured([[3, 0, 0], [1, 2, 0], [0, 0, 3]], names), "test": test},
        history=history,
        receipts=[receipt(0, after), receipt(1, after)],
        manifest=a_manifest(before, after),
        config_toml='[train]\nepochs = 2\nrun_name = ""\n',
        wrong_images=[
            WrongImage(pixels, "test/dog/7.png", "dog", "cat", 0.61),
            WrongImage(pixels[:, :, :1], "test/emu/1.png", "emu", "dog", 0.98),
        ],
        versions={"tensorflow": "2.18.1", "horovod": "0.28.1"},
    )


def written(report: RunReport, directory: Path) -> str:
    write_report(directory / "report.html", report)
    assert [path.name for path in directory.iterdir()] == ["report.html"]
    return (directory / "report.html").read_text(encoding="utf-8")


def text_of(page: str) -> str:
    """What a reader sees: no styles, no tags, single spaces."""
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL).replace("&nbsp;", " ").split())


def svgs(page: str) -> list[str]:
    return [
        base64.b64decode(found).decode("utf-8")
        for found in re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", page)
    ]


def changed_metrics(report: RunReport, **changes: Any) -> RunReport:
    metrics = {key: value for key, value in (report.metrics | changes).items() if value is not None}
    return dataclasses.replace(report, metrics=metrics)


def test_the_figures_that_matter_are_on_the_page(report: RunReport, tmp_path: Path) -> None:
    text = text_of(written(report, tmp_path))
    for expected in [
        "Test accuracy 87.0 %",  # 87 of 100
        "95 % interval 79.0 % to 92.2 %, 100 images",
        "Balanced accuracy 86.0 %",
        "Throughput 4,321 images/s 1.2 % of the time waiting for data",
        "Ranks 2",
        "Epochs 2 20 steps, 120 images",
        "Wall time 3 min 12 s",
        "all 85 input records are kept, quarantined or deduplicated",
        "in 2 of 2 epochs, every planned row was trained exactly once",
        "quarantined: truncated 4 4.7 %",
        "Of the class dog cat 7 17.1 % emu dog 3 17.6 % cat dog 2 4.8 % dog emu 1 2.4 % Classes",  # 7 of 41 dogs
        "emu 6 30 30 1.00 33.3 %",  # before, after, trained per epoch, weight, exposure
        "emu → dog 98.0 % test/emu/1.png",
        "horovod 0.28.1",
    ]:
        assert expected in text
    assert text.index("test/emu/1.png") < text.index("test/dog/7.png"), "the most confident mistake comes first"


def test_classes_stand_by_f1_and_those_without_images_last() -> None:
    figures = measured([[9, 1, 0], [5, 5, 0], [0, 0, 0]], ["good", "bad", "absent"])
    assert [name for name, _ in tables.classes_by_f1(figures["per_class"])] == ["bad", "good", "absent"]


def test_nothing_is_loaded_from_elsewhere(report: RunReport, tmp_path: Path) -> None:
    page = written(dataclasses.replace(report, config_toml='path = "http://example.org/x"'), tmp_path)
    sources = re.findall(r"""(?:src|srcset|href|url)\s*(?:=\s*["']|\()\s*([^"')]{0,30})""", page)
    assert len(sources) > 10
    assert all(source.startswith("data:image/") for source in sources)
    assert "<script" not in page
    assert "http" not in page.replace("http://example.org/x", "").replace("http-equiv", "")
    for svg in svgs(page):
        assert not re.search(r"""href\s*=\s*["'](?!#|data:)|url\((?!#)|@import""", svg)


def test_hostile_names_are_text(report: RunReport, tmp_path: Path) -> None:
    hostile = '<script>alert("x")</script>', "a$\\frac$ & 'b'", "bell\x07 lone\udcff \u202eesrever"
    before = dict(zip(hostile, (30, 24, 6), strict=True))
    page = written(
        dataclasses.replace(
            report,
            title=hostile[0],
            metrics={"train": TRAIN, "test": measured([[4, 1, 0], [1, 3, 1], [0, 2, 5]], list(hostile))},
            manifest=a_manifest(before, before),
            receipts=[receipt(0, before)],
            config_toml=hostile[0],
            wrong_images=[WrongImage(np.zeros((4, 4, 1), np.uint8), f"id {hostile[0]}", *hostile[:2], 0.5)],
            versions={hostile[0]: hostile[0]},
        ),
        tmp_path,
    )
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;" in page
    assert "bell\ufffd lone\ufffd \ufffdesrever" in page
    drawn = svgs(page)
    assert any("&lt;script&gt;" in svg for svg in drawn)
    assert any("a$\\frac$ &amp; 'b'" in svg for svg in drawn)
    assert not any("<script" in svg or "\x07" in svg for svg in drawn)


def test_without_a_val_split(report: RunReport, tmp_path: Path) -> None:
    history = [line for line in report.history if line["kind"] == "train"]
    text = text_of(written(changed_metrics(dataclasses.replace(report, history=history), val=None), tmp_path))
    assert "There are no figures for val." in text
    assert "Test accuracy 87.0 %" in text


def test_without_a_test_split_val_heads_the_report(report: RunReport, tmp_path: Path) -> None:
    text = text_of(written(changed_metrics(report, test=None), tmp_path))
    assert "Validation accuracy 88.9 %" in text
    assert "The test split is empty; these are figures of the val split" in text


def test_a_run_of_which_little_is_left(report: RunReport, tmp_path: Path) -> None:
    bare = dataclasses.replace(report, history=[], receipts=[], wrong_images=[], versions={}, config_toml="")
    page = written(changed_metrics(bare, val=None, test=None), tmp_path)
    text = text_of(page)
    assert "nothing was evaluated" in text
    assert text.count("Nothing was logged.") == 5
    assert "There are no receipts: no epoch was finished." in text
    assert len(svgs(page)) == 2, "only the class counts are drawn, light and dark"


def test_no_wrong_image_is_a_sentence(report: RunReport, tmp_path: Path) -> None:
    text = text_of(written(dataclasses.replace(report, wrong_images=[]), tmp_path))
    assert "There are no wrong images to show." in text


def test_one_log_line_is_a_sentence_not_a_dot(report: RunReport, tmp_path: Path) -> None:
    history = [train_line(0, 7, loss=float("nan"), accuracy=0.25)]
    text = text_of(written(dataclasses.replace(report, history=history), tmp_path))
    assert "Loss Nothing was logged." in text
    assert "Accuracy Too little was logged for a curve: train 0.25 at step 7." in text


def test_a_loss_that_turns_nan_leaves_a_gap(report: RunReport, tmp_path: Path) -> None:
    history = [train_line(0, 1), train_line(0, 2), train_line(0, 3, loss=float("nan"))]
    page = written(dataclasses.replace(report, history=history), tmp_path)
    assert "Nothing was logged." not in text_of(page)


def test_a_loss_over_decades_has_plain_numbers_on_its_axis(report: RunReport, tmp_path: Path) -> None:
    history = [train_line(0, step, loss=10.0 ** (1 - step)) for step in range(1, 6)]
    drawn = svgs(written(dataclasses.replace(report, history=history), tmp_path))[0]
    assert ">0.01<" in drawn
    assert "$" not in drawn, "math is not parsed, so no formatter may write it"


def test_two_hundred_classes(report: RunReport, tmp_path: Path) -> None:
    names = [f"class {i}" for i in range(200)]
    before = {name: 10 + i for i, name in enumerate(names)}
    figures = measured((np.eye(200, dtype=int) * 5).tolist(), names)
    wide = dataclasses.replace(report, manifest=a_manifest(before, before), receipts=[receipt(0, before)])
    page = written(changed_metrics(wide, val=None, test=figures), tmp_path)
    assert "There are too many classes for names" in text_of(page)
    assert "The other 176 classes" in text_of(page)
    assert not any("class 7" in svg for svg in svgs(page)), "no label that nobody can read"
    assert len(page) < 2_000_000
    del figures["confusion"]  # as there is none above 1,000 classes
    page = written(changed_metrics(wide, val=None, test=figures), tmp_path)
    assert "There are 200 classes: too many for a table of confusions." in text_of(page)
    assert "The other 176 classes" in text_of(page)


def test_ten_classes_and_many_log_lines_stay_small(report: RunReport, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).random(20_000)
    history = [train_line(0, i + 1, loss=float(value), accuracy=float(value)) for i, value in enumerate(noise)]
    photo = np.random.default_rng(1).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    wrong = [WrongImage(photo, str(i), "cat", "dog", 0.9) for i in range(24)]
    page = written(dataclasses.replace(report, history=history, wrong_images=wrong), tmp_path)
    assert len(page) < 2_000_000


def test_the_same_run_gives_the_same_bytes(report: RunReport, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    assert written(report, tmp_path / "one") == written(report, tmp_path / "two")


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"rows_trained": 88}, "2 rows lost"),
        ({"rows_trained": 91}, "1 rows too many"),
        ({"per_class": {"cat": 30, "dog": 30, "emu": 29}}, "classes add up to 89"),
        ({"id_checksum": "0" * 16}, "other rows than in the manifest"),
        ({}, ""),
    ],
)
def test_a_receipt_is_held_against_the_manifest(report: RunReport, changes: dict[str, Any], verdict: str) -> None:
    [account] = tables.account_epochs([report.receipts[0] | changes], report.manifest)
    assert account.verdict == verdict


def test_an_epoch_that_is_not_exact_is_marked_and_comes_first(report: RunReport, tmp_path: Path) -> None:
    bad = report.receipts[1] | {"rows_trained": 88}
    text = text_of(written(dataclasses.replace(report, receipts=[report.receipts[0], bad]), tmp_path))
    assert "✗ Training in 1 of 2 epochs, every planned row was trained exactly once" in text
    assert text.index("✗ 2 rows lost") < text.index("✓ every row once")


def test_a_short_last_epoch_is_not_an_error(report: RunReport) -> None:
    short = receipt(1, {"cat": 10, "dog": 11, "emu": 9}, id_checksum="0" * 16)
    [account] = tables.account_epochs([short], report.manifest)
    assert (account.verdict, account.whole) == ("", False)


def test_lost_input_records_are_said(report: RunReport, tmp_path: Path) -> None:
    manifest = report.manifest.model_copy(update={"input_rows": 90})
    text = text_of(written(dataclasses.replace(report, manifest=manifest), tmp_path))
    assert "5 of 90 input records are unaccounted for" in text


def test_exposure_is_rows_times_weight() -> None:
    counts = {"common": 90, "rare": 10}
    manifest = a_manifest(counts, counts, class_weights={"common": 0.5, "rare": 4.5})
    common, rare = tables.class_counts(manifest, [receipt(0, counts), receipt(1, counts)])
    assert (common.exposure, rare.exposure) == (45.0, 45.0)
    assert (common.share, rare.share) == (0.5, 0.5)


def test_where_a_run_comes_from_is_at_its_head(report: RunReport, tmp_path: Path) -> None:
    clean = report.manifest.model_copy(update={"stage": "preprocess", "config_fingerprint": "e" * 64})
    dated = changed_metrics(report, finished_at="2026-11-30 10:00:00 UTC")
    text = text_of(written(dataclasses.replace(dated, source="folder /data/pets", clean=clean), tmp_path))
    versions = f"Versions preprocess {clean.fingerprint()[:8]} , rebalance {report.manifest.fingerprint()[:8]}"
    assert f"Finished 2026-11-30 10:00:00 UTC Data folder /data/pets {versions}" in text
    assert f"preprocess {clean.fingerprint()[:16]} {'e' * 16} {'d' * 16} farandole 0.1.0" in text
    assert "Settings that are not the defaults Key Value Default train.epochs 2 10 Resolved config" in text


def test_what_is_not_known_of_older_runs_is_left_out(report: RunReport, tmp_path: Path) -> None:
    text = text_of(written(report, tmp_path))
    assert f"Finished not known Versions preprocess {'d' * 8} , rebalance" in text
    assert f"preprocess {'d' * 16} not there any more" in text
    assert "What the model was given" not in text
    assert "What was rejected" not in text


def test_the_best_epoch_and_what_is_doubtful_stand_beside_the_checks(report: RunReport, tmp_path: Path) -> None:
    assert "Figures" not in text_of(written(report, tmp_path)).split("Learning")[0]
    history = [*report.history[:3], *report.history[3:5], val_line(1, 20) | {"loss": 0.9}]
    always = measured([[42, 0, 0], [41, 0, 0], [17, 0, 0]], ["cat", "dog", "emu"])
    text = text_of(written(changed_metrics(dataclasses.replace(report, history=history), test=always), tmp_path))
    head = text.split("Learning")[0]
    assert "✗ Figures the model takes every image of the test split for &#39;cat&#39;" in head
    assert "✗ Figures the val loss rose from 0.5000 after epoch 1 to 0.9000 after epoch 2" in head
    assert "Best epoch: 1 of 2, with val loss 0.5000 and accuracy 80.0 %" in text


def test_receipts_are_one_line_when_all_is_well(report: RunReport, tmp_path: Path) -> None:
    page = written(report, tmp_path)
    assert "✓ every row once in all 2 epochs: 180 rows trained, as planned. The receipts" in text_of(page)
    assert re.search(r"<details><summary>The receipts</summary>\s*<div class=.scroll.><table>", page)
    assert "1 90 90 ✓ every row once" in text_of(page), "epochs count from 1"


def test_the_confusion_is_in_per_cent(report: RunReport, tmp_path: Path) -> None:
    figures = measured([[1000, 1, 0], [30, 70, 0], [0, 0, 0]], ["cat", "dog", "emu"])
    drawn = svgs(written(changed_metrics(report, test=figures), tmp_path))
    cells = {text for svg in drawn for text in re.findall(r">([^<>]+)</text>", svg)}
    assert {"&gt;99", "&lt;1", "30", "70"} <= cells
    assert not {"1000", "100"} & cells


def test_pictures_of_what_was_trained_and_of_what_was_rejected(report: RunReport, tmp_path: Path) -> None:
    pixels, hostile = np.zeros((8, 8, 1), np.uint8), "<img src=x>"
    pictured = dataclasses.replace(
        report,
        train_images=[TrainImage(pixels, "train/cat/1.png", "cat")],
        augmentation={"flip": "random", "translate_pixels": 2},
        rejected_images=[
            RejectedImage(np.zeros((96, 96, 3), np.uint8), "thin.png", "too_small", "1 x 40 pixels"),
            RejectedImage(None, hostile, "not_an_image", hostile),
        ],
    )
    page = written(pictured, tmp_path)
    text = text_of(page)
    assert "augmented by flip = random, translate_pixels = 2. cat train/cat/1.png" in text
    assert "2 of 5 quarantined records, of every reason; clean/quarantine lists them all. too small 1 x 40" in text
    assert "cannot be shown not an image &lt;img src=x&gt;" in text
    assert hostile not in page


@pytest.mark.parametrize("num_classes", [1000, 5000])
def test_a_thousand_classes_and_more_stay_small(report: RunReport, tmp_path: Path, num_classes: int) -> None:
    names = [f"class {i:04d}" for i in range(num_classes)]
    before = dict.fromkeys(names, 10)
    figures = measured((np.eye(num_classes, dtype=int) * 5).tolist(), names)
    if num_classes > 1000:
        del figures["confusion"]
    wide = dataclasses.replace(
        report, manifest=a_manifest(before, before), receipts=[receipt(epoch, before) for epoch in range(3)]
    )
    page = written(changed_metrics(wide, val=None, test=figures), tmp_path)
    assert len(page) < 1_500_000
    rows = page.count('<tr><td class="name"><bdi>class')
    assert rows == 2 * min(num_classes, 1024)
    assert ("3,976 more classes are left out here" in text_of(page)) == (num_classes == 5000)


def test_long_curves_are_averaged_in_groups() -> None:
    history = [train_line(0, step, loss=float(step)) for step in range(1, 2 * draw.MAX_POINTS + 1)]
    thinned = draw.read_curve("train", history, "train", "loss")
    assert len(thinned.steps) == draw.MAX_POINTS
    np.testing.assert_array_equal(thinned.values[:2], [1.5, 3.5])
    np.testing.assert_array_equal(thinned.steps, thinned.values)


def test_small_pictures_keep_every_pixel() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    kind, data = plots.image_uri(pixels).split(",")
    assert kind == "data:image/png;base64"
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(base64.b64decode(data)))), pixels)


def test_a_float_picture_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"expected uint8 \[H, W, 1 or 3\], received float64 \[8, 8\]; convert it first"
    ):
        plots.image_uri(np.zeros((8, 8)))


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [(87, 100, 0.7902, 0.9224), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)],  # statsmodels, proportion_confint(wilson)
)
def test_wilson_interval(right: int, total: int, low: float, high: float) -> None:
    assert tables.wilson_interval(right / total, total) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (4.21, "4.2 s"),
        (59.97, "1 min 0 s"),
        (192.4, "3 min 12 s"),
        (3840.0, "1 h 04 min"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds).replace("\u00a0", " ") == text


def test_a_user_without_a_home_reads_nothing_of_it():
    environment = {name: value for name, value in os.environ.items() if name not in ("MPLCONFIGDIR", "XDG_CONFIG_HOME")}
    program = [sys.executable, "-c", "import farandole.report.plots"]
    done = subprocess.run(program, env=environment | {"HOME": "/proc"}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
