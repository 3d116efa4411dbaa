"""Figures of a run as SVG data URIs, each in a light and a dark version; pictures as PNG or JPEG data URIs.

Figures are drawn without pyplot, so nothing global is touched, and their bytes depend on the data alone.
Names of classes come from data: they are never parsed as math, and what XML cannot hold is replaced.
"""

import base64
import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from PIL import Image

MAX_ANNOTATED_CLASSES = 20  # above this, the numbers in a confusion matrix are too small to read
MAX_NAMED_CLASSES = 40  # above this, so are the names along its sides
MAX_BARS = 30  # above this, class counts are drawn as a profile
MAX_POINTS = 1500  # of a curve; longer ones are averaged in groups, to keep the file small

_PANEL_INCHES = (3.75, 2.6)  # 360 CSS pixels wide: three beside each other on a screen, one on a phone
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
_RC: Any = {
    "svg.fonttype": "none",  # text stays text: small, sharp, and the browser has glyphs that DejaVu lacks
    "svg.hashsalt": "farandole",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "lines.linewidth": 1.6,
}


@dataclass(frozen=True)
class Theme:
    """Colours of a figure. The hues are Okabe and Ito's, told apart by people with any colour vision."""

    text: str
    muted: str
    grid: str
    blue: str
    orange: str
    grey: str
    heat: tuple[str, ...]
    """From a share of 0 to a share of 1."""


LIGHT = Theme(
    "#1f2328", "#5d6670", "#d9dee3", "#0072b2", "#d55e00", "#a9b2ba", ("#ffffff", "#b5d3ea", "#3b87bd", "#083c66")
)
DARK = Theme(
    "#e6e9ed", "#9aa4af", "#343b44", "#56b4e9", "#e69f00", "#68727d", ("#1a1f26", "#1d4567", "#3e8fc7", "#d3ebfb")
)


@dataclass(frozen=True)
class Plot:
    """One figure, ready for a <picture>."""

    light: str
    dark: str
    alt: str
    width: int
    """CSS pixels."""
    height: int


def printable(text: str) -> str:
    """Text that HTML and XML can hold: control characters, lone surrogates and bidi overrides become U+FFFD."""
    return _UNPRINTABLE.sub("\ufffd", text)


def make_plot(draw: Callable[[Theme], Figure], alt: str) -> Plot:
    """Draws a figure for both themes."""
    with mpl.rc_context(_RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the browser's fonts have it
        figures = [draw(theme) for theme in (LIGHT, DARK)]
        light, dark = (_svg_uri(figure) for figure in figures)
    width, height = figures[0].get_size_inches() * 96
    return Plot(light, dark, alt, round(width), round(height))


def _svg_uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, dpi=144, metadata=no_metadata)
    svg = buffer.getvalue().replace(
        b"'DejaVu Sans'", b"system-ui, 'Segoe UI', Roboto, Helvetica, Arial, 'DejaVu Sans', sans-serif"
    )
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")


