"""report.html: one self-contained file about one run, with no script and nothing loaded from elsewhere.

Everything that comes from data (class names, ids, config text) is escaped by Jinja2's autoescape, and what HTML
cannot hold is replaced on the way out; a content security policy in the page says the same to the browser.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from farandole.core.dataset.commit import write_text
from farandole.report import draw, tables
from farandole.report.contents import RunReport
from farandole.report.doubts import best_epoch, doubts
from farandole.report.plots import Plot, image_uri, make_plot, printable
from farandole.report.provenance import changed_settings, stage_versions

MAX_ROWS, MAX_FOLDED_ROWS = 24, 1000
"""How many rows of a table are shown at once, and how many more can be unfolded; of the others there is a number."""


@dataclass(frozen=True)
class Figure:
    """A plot with its caption, or a sentence that says why there is none."""

    title: str
    plot: Plot | None
    note: str


def write_report(path: Path, report: RunReport) -> None:
    """Writes the report as one HTML file, by way of a sibling and a rename.

    What a run has not got (a val split, wrong images, log lines) is replaced by a sentence.
    """
    write_text(path, _environment().get_template("report.html.j2").render(_context(report)))


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("farandole.report", package_path=""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters |= {"count": count, "percent": percent, "decimal": decimal, "duration": duration}
    return environment


def _context(report: RunReport) -> dict[str, Any]:
    name, measured = headline_split(report.metrics)
    classes = tables.classes_by_f1(measured["per_class"]) if measured else []
    names = list(measured["per_class"]) if measured else []
    table = measured.get("confusion") if measured else None  # not there for very many classes
    confusion = np.array(table, dtype=np.int64).reshape(len(names), len(names)) if table else None
    counts = tables.class_counts(report.manifest, report.receipts)
    return {
        "report": report,
        "train": report.metrics["train"],
        "evaluated": [(split, report.metrics[split]) for split in ("val", "test") if report.metrics.get(split)],
        "split_name": name,
        "measured": measured,
        "interval": tables.wilson_interval(measured["accuracy"], measured["num_rows"]) if measured else None,
        "curves": [_loss(report), _accuracy(report), _learning_rate(report)],
        "speed": [_throughput(report), _data_wait(report)],
        "confusion_plot": None if confusion is None else _confusion(confusion, names),
        "confusions": [] if confusion is None else tables.top_confusions(confusion, names),
        "classes": classes,
        "counts": counts,
        "balance_plot": _balance(counts),
        "account": tables.account_input(report.manifest),
        "epochs": tables.account_epochs(report.receipts, report.manifest),
        "doubts": doubts(report.metrics, report.history),
        "best": best_epoch(report.history),
        "settings": changed_settings(report.config_toml),
        "stages": stage_versions(report.clean, report.manifest),
        "wrong_images": sorted(report.wrong_images, key=lambda wrong: -wrong.confidence),
        "image_uri": image_uri,
        "max_rows": MAX_ROWS,
        "max_folded_rows": MAX_FOLDED_ROWS,
        "max_annotated": draw.MAX_ANNOTATED_CLASSES,
        "max_named": draw.MAX_NAMED_CLASSES,
    }


def headline_split(metrics: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """The split whose figures head the report, and those figures: test, or val without one, or ("", None)."""
    for name in ("test", "val"):
        if metrics.get(name):
            return name, metrics[name]
    return "", None


def epoch_ends(report: RunReport) -> list[float]:
    """The step after which each epoch ended: from the val lines, or, without a val split, by equal parts."""
    steps = [float(line["step"]) for line in report.history if line.get("kind") == "val"]
    if steps:
        return steps
    num_epochs, num_steps = report.metrics["train"]["epochs"], report.metrics["train"]["steps"]
    return [num_steps * epoch / num_epochs for epoch in range(1, num_epochs + 1)]


def _curves(
    report: RunReport,
    title: str,
    key: str,
    kinds: dict[str, str],
    note: str = "",
    *,
    percent: bool = False,
    linear: bool = False,
) -> Figure:
    lines = [draw.read_curve(name, report.history, kind, key) for kind, name in kinds.items()]
    lines = [line for line in lines if np.isfinite(line.values).any()]
    if not lines:
        return Figure(title, None, "Nothing was logged.")
    if all(len(line.steps) == 1 for line in lines):
        said = ", ".join(f"{line.name} {line.values[0]:.4g} at step {line.steps[0]:,.0f}" for line in lines)
        return Figure(title, None, f"Too little was logged for a curve: {said}.")
    missing = [name for name in kinds.values() if name not in [line.name for line in lines]]
    said = ", ".join(f"{line.name} ends at {line.values[-1]:.4g}" for line in lines)
    plot = make_plot(
        lambda theme: draw.curve_panel(lines, epoch_ends(report), theme, percent=percent, linear=linear or percent),
        f"{title} by step: {said}.",
    )
    return Figure(title, plot, note if not missing else f"There are no figures for {' and '.join(missing)}.")


def _loss(report: RunReport) -> Figure:
    return _curves(report, "Loss", "loss", {"train": "train", "val": "val"})


def _accuracy(report: RunReport) -> Figure:
    return _curves(report, "Accuracy", "accuracy", {"train": "train", "val": "val"}, percent=True)


def _learning_rate(report: RunReport) -> Figure:
    return _curves(report, "Learning rate", "learning_rate", {"train": "learning rate"}, linear=True)


def _throughput(report: RunReport) -> Figure:
    return _curves(report, "Images per second, all ranks", "images_per_second", {"train": "images/s"})


def _data_wait(report: RunReport) -> Figure:
    return _curves(report, "Time spent waiting for data", "data_wait_fraction", {"train": "data wait"}, percent=True)


def _confusion(confusion: np.ndarray, names: list[str]) -> Plot:
    right = int(np.trace(confusion))
    alt = f"Confusion matrix of {len(names)} classes: {right:,} of {int(confusion.sum()):,} images are on the diagonal."
    return make_plot(lambda theme: draw.confusion_matrix(confusion, names, theme), alt)


def _balance(counts: list[tables.ClassCount]) -> Plot:
    names = [count.name for count in counts]
    before = None if counts[0].before is None else np.array([count.before for count in counts])
    after = np.array([count.after for count in counts])
    exposure = None if counts[0].exposure is None else np.array([count.exposure for count in counts])
    alt = f"Rows per class in the train split: {after.min():,} to {after.max():,} after balancing."
    return make_plot(lambda theme: draw.class_balance(names, before, after, exposure, theme), alt)


def count(value: float | None) -> str:
    """1,234, or a dash for what is not there."""
    return f"{value:,.0f}" if _given(value) else "–"


def percent(value: float | None, places: int = 1) -> str:
    """97.2 %, or a dash."""
    return f"{100 * value:.{places}f}\u00a0%" if _given(value) else "–"  # type: ignore[operator]


def decimal(value: float | None, places: int = 3) -> str:
    """0.972, or a dash."""
    return f"{value:.{places}f}" if _given(value) else "–"


def duration(seconds: float | None) -> str:
    """4.2 s, 3 min 12 s, 1 h 04 min."""
    if not _given(seconds):
        return "–"
    if seconds < 59.95:  # type: ignore[operator]
        return f"{seconds:.1f}\u00a0s"
    minutes, rest = divmod(round(seconds), 60)  # type: ignore[arg-type]
    if minutes < 60:
        return f"{minutes}\u00a0min {rest}\u00a0s"
    return f"{minutes // 60}\u00a0h {minutes % 60:02d}\u00a0min"


def _given(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
