"""A folder of small pictures with a label table beside it."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from farandole.config.load import Config, parse_config

SIDE = 4


def config_for(
    tmp_path: Path, table: str = "labels.csv", *, missing: dict[str, Any] | None = None, **data: Any
) -> Config:
    return parse_config(
        {
            "paths": {"work": str(tmp_path / "work")},
            "data": {
                "source": "folder",
                "path": str(tmp_path / "raw"),
                "label_table": table,
                "image_column": "file",
                **data,
            },
            "image": {"height": SIDE, "width": SIDE},
            "split": {"val_fraction": 0.0, "test_fraction": 0.0},
            "missing": missing or {},
        }
    )


def put(root: Path, *paths: str) -> None:
    for seed, path in enumerate(paths):
        bmp(root / path, seed)


def bmp(path: Path, seed: int) -> None:
    """All of one size in bytes, and of one time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    Pillow.fromarray(pixels).save(path, "BMP")
    os.utime(path, ns=(0, 0))


def write(tmp_path: Path, text: str, name: str = "labels.csv") -> None:
    (tmp_path / "raw").mkdir(exist_ok=True)
    (tmp_path / "raw" / name).write_text(text, encoding="utf-8")
