"""What the figures show: curves over steps, a confusion matrix, the rows of each class.

Each function takes numbers and a theme and returns a Figure, for plots.make_plot.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from farandole.report.plots import DARK, LIGHT, Theme, printable

MAX_ANNOTATED_CLASSES = 20
"""With more classes, the numbers in a confusion matrix are left out, since they were too small to read."""
MAX_NAMED_CLASSES = 40
"""With more classes, the names along the sides of a confusion matrix are left out, too."""
MAX_BARS = 30
"""With more classes, their counts are drawn as a profile instead of bars."""
MAX_POINTS = 1500
"""How many points a curve has at most; longer ones are averaged in groups, to keep the file small."""
_PERCENT = "\u00a0%"
_EXPOSURE = "exposure per epoch"
_PANEL_INCHES = (3.75, 2.6)  # 360 CSS pixels wide: three beside each other on a screen, one on a phone


@dataclass(frozen=True)
class Curve:
    """One line of a panel."""

    name: str
    steps: np.ndarray
    """Where the points lie on the x axis, in optimizer steps since the start of the run, int [n]."""
    values: np.ndarray
    """Where the points lie on the y axis, float [n]; what is not finite leaves a gap."""


def read_curve(name: str, history: Sequence[dict[str, Any]], kind: str, key: str) -> Curve:
    """The values of `key` in the metric lines of `kind` that have it, averaged in groups above MAX_POINTS."""
    lines = [line for line in history if line.get("kind") == kind and line.get(key) is not None]
    steps = np.array([line["step"] for line in lines], dtype=np.float64)
    values = np.array([line[key] for line in lines], dtype=np.float64)
    if len(steps) > MAX_POINTS:
        starts = np.arange(0, len(steps), -(-len(steps) // MAX_POINTS))
        sizes = np.diff(np.append(starts, len(steps)))
        steps, values = np.add.reduceat(steps, starts) / sizes, np.add.reduceat(values, starts) / sizes
    return Curve(name, steps, values)


def curve_panel(
    lines: Sequence[Curve], epoch_ends: Sequence[float], theme: Theme, *, percent: bool = False, linear: bool = False
) -> Figure:
    """One or two curves over optimizer steps, with the number of epochs done along the top.

    The second has markers and another hue. Positive values that span more than a factor of 100 get a log scale,
    unless `linear` is asked for, as by a learning rate that falls to nearly nothing.
    """
    figure, axes = _panel(_PANEL_INCHES, theme)
    for line, colour, marker in zip(lines, (theme.blue, theme.orange), ("", "o"), strict=False):
        marker = marker if len(line.steps) > 1 else "o"  # a single point has no line to see
        axes.plot(line.steps, line.values, color=colour, marker=marker, markersize=3.5, label=line.name)
    values = np.concatenate([line.values[np.isfinite(line.values)] for line in lines])
    if values.min() > 0 and values.max() > 100 * values.min() and not linear:
        axes.set_yscale("log")
    elif values.min() >= 0:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(
        PercentFormatter(1.0, symbol=_PERCENT) if percent else FuncFormatter(lambda value, _: f"{value:,.4g}")
    )
    if len(lines) > 1:
        axes.legend(frameon=False, labelcolor=theme.text, handlelength=1.4)
    axes.set_xlabel("optimizer step", color=theme.muted)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    _mark_epochs(axes, epoch_ends, theme)
    return figure


def _mark_epochs(axes: Axes, epoch_ends: Sequence[float], theme: Theme) -> None:
    every = -(-len(epoch_ends) // 10)
    shown = list(epoch_ends)[every - 1 :: every] if every else []
    top = axes.secondary_xaxis("top")
    top.set_xticks(shown, [str(i * every) for i in range(1, len(shown) + 1)])
    top.tick_params(length=0, pad=2, colors=theme.muted, labelsize=7.5)
    top.spines["top"].set_visible(False)
    for step in shown:
        axes.axvline(step, color=theme.grid, linewidth=0.7, zorder=0)


def confusion_matrix(confusion: np.ndarray, names: Sequence[str], theme: Theme) -> Figure:
    """Confusion matrix: rows are true classes, colours are shares of the row, numbers the same in per cent.

    Args:
        confusion: int [C, C], confusion[true, predicted].
        names: C class names.
        theme: the colours.
    """
    num_classes = len(names)
    totals = confusion.sum(axis=1, keepdims=True)
    shares = np.divide(confusion, totals, out=np.zeros(confusion.shape), where=totals > 0)
    side = float(np.clip(2.4 + 0.33 * num_classes, 4.0, 6.0))
    figure, axes = _panel((side, 0.9 * side), theme)
    axes.grid(False)
    axes.spines[:].set_visible(True)
    heat = LinearSegmentedColormap.from_list("heat", theme.heat)
    # A square-root scale: with a linear one a class that is mistaken in 3 % of its images would look perfect.
    picture = axes.imshow(shares, cmap=heat, norm=PowerNorm(0.5, 0.0, 1.0), aspect="equal")
    bar = figure.colorbar(picture, ax=axes, fraction=0.04, pad=0.02, ticks=[0, 0.01, 0.05, 0.2, 0.5, 1])
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=_PERCENT))
    bar.ax.tick_params(length=0, colors=theme.muted, labelsize=7.5)
    bar.outline.set_visible(False)
    axes.set_xlabel("predicted", color=theme.muted)
    axes.set_ylabel("true", color=theme.muted)
    if num_classes <= MAX_NAMED_CLASSES:
        _name_sides(axes, names, theme)
    if num_classes <= MAX_ANNOTATED_CLASSES:
        _annotate(axes, confusion, shares, cell_points=72 * 0.7 * side / num_classes, theme=theme)
    return figure


def _name_sides(axes: Axes, names: Sequence[str], theme: Theme) -> None:
    labels, positions = [_short(name) for name in names], range(len(names))
    size = 8.5 if len(names) <= MAX_ANNOTATED_CLASSES else 6.5
    upright = max(map(len, labels), default=0) > 2
    axes.set_xticks(positions, labels, rotation=90 if upright else 0, fontsize=size, color=theme.text)
    axes.set_yticks(positions, labels, fontsize=size, color=theme.text)


def _annotate(axes: Axes, confusion: np.ndarray, shares: np.ndarray, cell_points: float, theme: Theme) -> None:
    between = np.arange(len(confusion) - 1) + 0.5
    axes.set_xticks(between, minor=True)
    axes.set_yticks(between, minor=True)
    axes.tick_params(which="minor", length=0)
    axes.grid(which="minor", color=theme.grid, linewidth=0.5)
    size = min(8.5, cell_points / (0.68 * len("100")))
    if size < 5:
        return  # figures that nobody can read; the table of confusions has them
    weak, strong = (LIGHT.text, "#ffffff") if theme is LIGHT else (DARK.text, "#0b1117")
    for true, predicted in np.argwhere(confusion > 0):
        share = shares[true, predicted]
        axes.text(
            predicted, true, _whole_percent(share), ha="center", va="center", fontsize=size,
            color=strong if share > 0.35 else weak,
        )  # fmt: skip


def _whole_percent(share: float) -> str:
    """What is there is never 0, and what is not all is never 100."""
    return "<1" if share < 0.005 else ">99" if 0.995 <= share < 1 else f"{100 * share:.0f}"


def class_balance(
    names: Sequence[str], before: np.ndarray | None, after: np.ndarray, exposure: np.ndarray | None, theme: Theme
) -> Figure:
    """Rows of each class in the train split: before and after balancing, and what an epoch really trained.

    Bars up to MAX_BARS classes, above that three profiles over the classes in the order given.

    Args:
        names: C class names, in the order to draw.
        before: int [C], or None when nobody counted.
        after: int [C].
        exposure: float [C], rows per epoch times the class weight, or None without receipts.
        theme: the colours.
    """
    series = [(before, theme.grey, "before balancing"), (after, theme.blue, "after balancing")]
    drawn = [(values, colour, name) for values, colour, name in series if values is not None]
    if len(names) > MAX_BARS:
        return _class_profile(drawn, exposure, theme)
    figure, axes = _panel((4.8, 1.0 + 0.34 * len(names)), theme)
    positions, height = np.arange(len(names)), 0.76 / len(drawn)
    for i, (values, colour, name) in enumerate(drawn):
        axes.barh(positions + (i - (len(drawn) - 1) / 2) * height, values, height * 0.9, color=colour, label=name)
    if exposure is not None:
        axes.scatter(exposure, positions, s=20, marker="D", color=theme.orange, label=_EXPOSURE, zorder=3)
    axes.set_yticks(positions, [_short(name) for name in names], color=theme.text)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=theme.grid, linewidth=0.7)
    axes.set_xlabel("rows", color=theme.muted)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    _legend_above(figure, axes, theme)
    return figure


def _legend_above(figure: Figure, axes: Axes, theme: Theme) -> None:
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: labels[i] == _EXPOSURE)  # bars first, as they are drawn
    style: dict[str, Any] = {"ncols": 3, "frameon": False, "fontsize": 7.5, "handlelength": 1.2}
    picked = [handles[i] for i in order], [labels[i] for i in order]
    figure.legend(*picked, loc="outside upper center", labelcolor=theme.text, **style)


def _class_profile(drawn: Sequence[tuple[np.ndarray, str, str]], exposure: np.ndarray | None, theme: Theme) -> Figure:
    figure, axes = _panel((4.8, 3.2), theme)
    for values, colour, name in drawn:
        axes.plot(np.arange(1, len(values) + 1), values, color=colour, label=name, drawstyle="steps-mid")
    if exposure is not None:
        axes.plot(np.arange(1, len(exposure) + 1), exposure, ":", color=theme.orange, label=_EXPOSURE)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("classes, largest first", color=theme.muted)
    axes.set_ylabel("rows", color=theme.muted)
    axes.legend(frameon=False, labelcolor=theme.text, fontsize=7.5)
    return figure


def _panel(inches: tuple[float, float], theme: Theme) -> tuple[Figure, Axes]:
    figure = Figure(figsize=inches, layout="constrained")
    axes = figure.add_subplot()
    axes.tick_params(length=0, colors=theme.muted, labelcolor=theme.muted)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(theme.grid)
    axes.grid(axis="y", color=theme.grid, linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def _short(name: str, length: int = 16) -> str:
    """Cut in the middle: names of one data set often differ in their last letters only."""
    name = " ".join(printable(name).split())
    half = (length - 1) // 2
    return name if len(name) <= length else f"{name[: length - 1 - half]}…{name[-half:]}"
