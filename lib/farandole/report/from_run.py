"""Gathers what a run left on disk into a RunReport, and writes it.

matplotlib and Jinja2 are imported when a report is written: a job that finds all up to date does not wait for them.
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farandole.core.batches.reader import SplitFiles
from farandole.core.dataset.manifest import Manifest
from farandole.core.json_lines import read_lines
from farandole.log import gist, say, write_stack

if TYPE_CHECKING:
    from farandole.report.html import WrongImage

PACKAGES = ("farandole", "tensorflow-cpu", "tensorflow", "keras", "horovod", "pyspark", "pyarrow", "petastorm", "numpy")
"""The packages whose versions the report names, where they are installed."""


def draw_report(path: Path, run: Path, metrics: dict[str, Any], manifest: Manifest, data: Path) -> None:
    """Writes the report of one run as a self-contained HTML file, or a warning: a run is whole without it.

    Args:
        path: of the report.
        run: the run's directory, with config.toml, metrics.jsonl and receipts.jsonl.
        metrics: what metrics.json holds.
        manifest: of the balanced data set.
        data: the directory of that data set.
    """
    try:
        _write(path, run, metrics, manifest, data)
    except Exception as error:
        stack = write_stack(error, run / "logs", "report")
        say(
            f"warning: the report cannot be drawn: {type(error).__name__}: {gist(str(error))}; the figures are in "
            f"metrics.json, and the same command tries again" + (f"; the stack is in {stack}" if stack else "")
        )


def _write(path: Path, run: Path, metrics: dict[str, Any], manifest: Manifest, data: Path) -> None:
    from farandole.report.html import RunReport, write_report

    report = RunReport(
        title=run.name,
        metrics=metrics,
        history=read_lines(run / "metrics.jsonl"),
        receipts=read_lines(run / "receipts.jsonl"),
        manifest=manifest,
        config_toml=(run / "config.toml").read_text(encoding="utf-8"),
        wrong_images=_load_images(metrics.get("wrong_rows", []), manifest, data),
        versions=_versions(),
    )
    write_report(path, report)


def most_confident(results: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The rows that the model got wrong with the highest confidence, out of what each rank found."""
    wrong = [row for result in results for row in result["wrong"]]
    return sorted(wrong, key=lambda row: (-row["confidence"], row["row"]))[:count]


def _load_images(chosen: list[dict[str, Any]], manifest: Manifest, data: Path) -> "list[WrongImage]":
    from farandole.report.html import WrongImage

    files = SplitFiles(data, manifest, "test")
    images = []
    for row in chosen:
        image_id, image = files.row(row["row"])
        images.append(
            WrongImage(
                image=image,
                image_id=image_id,
                label=manifest.class_names[row["label"]],
                predicted=manifest.class_names[row["predicted"]],
                confidence=row["confidence"],
            )
        )
    return images


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # tensorflow-cpu or tensorflow: one of them is there
            continue
    return found
