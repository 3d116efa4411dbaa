"""Synthetic inputs: raw pictures as preprocess leaves them, and JPEG photos."""

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from farandole.core.fingerprint import hash_ids, id_checksum
from farandole.core.manifest import FILE_NAME, ImageEntry, Manifest, SplitEntry, Stats
from farandole.core.parquet import write_file
from farandole.core.schema import CLEAN, SPLITS

SIDE, ROW_BYTES = 32, 32 * 32 * 3
NUM_FILES = 6
PHOTO_SIZE = (500, 375)
PHOTO_TARGETS = (224, 128, 96)
"""Sides to which photos are resized."""
_CLASS_NAMES = [f"class-{label}" for label in range(10)]
_ROWS_PER_FILE, _ROWS_PER_ROW_GROUP = 2048, 256


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
    manifest = Manifest(
        stage="preprocess",
        created_by="bench",
        config_fingerprint="bench",
        parent_fingerprint="bench",
        image=ImageEntry(height=SIDE, width=SIDE, channels=3, encoding="raw"),
        class_names=_CLASS_NAMES,
        splits={split: _write_split(root, split, rows, rng, skewed) for split, rows in sizes.items()},
        stats=Stats(mean=[127.5] * 3, std=[73.9] * 3),
        quarantine={},
        input_rows=num_rows,
        deduplicated_rows=0,
    )
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
    counts = np.bincount(labels, minlength=len(_CLASS_NAMES)).tolist()
    return SplitEntry(
        num_rows=num_rows,
        class_counts=dict(zip(_CLASS_NAMES, counts, strict=True)),
        id_checksum=f"{id_checksum(hash_ids(ids), 0):016x}",
        files=files,
    )


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
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(
            PHOTO_SIZE, Image.Resampling.BICUBIC
        )
        pixels = np.asarray(coarse, dtype=np.int16) + rng.integers(-12, 13, (PHOTO_SIZE[1], PHOTO_SIZE[0], 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / f"{number:06d}.jpg", quality=85)
