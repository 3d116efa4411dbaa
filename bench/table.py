"""One Markdown table and one plot of measures with their floors and goals."""

import argparse
import importlib.metadata
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("tensorflow-cpu", "keras", "horovod", "pyspark", "pyarrow", "petastorm", "simplejpeg", "numpy")


@dataclass(frozen=True)
class Row:
    """One measure. What is held against floor and goal is `figure`; without a floor it only informs."""

    measure: str
    farandole: str
    other: str
    figure: float
    unit: str = "x"
    floor: float | None = None
    goal: float | None = None
    cpu: str = ""
    """CPU seconds of farandole / of the other."""
    smaller_is_better: bool = False

    def reaches(self, bound: float) -> bool:
        return self.figure <= bound if self.smaller_is_better else self.figure >= bound

    @property
    def verdict(self) -> str:
        if self.floor is None or self.goal is None:
            return ""
        return "goal" if self.reaches(self.goal) else "floor" if self.reaches(self.floor) else "missed"


def number(value: float, unit: str) -> str:
    """With three digits, and the unit as it is written in the table."""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return text + {"x": "x", "%": " %"}.get(unit, f" {unit}")


def markdown(rows: Sequence[Row]) -> str:
    lines = ["| measure | farandole | the other | ratio | CPU s, ours / theirs | floor | goal | met |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in rows:
        bounds = [number(b, row.unit) if b is not None else "" for b in (row.floor, row.goal)]
        figure = number(row.figure, row.unit)
        cells = [row.measure, row.farandole, row.other, figure, row.cpu, *bounds, row.verdict]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def versions() -> str:
    found = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return f"Python {platform.python_version()}, {found}; {_cpu()}"


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "")
    best = next((f for f in ("avx512_bf16", "avx512f", "avx2") if f in flags), "no AVX2")
    return f"{len(names)} cores, {names[0] if names else platform.machine()}, {best}"


def plot(rows: Sequence[Row], path: Path) -> None:
    """A dot per measure on a scale on which the floor is 1 and further right is better; a tick where the goal is."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    shown = [row for row in rows if row.floor is not None and row.goal is not None][::-1]
    colours = {"goal": "#1a7f37", "floor": "#0969da", "missed": "#cf222e"}
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.34 * len(shown)), layout="constrained")
    for height, row in enumerate(shown):
        value, goal = (_against_floor(row, figure) for figure in (row.figure, row.goal))
        axes.plot([1, value], [height, height], color=colours[row.verdict], linewidth=2, alpha=0.4)
        axes.plot(value, height, "o", color=colours[row.verdict], markersize=8)
        axes.plot(goal, height, "|", color="#57606a", markersize=14, markeredgewidth=2)
        axes.annotate(number(row.figure, row.unit), (value, height), (8, 5), textcoords="offset points", fontsize=8)
    axes.axvline(1, color="#57606a", linewidth=1)
    axes.set_yticks(range(len(shown)), [row.measure.replace("`", "") for row in shown], fontsize=8)
    axes.set_xscale("log")
    axes.set_xticks([0.25, 0.5, 1, 2, 4, 8], ["1/4", "1/2", "floor", "2x", "4x", "8x"])
    axes.minorticks_off()
    axes.set_xlabel("how far from the floor, to the right is better; the grey tick is the goal", fontsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _against_floor(row: Row, figure: float | None) -> float:
    assert figure is not None
    assert row.floor is not None
    ratio = row.floor / max(figure, 1e-9) if row.smaller_is_better else figure / row.floor
    return min(max(ratio, 0.1), 20.0)


def show(rows: Sequence[Row], command: str, repetitions: int, seconds: float, picture: Path | None) -> None:
    print("\n" + markdown(rows))
    print(f"\n`{command}`: medians of n = {repetitions}, taking turns, {seconds / 60:.0f} min in all; {versions()}.")
    if picture:
        plot(rows, picture)
        print(f"plot: {picture}", file=sys.stderr)


def main(name: str, doc: str | None, measure: Callable[[int], Sequence[Row]], picture: Path | None = None) -> None:
    """The command line that these benches share; picture is where the plot goes unless --plot says otherwise."""
    parser = argparse.ArgumentParser(
        prog=f"./do bench {name}", description=doc, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=3, help="runs of each contender; default: 3")
    told = f"draws the table: .svg, .png or .pdf; default: {picture or 'does not'}"
    parser.add_argument("--plot", type=Path, default=picture, metavar="FILE", help=told)
    options = parser.parse_args()
    started = time.monotonic()
    rows = measure(options.repetitions)
    command = " ".join(["./do bench", *([] if name == "training" else [name]), *sys.argv[1:]])
    show(rows, command, options.repetitions, time.monotonic() - started, options.plot)