def image_uri(image: np.ndarray, max_side: int = 160) -> str:
    """A picture as a data URI: PNG without loss up to 64 pixels a side, above that a JPEG of at most max_side.

    Args:
        image: uint8 [H, W, C], C 1 or 3.
        max_side: pixels.

    Raises:
        ValueError: the array has another shape or dtype.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(f"expected uint8 [H, W, 1 or 3], received {image.dtype} {list(image.shape)}; convert it first")
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    kind = "PNG" if max(picture.size) <= 64 else "JPEG"
    picture.thumbnail((max_side, max_side))
    buffer = io.BytesIO()
    picture.save(buffer, kind, **({"quality": 85} if kind == "JPEG" else {"optimize": True}))
    return f"data:image/{kind.lower()};base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


@dataclass(frozen=True)
class Curve:
    """One line of a panel."""

    name: str
    steps: np.ndarray
    """int [n], optimizer steps since the start of the run."""
    values: np.ndarray
    """float [n]; what is not finite leaves a gap."""


def curve(name: str, history: Sequence[dict[str, Any]], kind: str, key: str) -> Curve:
    """The values of `key` in the metric lines of `kind` that have it, averaged in groups above MAX_POINTS."""
    lines = [line for line in history if line.get("kind") == kind and line.get(key) is not None]
    steps = np.array([line["step"] for line in lines], dtype=np.float64)
    values = np.array([line[key] for line in lines], dtype=np.float64)
    if len(steps) > MAX_POINTS:
        starts = np.arange(0, len(steps), -(-len(steps) // MAX_POINTS))
        sizes = np.diff(np.append(starts, len(steps)))
        steps, values = np.add.reduceat(steps, starts) / sizes, np.add.reduceat(values, starts) / sizes
    return Curve(name, steps, values)


def draw_curves(curves: Sequence[Curve], epoch_ends: Sequence[float], theme: Theme, *, percent: bool = False) -> Figure:
    """Curves over optimizer steps, with the number of epochs done along the top.

    A second curve has markers and another hue. Positive values that span more than a factor of 100 get a log scale.
    """
    figure, axes = _panel(_PANEL_INCHES, theme)
    for one, colour, marker in zip(curves, (theme.blue, theme.orange), ("", "o"), strict=False):
        marker = marker if len(one.steps) > 1 else "o"  # a single point has no line to see
        axes.plot(one.steps, one.values, color=colour, marker=marker, markersize=3.5, label=one.name)
    values = np.concatenate([one.values[np.isfinite(one.values)] for one in curves])
    if not percent and len(values) and values.min() > 0 and values.max() > 100 * values.min():
        axes.set_yscale("log")
    elif len(values) and values.min() >= 0:
        axes.set_ylim(bottom=0)
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    if len(curves) > 1:
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


def draw_confusion(confusion: np.ndarray, names: Sequence[str], theme: Theme) -> Figure:
    """Confusion matrix: rows are true classes, colours are shares of the row, numbers are images.

    Args:
        confusion: int [C, C], confusion[true, predicted].
        names: C class names.
        theme: the colours.
    """
    num_classes = len(names)
    totals = confusion.sum(axis=1, keepdims=True)
    shares = np.divide(confusion, totals, out=np.zeros(confusion.shape), where=totals > 0)
    side = float(np.clip(2.4 + 0.33 * num_classes, 4.0, 6.0))
    figure, axes = _panel((side, side), theme)
    axes.grid(False)
    heat = LinearSegmentedColormap.from_list("heat", theme.heat)
    # A square-root scale: with a linear one a class that is mistaken in 3 % of its images would look perfect.
    picture = axes.imshow(shares, cmap=heat, norm=PowerNorm(0.5, 0.0, 1.0), aspect="equal")
    bar = figure.colorbar(picture, ax=axes, fraction=0.04, pad=0.02, ticks=[0, 0.01, 0.05, 0.2, 0.5, 1])
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    bar.ax.tick_params(length=0, colors=theme.muted, labelsize=7.5)
    bar.outline.set_visible(False)
    axes.set_xlabel("predicted", color=theme.muted)
    axes.set_ylabel("true", color=theme.muted)
    if num_classes <= MAX_NAMED_CLASSES:
        _name_sides(axes, names, theme)
    if num_classes <= MAX_ANNOTATED_CLASSES:
        _annotate(axes, confusion, shares, cell_points=72 * 0.72 * side / num_classes, theme=theme)
    return figure


def _name_sides(axes: Axes, names: Sequence[str], theme: Theme) -> None:
    labels, positions = [_short(name) for name in names], range(len(names))
    size = 8.5 if len(names) <= MAX_ANNOTATED_CLASSES else 6.5
    upright = max(map(len, labels), default=0) > 2
    axes.set_xticks(positions, labels, rotation=90 if upright else 0, fontsize=size, color=theme.text)
    axes.set_yticks(positions, labels, fontsize=size, color=theme.text)


def _annotate(axes: Axes, confusion: np.ndarray, shares: np.ndarray, cell_points: float, theme: Theme) -> None:
    size = min(8.5, cell_points / (0.68 * len(str(confusion.max()))))
    if size < 5:
        return  # figures that nobody can read; the table of confusions has them
    weak, strong = (LIGHT.text, "#ffffff") if theme is LIGHT else (DARK.text, "#0b1117")
    for true, predicted in np.argwhere(confusion > 0):
        colour = strong if shares[true, predicted] > 0.35 else weak
        number = str(confusion[true, predicted])
        axes.text(predicted, true, number, ha="center", va="center", fontsize=size, color=colour)


def draw_balance(
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
        return _draw_profile(drawn, exposure, theme)
    figure, axes = _panel((4.8, 1.0 + 0.34 * len(names)), theme)
    positions, height = np.arange(len(names)), 0.76 / len(drawn)
    for i, (values, colour, name) in enumerate(drawn):
        axes.barh(positions + (i - (len(drawn) - 1) / 2) * height, values, height * 0.9, color=colour, label=name)
    if exposure is not None:
        style: dict[str, Any] = {"marker": "D", "s": 20, "zorder": 3, "label": "exposure per epoch"}
        axes.scatter(exposure, positions, color=theme.orange, **style)
    axes.set_yticks(positions, [_short(name) for name in names], color=theme.text)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=theme.grid, linewidth=0.7)
    axes.set_xlabel("rows", color=theme.muted)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    figure.legend(
        loc="outside upper center", ncols=3, frameon=False, labelcolor=theme.text, fontsize=7.5, handlelength=1.2
    )
    return figure


def _draw_profile(drawn: Sequence[tuple[np.ndarray, str, str]], exposure: np.ndarray | None, theme: Theme) -> Figure:
    figure, axes = _panel((4.8, 3.2), theme)
    for values, colour, name in drawn:
        axes.plot(np.arange(1, len(values) + 1), values, color=colour, label=name, drawstyle="steps-mid")
    if exposure is not None:
        axes.plot(np.arange(1, len(exposure) + 1), exposure, ":", color=theme.orange, label="exposure per epoch")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("classes, largest first", color=theme.muted)
    axes.set_ylabel("rows", color=theme.muted)
    axes.legend(frameon=False, labelcolor=theme.text, fontsize=7.5)
    return figure


def _short(name: str, length: int = 16) -> str:
    name = " ".join(printable(name).split())
    return name if len(name) <= length else name[: length - 1] + "…"
