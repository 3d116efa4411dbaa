"""Gathers what a run left on disk into a RunReport."""

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from farandole.core.manifest import Manifest
from farandole.core.reader import SplitFiles
from farandole.report.html import RunReport, WrongImage

PACKAGES = ("farandole", "tensorflow-cpu", "tensorflow", "keras", "horovod", "pyspark", "pyarrow", "petastorm", "numpy")


def gather_report(
    run: Path, metrics: dict[str, Any], manifest: Manifest, data: Path, wrong: list[dict[str, Any]], num_wrong: int
) -> RunReport:
    """The report of one run.

    Args:
        run: its directory, with config.toml, metrics.jsonl and receipts.jsonl.
        metrics: what metrics.json holds.
        manifest: of the balanced data set.
        data: the directory of that data set.
        wrong: rows of the test split that any rank got wrong, as farandole.train.evaluate.Wrong has them.
        num_wrong: how many of them to show, the most confident first.
    """
    chosen = sorted(wrong, key=lambda row: (-row["confidence"], row["row"]))[:num_wrong]
    return RunReport(
        title=run.name,
        metrics=metrics,
        history=_lines(run / "metrics.jsonl"),
        receipts=_lines(run / "receipts.jsonl"),
        manifest=manifest,
        config_toml=(run / "config.toml").read_text(encoding="utf-8"),
        wrong_images=_load_images(chosen, manifest, data),
        versions=_versions(),
    )


def _load_images(chosen: list[dict[str, Any]], manifest: Manifest, data: Path) -> list[WrongImage]:
    files = SplitFiles(data, manifest, "test")
    images = []
    for row in chosen:
        group = int(np.searchsorted(files.starts, row["row"], side="right")) - 1
        index = row["row"] - int(files.starts[group])
        table = files.read_table(group)
        images.append(
            WrongImage(
                image=files.decode(table, group, np.array([index])).images[0],
                image_id=table.column("image_id")[index].as_py(),
                label=manifest.class_names[row["label"]],
                predicted=manifest.class_names[row["predicted"]],
                confidence=row["confidence"],
            )
        )
    return images


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # tensorflow-cpu or tensorflow: one of them is there
            continue
    return found
