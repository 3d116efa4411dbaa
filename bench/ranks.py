"""Two ranks beside two independent processes, beside plain model.fit, and beside one and four ranks.

    ./do bench ranks [--repetitions 3] [--plot FILE]

All train simple_cnn with Adam on the same 32x32x3 noise: ranks through the real loop, each on one thread;
model.fit from NumPy arrays in RAM with two threads, without op determinism, not jit-compiled, and at the global batch
size of the two ranks. Images per second are medians over windows, without the first ones.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import inputs
import rank_runs
import table
from table import Row
from turns import Figures, in_process, median, run_named, take_turns

NUM_ROWS = 24_000
STEPS = {64: 300, 256: 75}
"""By local batch: about as many images each."""


def measure(repetitions: int) -> Sequence[Row]:
    with rank_runs.work_directory() as work:
        inputs.write_balanced(work / "data", NUM_ROWS)
        return rows(take_turns(contenders(work / "data"), repetitions))


def contenders(data: Path) -> dict[str, Callable[[], dict[str, float]]]:
    def train(rows: int, ranks: int, worlds: int = 1) -> Callable[[], dict[str, float]]:
        steps = STEPS[rows] // max(1, ranks // 2)
        return lambda: rank_runs.train_once(data, worlds=worlds, ranks=ranks, local_rows=rows, steps=steps)

    found: dict[str, Callable[[], dict[str, float]]] = {}
    for rows in STEPS:
        found[f"two ranks, {rows}"] = train(rows, 2)
        found[f"independent, {rows}"] = train(rows, 1, worlds=2)
        found[f"fit, {rows}"] = lambda rows=rows: in_process(__file__, "fit", data, 2 * rows)  # type: ignore[misc]
    found["one rank, 64"] = train(64, 1)
    found["four ranks, 64"] = train(64, 4)
    return found


def rows(figures: Figures) -> list[Row]:
    rates = {name: median(runs, "images_per_second") for name, runs in figures.items()}
    cpu = {name: median(runs, "cpu_seconds") for name, runs in figures.items()}

    def compare(measure: str, ours: str, other: str, factor: float, **bounds: Any) -> Row:
        return Row(measure, f"{rates[ours]:,.0f} images/s", f"{rates[other]:,.0f} images/s",
                   rates[ours] / rates[other] / factor, "x", cpu=f"{cpu[ours]:.0f} / {cpu[other]:.0f}",
                   **bounds)  # fmt: skip

    waited = median(figures["two ranks, 64"], "wait_percent")
    found = [
        Row("training time spent waiting for data, two ranks of 64", table.number(waited, "%"), "", waited, "%", 2, 0.5,
            smaller_is_better=True)
    ]  # fmt: skip
    for size, floor, goal in ((64, 0.90, 0.97), (256, 0.97, 0.99)):
        title = f"two ranks of {size} against two independent ranks"
        found.append(compare(title, f"two ranks, {size}", f"independent, {size}", 1, floor=floor, goal=goal))
    for size in STEPS:
        title = f"two ranks of {size} against `model.fit` at {2 * size} with two threads"
        found.append(compare(title, f"two ranks, {size}", f"fit, {size}", 1, floor=0.9, goal=1.1))
    found.append(compare("scaling: two ranks against twice one rank alone", "two ranks, 64", "one rank, 64", 2))
    title = "scaling: four ranks on two cores (oversubscribed) against twice one rank alone"
    found.append(compare(title, "four ranks, 64", "one rank, 64", 2))
    return found


def fit(data: Path, batch_rows: int) -> dict[str, float]:
    """Plain Keras on the same model, optimizer and images."""
    import keras
    import numpy as np
    import pyarrow.parquet as pq
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    from farandole.train.models.build import build_model

    read = pq.read_table(data / "data/split=train", columns=["image", "label"], partitioning=None)
    images = np.frombuffer(b"".join(read["image"].to_pylist()), np.uint8).reshape(-1, 32, 32, 3)
    model = build_model("simple_cnn", {}, image_shape=(32, 32, 3), num_classes=10, seed=0, precision="float32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"], jit_compile=False)
    window, ends = 20 if batch_rows < 256 else 5, []

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch % window == 0:
                ends.append(time.perf_counter())

    cpu, wall = time.process_time(), time.perf_counter()
    model.fit(images, read["label"].to_numpy(), batch_size=batch_rows, epochs=1, verbose=0, callbacks=[Clock()])
    seconds = statistics.median(np.diff(ends[2:]))
    return {
        "images_per_second": window * batch_rows / float(seconds),
        "cpu_seconds": time.process_time() - cpu,
        "wall_seconds": time.perf_counter() - wall,
    }


if __name__ == "__main__" and not run_named({"fit": fit}):
    table.main("ranks", __doc__, measure)
