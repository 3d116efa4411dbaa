"""Synthetic inputs: raw pictures as preprocess leaves them, and JPEG photos."""

import functools
import io
import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
from manifests import count_labels, make_manifest, split_entry
from PIL import Image

from farandole.core.dataset.manifest import FILE_NAME, FileEntry, Manifest, SplitEntry, Stats
from farandole.core.dataset.parquet import write_file
from farandole.core.dataset.schema import BALANCED, CLEAN, SPLITS
from farandole.core.fingerprint import hash_ids, id_checksum

SIDE, ROW_BYTES = 32, 32 * 32 * 3
NUM_FILES = 6
PHOTO_SIZE = (500, 375)
PHOTO_TARGETS = (224, 128, 96)
"""Sides to which photos are resized."""
_CLASS_NAMES = [f"class-{label}" for label in range(10)]
_STATS = {"image": Stats(mean=[127.5] * 3, std=[73.9] * 3)}  # of noise
_ROWS_PER_FILE, _ROWS_PER_ROW_GROUP = 2048, 256
_BALANCED_ROWS_PER_FILE = 20_480  # about 64 MB, as layout.num_files = 0 gives


def write_clean(root: Path, num_rows: int, *, skewed: bool = False) -> None:
    """Writes root/ like preprocess: noise, which no codec makes smaller; 1 row in 12 each goes to val and test.

    Args:
        root: the new data set.
        num_rows: of all splits together.
        skewed: classes by Zipf's law, the rarest a tenth of the commonest; one file holds four fifths of a split,
            and files of 50 rows the rest.
    """
    rng = np.random.default_rng(0)
    held_out = num_rows // 12
    sizes = dict(zip(SPLITS, (num_rows - 2 * held_out, held_out, held_out), strict=True))
    splits = {split: _write_split(root, split, rows, rng, skewed) for split, rows in sizes.items()}
    manifest = make_manifest(splits, image_shape=(SIDE, SIDE, 3), stats=_STATS)
    (root / FILE_NAME).write_text(manifest.to_json())


def _write_split(root: Path, split: str, num_rows: int, rng: np.random.Generator, skewed: bool) -> SplitEntry:
    shares = 1 / np.arange(1, len(_CLASS_NAMES) + 1) if skewed else np.ones(len(_CLASS_NAMES))
    labels = rng.choice(len(_CLASS_NAMES), num_rows, p=shares / shares.sum()).astype(np.int32)
    ids = pa.array([f"{split}/{number:08d}.png" for number in range(num_rows)])
    most = num_rows * 4 // 5
    bounds = [0, *range(most, num_rows, 50)] if skewed else list(range(0, num_rows, _ROWS_PER_FILE))
    files = []
    for first, stop in itertools.pairwise([*bounds, num_rows]):
        # Row group by row group, so that a huge file costs no more memory than a small one.
        starts = range(first, stop, _ROWS_PER_ROW_GROUP)
        groups = (_rows(ids, labels, slice(at, min(at + _ROWS_PER_ROW_GROUP, stop)), rng) for at in starts)
        files.append(write_file(root, f"data/split={split}/part-{len(files):05d}.parquet", CLEAN, groups))
    return _entry(ids, labels, files)


def _entry(ids: pa.Array, labels: np.ndarray, files: list[FileEntry]) -> SplitEntry:
    return split_entry(count_labels(labels, _CLASS_NAMES), files, id_sum=id_checksum(hash_ids(ids), 0))


def _rows(ids: pa.Array, labels: np.ndarray, rows: slice, rng: np.random.Generator) -> pa.Table:
    ids, labels = ids[rows.start : rows.stop], labels[rows]
    offsets = np.arange(len(labels) + 1, dtype=np.int32) * ROW_BYTES
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(rng.bytes(len(labels) * ROW_BYTES))]
    images = pa.Array.from_buffers(pa.binary(), len(labels), buffers)
    hashes = rng.integers(-(2**63), 2**63 - 1, len(labels))
    return pa.table([ids, images, pa.array(labels), pa.array(hashes)], schema=CLEAN)


