"""The reader beside petastorm, TFRecord and tf.data from RAM, and its JPEG decoding beside a bare libjpeg-turbo loop.

    ./do bench reader [--repetitions 3] [--plot FILE]

Each run is a process that reads one shuffled epoch of 60,000 raw pictures of 32x32x3 as TensorFlow batches of 64; CPU
seconds are the whole process's, of all threads, after imports. Farandole reads the real way: open_reader, augmented
(with nothing to do), Prefetcher, every page compared with its CRC32. Of it two epochs are given: the first one of a
process, which also reads ids and labels, and the second.
"""

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import inputs
import numpy as np
import table
from table import Row
from turns import in_process, median, run_named, take_turns

BATCH_ROWS = 64
PHOTO_SIDE = 224
NUM_ROWS, NUM_PHOTOS = 60_000, 3_000


def measure(repetitions: int) -> Sequence[Row]:
    with tempfile.TemporaryDirectory(prefix="farandole-bench-") as name:
        work = Path(name)
        inputs.write_balanced(work / "raw", NUM_ROWS)
        inputs.write_balanced(work / "jpeg", NUM_PHOTOS, side=PHOTO_SIDE, encoding="jpeg")
        write_records(work)
        runs = {contender: _run(contender, work) for contender in CONTENDERS}
        return rows(take_turns(runs, repetitions))


def _run(contender: str, work: Path) -> Callable[[], dict[str, float]]:
    return lambda: in_process(__file__, contender, work)


def rows(figures: dict[str, list[dict[str, float]]]) -> list[Row]:
    ours, rates = figures["farandole"], {name: median(runs, "rate") for name, runs in figures.items()}
    first, cpu = median(ours, "first_rate"), {name: median(runs, "cpu_seconds") for name, runs in figures.items()}
    unit = "k images per CPU s"
    found = [
        Row("reader, an epoch", _k(rates["farandole"]), "", rates["farandole"] / 1e3, unit, 200, 400,
            f"{cpu['farandole']:.2f}"),
        Row("reader, the first epoch of a process, ids included", _k(first), "", first / 1e3, unit, 200, 400,
            f"{NUM_ROWS / first:.2f}"),
    ]  # fmt: skip
    others = (
        ("petastorm", "petastorm `make_batch_reader`, decoded", 4, 8),
        ("tfrecord", "TFRecord parsed per batch", 0.8, 1.5),
        ("ram", "`tf.data` from RAM", 0.4, 0.7),
    )
    for name, title, floor, goal in others:
        found.append(
            Row(f"… against {title}", _k(rates["farandole"]), _k(rates[name]), rates["farandole"] / rates[name],
                "x", floor, goal, f"{cpu['farandole']:.2f} / {cpu[name]:.2f}")
        )  # fmt: skip
    photos = rates["jpeg"] / rates["libjpeg"]
    title = f"JPEG of {PHOTO_SIDE}x{PHOTO_SIDE} read and decoded, against a bare libjpeg-turbo loop"
    per = "images per CPU s"
    found.append(
        Row(title, f"{rates['jpeg']:,.0f} {per}", f"{rates['libjpeg']:,.0f} {per}", photos, "x", 0.85, 0.95,
            f"{cpu['jpeg']:.2f} / {cpu['libjpeg']:.2f}")
    )  # fmt: skip
    return found


def _k(rate: float) -> str:
    return f"{rate / 1e3:,.0f} k images per CPU s"


# Contenders: each returns images per CPU second.


def farandole(work: Path) -> dict[str, float]:
    batches = epochs(work / "raw")
    first = timed(next(batches))
    second = timed(next(batches))
    return {**second, "first_rate": first["rate"]}


def jpeg(work: Path) -> dict[str, float]:
    batches = epochs(work / "jpeg")
    timed(next(batches))
    return timed(next(batches))


def epochs(root: Path) -> Iterable[Any]:
    """The tensors of epoch after epoch, as a rank of world size 1 gets them."""
    import pandas  # noqa: F401  an import is no part of the reading
    import tensorflow as tf

    from farandole.config.train import Augment
    from farandole.core.batches.reader import SplitFiles
    from farandole.core.dataset.manifest import read_manifest
    from farandole.core.plan.epoch_plan import plan_epoch, slice_for
    from farandole.train.input.augment import augmented
    from farandole.train.input.prefetch import Prefetcher
    from farandole.train.input.readers import open_reader

    manifest = read_manifest(root)
    files = SplitFiles(root, manifest, "train")

    def tensors(epoch: int) -> Iterable[Any]:
        plan = plan_epoch(manifest, epoch=epoch, seed=0, global_batch_size=BATCH_ROWS)
        reader = open_reader("arrow", files, slice_for(plan, 0, 1), start_step=0)
        for batch in Prefetcher(augmented(reader, Augment(), seed=0, epoch=epoch, fill=manifest.stats["image"].mean)):
            yield tf.convert_to_tensor(batch.values["image"]), tf.convert_to_tensor(batch.values["label"])

    for epoch in range(2):
        yield tensors(epoch)


