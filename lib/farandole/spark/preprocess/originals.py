"""What clean/ remembers of the pictures as the source holds them, in clean/originals beside the data.

The split of a row follows from it, so that other sizes of the same pictures have the same splits. Who takes a picture
over from the old clean/ does not read its file, and asks here.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from farandole.core.dataset.manifest import FileEntry
from farandole.core.dataset.parquet import open_unlisted, write_file
from farandole.core.dataset.schema import SPLITS

ORIGINALS = pa.schema(
    [
        pa.field("split", pa.int8(), nullable=False),  # index into SPLITS
        pa.field("original", pa.int64(), nullable=False),  # of fingerprint.original_hash
    ]
)
"""Columns of clean/originals/part-N.parquet: for each split the rows of its file N, in their order."""


def write_originals(directory: Path, number: int, rows: pa.Table) -> None:
    """Writes those of files `number` of all splits; rows have the columns of ORIGINALS."""
    write_file(directory, f"originals/part-{number:05d}.parquet", ORIGINALS, [rows.select(ORIGINALS.names)])


def read_originals(directory: Path, entry: FileEntry) -> np.ndarray:
    """Those of the rows of one file of clean/, int64 [n].

    Raises:
        OSError, pa.ArrowException: they cannot be read.
    """
    path = Path(entry.path)
    rows = open_unlisted(directory / "originals" / path.name).read()
    split = SPLITS.index(path.parent.name.removeprefix("split="))
    return rows["original"].filter(pc.equal(rows["split"], split)).to_numpy()
