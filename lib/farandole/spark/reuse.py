"""Pictures of the data set that is about to be replaced, taken over instead of decoding their files again.

The rule: a picture is taken over from clean/ when it was kept there, its file is listed as before (id, name, size,
time of change, and of a table's file the footer), and clean/ was written by this version and its decoders with the same
[data], [image], [missing] and [split] and holds raw pixels. All other records are decoded, such as those that had an
equal picture in a file that is gone. Everything else, labels, equal pictures, splits, statistics and files, is worked
out anew over all records; so the result is that of a run without the old data set, byte for byte.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from farandole.config import Config
from farandole.core.manifest import FILE_NAME, FileEntry, read_manifest
from farandole.core.parquet import open_file
from farandole.errors import DataError
from farandole.spark.records import LISTING_NAME

MAX_ROWS = 5_000_000
"""Of a listing: the driver compares them at once, in about 1 GB; larger data sets are decoded anew."""
_KEYS = ("image_id", "source", "path", "row_group", "start", "stop", "num_bytes", "footer", "modified_ns")
"""What must be as it was, as far as a listing has it."""


@dataclass(frozen=True)
class OldPictures:
    """What can be taken over."""

    directory: Path
    files: dict[int, list[FileEntry]]
    """By old part."""


def plan_reuse(config: Config, staging: Path, *, config_fingerprint: str, version: str) -> OldPictures:
    """Writes staging/old_parts.parquet: for every row of the new listing the old part that holds it unchanged, or null.

    Args:
        config: whose clean/ is about to be replaced.
        staging: of the new run, with its listing.
        config_fingerprint: of the new run.
        version: what its manifest will be created_by.
    """
    directory = config.work / "clean"
    nothing = OldPictures(directory, {})
    new = pq.ParquetFile(staging / LISTING_NAME)
    if config.image.encoding != "raw" or not (directory / FILE_NAME).exists() or new.metadata.num_rows > MAX_ROWS:
        return nothing
    try:
        manifest, old = read_manifest(directory), pq.ParquetFile(directory / LISTING_NAME)
    except (DataError, OSError, pa.ArrowException):  # nobody needs the old data set: it is about to be replaced
        return nothing
    is_same = (manifest.config_fingerprint, manifest.created_by) == (config_fingerprint, version)
    if not is_same or old.metadata.num_rows > MAX_ROWS:
        return nothing
    files: dict[int, list[FileEntry]] = {}
    for split in manifest.splits.values():
        for entry in split.files:
            files.setdefault(int(Path(entry.path).stem.removeprefix("part-")), []).append(entry)
    _write_old_parts(old, new, staging / "old_parts.parquet")
    return OldPictures(directory, files)


def _write_old_parts(old: pq.ParquetFile, new: pq.ParquetFile, target: Path) -> None:
    sizes = [old.metadata.row_group(part).num_rows for part in range(old.num_row_groups)]
    places = pc.index_in(_keys(new), value_set=_keys(old))
    parts = pa.array(np.repeat(np.arange(len(sizes)), sizes)).take(places)
    start = 0
    with pq.ParquetWriter(target, pa.schema([("part", pa.int64())])) as writer:
        for part in range(new.num_row_groups):
            num_rows = new.metadata.row_group(part).num_rows
            writer.write_table(pa.table({"part": parts.slice(start, num_rows)}), row_group_size=num_rows)
            start += num_rows


def _keys(listing: pq.ParquetFile) -> pa.Array:
    names = [name for name in _KEYS if name in listing.schema_arrow.names]
    table = listing.read(columns=names).combine_chunks()
    return pa.concat_arrays(
        pc.binary_join_element_wise(*(table[name].cast(pa.string()) for name in names), "\0").chunks
    )


class Shelf:
    """What can be taken over into one part; of every old file one row group is in memory."""

    def __init__(self, old: OldPictures, staging: Path, part: int) -> None:
        self.num_found = 0
        self._is_old = np.zeros(0, bool)
        """By a record's position in the part."""
        self._files: list[pq.ParquetFile] = []
        self._places: dict[str, tuple[int, int, int]] = {}
        self._open: dict[int, tuple[int, pa.Array]] = {}
        if not old.files:
            return
        rows = pq.ParquetFile(staging / LISTING_NAME).read_row_group(part)
        parts = pq.ParquetFile(staging / "old_parts.parquet").read_row_group(part)["part"].fill_null(-1).to_numpy()
        # A row of a table's listing stands for many records.
        lengths = rows["stop"].to_numpy() - rows["start"].to_numpy() if "start" in rows.schema.names else 1
        self._is_old = np.repeat(parts >= 0, lengths)
        for entry in (entry for number in np.unique(parts).tolist() for entry in old.files.get(number, ())):
            self._add(old.directory, entry)

    def _add(self, directory: Path, entry: FileEntry) -> None:
        try:
            file = open_file(directory, entry)
        except DataError:  # damaged: its pictures are decoded again
            return
        for group in range(file.num_row_groups):
            ids = file.read_row_group(group, columns=["image_id"])["image_id"].to_pylist()
            self._places |= {name: (len(self._files), group, row) for row, name in enumerate(ids)}
        self._files.append(file)

    def find(self, position: int, image_id: str) -> np.ndarray | None:
        """The pixels of the record at a position of the part, uint8 [n]; None where it has to be decoded."""
        if not (len(self._is_old) and self._is_old[position] and image_id in self._places):
            return None
        number, group, row = self._places[image_id]
        if self._open.get(number, (-1, None))[0] != group:
            try:
                images = self._files[number].read_row_group(group, columns=["image"])["image"].combine_chunks()
            except (OSError, pa.ArrowException):  # damaged since it was opened
                return None
            self._open[number] = (group, images)
        self.num_found += 1
        return np.frombuffer(self._open[number][1][row].as_buffer(), np.uint8)