def petastorm(work: Path) -> dict[str, float]:
    import tensorflow as tf

    from farandole.train.input.import_petastorm import LOCAL_FILES, import_petastorm

    make_batch_reader = import_petastorm().make_batch_reader
    urls = [f"file://{path}" for path in sorted((work / "raw/data/split=train").iterdir())]

    def batches() -> Iterable[Any]:
        rng, names = np.random.default_rng(0), ["image", "label"]
        with make_batch_reader(
            urls,
            schema_fields=names,
            workers_count=2,
            shuffle_row_groups=True,
            num_epochs=1,
            filesystem=LOCAL_FILES,
        ) as reader:
            for item in reader:
                order = rng.permutation(len(item.label))
                images = np.stack([np.frombuffer(data, np.uint8).reshape(32, 32, 3) for data in item.image])[order]
                labels = item.label[order]
                for at in range(0, len(order), BATCH_ROWS):
                    rows = slice(at, at + BATCH_ROWS)
                    yield tf.convert_to_tensor(images[rows]), tf.convert_to_tensor(labels[rows])

    return timed(batches())


def write_records(work: Path) -> None:
    import os

    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import pyarrow.parquet as pq
    import tensorflow as tf

    (work / "records").mkdir()
    for path in sorted((work / "raw/data/split=train").iterdir()):
        rows = pq.read_table(path, columns=["image", "label"], partitioning=None)
        with tf.io.TFRecordWriter(str(work / "records" / path.name)) as writer:
            for image, label in zip(rows["image"].to_pylist(), rows["label"].to_pylist(), strict=True):
                features = {
                    "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
                    "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
                }
                writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def tfrecord(work: Path) -> dict[str, float]:
    import tensorflow as tf

    features = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}

    def parse(records: Any) -> tuple[Any, Any]:
        found = tf.io.parse_example(records, features)
        return tf.reshape(tf.io.decode_raw(found["image"], tf.uint8), [-1, 32, 32, 3]), found["label"]

    names = [str(path) for path in sorted((work / "records").iterdir())]
    data = tf.data.TFRecordDataset(names).shuffle(16_384).batch(BATCH_ROWS).map(parse).prefetch(4)
    return timed(data)


def ram(work: Path) -> dict[str, float]:
    import pyarrow.parquet as pq
    import tensorflow as tf

    rows = pq.read_table(work / "raw/data/split=train", columns=["image", "label"], partitioning=None)
    pixels = np.frombuffer(b"".join(rows["image"].to_pylist()), np.uint8).reshape(-1, 32, 32, 3)
    images, labels = tf.constant(pixels), tf.constant(rows["label"].to_numpy())

    def gather(places: Any) -> tuple[Any, Any]:
        return tf.gather(images, places), tf.gather(labels, places)

    order = np.random.default_rng(0).permutation(len(pixels))
    return timed(tf.data.Dataset.from_tensor_slices(order).batch(BATCH_ROWS).map(gather).prefetch(4))


def libjpeg(work: Path) -> dict[str, float]:
    import pyarrow.parquet as pq
    import simplejpeg

    photos = pq.read_table(work / "jpeg/data/split=train", columns=["image"], partitioning=None)["image"].to_pylist()
    return timed((simplejpeg.decode_jpeg(photo)[None], None) for photo in photos)


def timed(batches: Iterable[Any]) -> dict[str, float]:
    """Goes through the batches and measures."""
    cpu, wall, count = time.process_time(), time.perf_counter(), 0
    for images, _ in batches:
        count += len(images)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    assert count in (NUM_ROWS, NUM_PHOTOS), f"{count} images came"
    return {"rate": count / cpu, "cpu_seconds": cpu, "wall_seconds": wall}


CONTENDERS = {
    "farandole": farandole, "petastorm": petastorm, "tfrecord": tfrecord, "ram": ram, "jpeg": jpeg, "libjpeg": libjpeg,
}  # fmt: skip

if __name__ == "__main__" and not run_named(CONTENDERS):
    table.main("reader", __doc__, measure)
