"""Gathers what a run left on disk into a RunReport, and writes it.

matplotlib and Jinja2 are imported when a report is written: a job that finds all up to date does not wait for them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from farandole.config.data import Image as ImageRules
from farandole.config.train import Augment
from farandole.core.batches.reader import Batch
from farandole.core.dataset.manifest import FILE_NAME, Manifest, read_manifest
from farandole.core.dataset.versions import Version
from farandole.core.json_lines import read_lines
from farandole.errors import DataError
from farandole.log import gist, say, write_stack
from farandole.report.contents import RunReport
from farandole.report.pictures import Load, rejected_images, train_images, wrong_images

PACKAGES = ("farandole", "tensorflow-cpu", "tensorflow", "keras", "horovod", "pyspark", "pyarrow", "petastorm", "numpy")
"""The packages whose versions the report names, where they are installed."""


@dataclass(frozen=True)
class DataOrigin:
    """Where the data of a report lie and come from, and how their pictures are had."""

    balanced: Path
    clean: Path
    source: str
    """Where the records come from, for people."""
    load: Load | None
    """Gets a record of the source; None where that cannot be."""
    image: ImageRules
    augmentation: Augment | None
    """None in an evaluation, which trains nothing."""
    augment: Callable[[Batch], Batch]
    """Does to a batch what training does to it in its first epoch."""


def draw_report(path: Path, run: Path, metrics: dict[str, Any], manifest: Manifest, origin: DataOrigin) -> None:
    """Writes the report of one run as a self-contained HTML file, or a warning: a run is whole without it.

    Args:
        path: of the report.
        run: the run's directory, with config.toml, metrics.jsonl and receipts.jsonl.
        metrics: what metrics.json holds.
        manifest: of the balanced data set.
        origin: of that data set.
    """
    try:
        _write(path, run, metrics, manifest, origin)
    except Exception as error:
        stack = write_stack(error, run / "logs", "report")
        say(
            f"warning: the report cannot be drawn: {type(error).__name__}: {gist(str(error))}; the figures are in "
            f"metrics.json, and the same command tries again" + (f"; the stack is in {stack}" if stack else "")
        )


def _write(path: Path, run: Path, metrics: dict[str, Any], manifest: Manifest, origin: DataOrigin) -> None:
    from farandole.report.html import write_report

    trains, clean = origin.augmentation is not None, _clean_manifest(origin.clean, manifest)
    report = RunReport(
        title=run.name,
        metrics=metrics,
        history=read_lines(run / "metrics.jsonl"),
        receipts=read_lines(run / "receipts.jsonl"),
        manifest=manifest,
        config_toml=(run / "config.toml").read_text(encoding="utf-8"),
        wrong_images=wrong_images(metrics.get("wrong_rows", []), manifest, origin.balanced),
        versions=_versions(),
        source=origin.source,
        clean=clean,
        train_images=train_images(origin.augment, manifest, origin.balanced) if trains else [],
        augmentation=origin.augmentation.model_dump(exclude_defaults=True) if origin.augmentation else {},
        rejected_images=rejected_images(origin.clean, origin.load, origin.image) if clean else [],
    )
    write_report(path, report)


def _clean_manifest(clean: Path, balanced: Manifest) -> Manifest | None:
    """Of the clean/ that balanced/ was made from, if it is still there."""
    try:
        manifest = read_manifest(clean) if (clean / FILE_NAME).exists() else None
    except DataError:
        return None
    return manifest if manifest and Version(clean, manifest).fingerprint == balanced.parent_fingerprint else None


def most_confident(results: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The rows that the model got wrong with the highest confidence, out of what each rank found."""
    wrong = [row for result in results for row in result["wrong"]]
    return sorted(wrong, key=lambda row: (-row["confidence"], row["row"]))[:count]


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # tensorflow-cpu or tensorflow: one of them is there
            continue
    return found
