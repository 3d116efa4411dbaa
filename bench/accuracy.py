"""Accuracy against wall time of finished runs, as a plot: validation after each epoch, and the test set at the end.

    ./do bench accuracy --plot FILE NAME=RUN [NAME=RUN ...]

RUN is a directory under runs/; runs of one NAME have one colour. Seconds are those of training, from the first batch,
restarts and the start of Spark not included; the test accuracy stands where training ended.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

LINE = "{name}: test accuracy {mean:.4f}, n = {n}, {seconds:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="./do bench accuracy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plot", type=Path, required=True, help="an SVG or PNG file to write")
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN")
    options = parser.parse_args()
    runs: dict[str, list[Path]] = {}
    for argument in options.runs:
        name, equals, path = argument.partition("=")
        if not equals or not (Path(path) / "metrics.json").is_file():
            parser.error(f"expected NAME=RUN, with a finished run; received {argument!r}")
        runs.setdefault(name, []).append(Path(path))
    draw(runs, options.plot)


def read(run: Path) -> tuple[list[tuple[float, float]], float, float]:
    """(seconds, validation accuracy) of every epoch, then the seconds of the whole training and the test accuracy."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    seconds = {line["global_step"]: line["wall_seconds"] for line in lines if line["kind"] == "train"}
    curve = [(seconds[line["global_step"]], line["accuracy"]) for line in lines if line["kind"] == "val"]
    metrics = json.loads((run / "metrics.json").read_text())
    return curve, metrics["train"]["wall_seconds"], metrics["test"]["accuracy"]


def draw(runs: dict[str, Sequence[Path]], plot: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for number, (name, paths) in enumerate(runs.items()):
        found = [read(path) for path in paths]
        colour = f"C{number}"
        for curve, _, _ in found:
            axes.plot(*zip(*curve, strict=True), ".-", color=colour, alpha=0.5, linewidth=1)
        ends, tests = [end for _, end, _ in found], [test for _, _, test in found]
        mean, seconds = sum(tests) / len(tests), sum(ends) / len(ends)
        line = LINE.format(name=name, mean=mean, n=len(tests), seconds=seconds)
        axes.plot(ends, tests, "D", color=colour, label=line)
        print(line)
    axes.axhline(0.94, color="grey", linestyle=":", linewidth=1)
    axes.set(xlabel="seconds of training", ylabel="accuracy", ylim=(0.3, 1.0), xlim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", title="lines: validation after each epoch; diamonds: test set")
    figure.savefig(plot, dpi=120)


if __name__ == "__main__":
    main()
