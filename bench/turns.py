"""Contenders take turns: each run is a process of its own, so that none finds what another has left in memory."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Figures = dict[str, list[dict[str, float]]]
"""What every run of a contender printed, by contender."""
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}


def take_turns(runs: dict[str, Callable[[], dict[str, float]]], repetitions: int) -> Figures:
    """Runs every contender once, then all again, and so on."""
    figures: Figures = {name: [] for name in runs}
    for repetition in range(repetitions):
        for name, run in runs.items():
            figures[name].append(run())
            shown = {key: round(value, 4) for key, value in figures[name][-1].items()}
            print(f"{repetition + 1}/{repetitions} {name}: {shown}", file=sys.stderr, flush=True)
    return figures


def in_process(program: str, contender: str, *arguments: object) -> dict[str, float]:
    """Runs `python PROGRAM --run CONTENDER ARGUMENTS`, whose last line is JSON."""
    command = [sys.executable, program, "--run", contender, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **QUIET})
    if done.returncode:
        sys.exit(f"{done.stderr}\nerror[1]: the run of {contender} ended with exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def run_named(contenders: dict[str, Callable[..., dict[str, float]]]) -> bool:
    """The other side of in_process: whether this process was started by it, and has done its run."""
    if sys.argv[1:2] != ["--run"]:
        return False
    name, *arguments = sys.argv[2:]
    print(json.dumps(contenders[name](*map(_value, arguments))))
    return True


def median(figures: Iterable[dict[str, float]], key: str) -> float:
    return statistics.median(run[key] for run in figures)


def _value(text: str) -> Any:
    return int(text) if text.isdecimal() else Path(text)