def write_pictures(root: Path, num_pictures: int) -> None:
    """Writes JPEG files of 32x32 pixels, about 1 KB each, as CLASS/FILE."""
    rng = np.random.default_rng(0)
    for name in _CLASS_NAMES:
        (root / name).mkdir(parents=True)
    for number in range(num_pictures):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        picture = coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        picture.save(root / _CLASS_NAMES[number % len(_CLASS_NAMES)] / f"{number:06d}.jpg", quality=85)


def write_photos(root: Path, num_photos: int) -> None:
    """Writes JPEG files of smooth shapes with some noise, about 40 KB each, as photos are."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True)
    for number in range(num_photos):
        _smooth(rng, PHOTO_SIZE).save(root / f"{number:06d}.jpg", quality=85)


def write_balanced(
    root: Path, num_rows: int, *, side: int = SIDE, encoding: str = "raw", held_out: int = 0
) -> Manifest:
    """Writes root/ like rebalance, and returns its manifest: noise as raw pictures, smooth shapes with noise as JPEG.

    Args:
        root: the new data set.
        num_rows: of the train split.
        side: of the pictures, pixels.
        encoding: raw or jpeg.
        held_out: rows of val, and as many of test.
    """
    rng = np.random.default_rng(0)
    sizes = dict(zip(SPLITS, (num_rows, held_out, held_out), strict=True))
    splits = {split: _write_balanced_split(root, split, rows, rng, side, encoding) for split, rows in sizes.items()}
    manifest = make_manifest(
        splits,
        stage="rebalance",
        image_shape=(side, side, 3),
        encoding=encoding,
        stats=_STATS,
        class_counts_before=splits["train"].class_counts,
    )
    (root / FILE_NAME).write_text(manifest.to_json())
    return manifest


def _write_balanced_split(
    root: Path, split: str, num_rows: int, rng: np.random.Generator, side: int, encoding: str
) -> SplitEntry:
    labels = (np.arange(num_rows) % len(_CLASS_NAMES)).astype(np.int32)
    ids = pa.array([f"{split}/{_CLASS_NAMES[label]}/{number:08d}.png" for number, label in enumerate(labels)])
    files = []
    for first in range(0, num_rows, _BALANCED_ROWS_PER_FILE):
        stop = min(first + _BALANCED_ROWS_PER_FILE, num_rows)
        starts = range(first, stop, _ROWS_PER_ROW_GROUP)
        groups = (
            _balanced_rows(ids, labels, slice(at, min(at + _ROWS_PER_ROW_GROUP, stop)), rng, side, encoding)
            for at in starts
        )
        files.append(write_file(root, f"data/split={split}/part-{len(files):05d}.parquet", BALANCED, groups))
    return _entry(ids, labels, files)


def _balanced_rows(
    ids: pa.Array, labels: np.ndarray, rows: slice, rng: np.random.Generator, side: int, encoding: str
) -> pa.Table:
    numbers = np.arange(rows.start, rows.stop)
    images = _encoded(numbers, side) if encoding == "jpeg" else _noise(rng, len(numbers), side)
    hashes = rng.integers(-(2**63), 2**63 - 1, len(numbers))
    copies = np.zeros(len(numbers), np.int32)
    columns = [ids[rows.start : rows.stop], images, *map(pa.array, (labels[rows], hashes, copies, numbers))]
    return pa.table(columns, schema=BALANCED)


def _noise(rng: np.random.Generator, num_rows: int, side: int) -> pa.Array:
    offsets = np.arange(num_rows + 1, dtype=np.int32) * side * side * 3
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(rng.bytes(int(offsets[-1])))]
    return pa.Array.from_buffers(pa.binary(), num_rows, buffers)


def _encoded(numbers: np.ndarray, side: int) -> pa.Array:
    pictures = _pictures(side)
    return pa.array([pictures[number % len(pictures)] for number in numbers], pa.binary())


@functools.cache
def _pictures(side: int) -> list[bytes]:
    """A hundred different ones; making more would take longer than reading them."""
    rng, pictures = np.random.default_rng(0), []
    for _ in range(100):
        buffer = io.BytesIO()
        _smooth(rng, (side, side)).save(buffer, "JPEG", quality=95)
        pictures.append(buffer.getvalue())
    return pictures


def _smooth(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A picture of smooth shapes with some noise, which as a JPEG is about as large as a photo."""
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(coarse, dtype=np.int16) + rng.integers(-12, 13, (size[1], size[0], 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
