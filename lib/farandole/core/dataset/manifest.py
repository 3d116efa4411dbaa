"""manifest.json: what a data directory holds. Readers trust it alone, never a directory listing.

It is the last file written, so a directory without one is no data set, and it is validated like any other input:
paths stay inside the directory, counts add up.
"""

import json
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from farandole.core.dataset.sample import ManifestPart, Sample, refuse_other_version
from farandole.core.dataset.schema import REASONS, SCHEMA_VERSION, SIDE_TYPES, SPLITS
from farandole.core.fingerprint import fingerprint
from farandole.errors import DataError

FILE_NAME = "manifest.json"
"""What the manifest is called in the directory of a data set."""


_PROVENANCE = {
    "stage",
    "created_by",
    "config_fingerprint",
    "parent_fingerprint",
    "decode_fingerprint",
    "source",
    "quarantine",
    "input_rows",
    "deduplicated_rows",
    "class_counts_before",
    "even_by",
}


class FileEntry(ManifestPart):
    """One Parquet file."""

    path: str
    """Where the file lies, relative to the manifest's directory, with forward slashes."""
    num_rows: int = Field(ge=0)
    num_bytes: int = Field(ge=0)
    sha256: str
    """Of the whole file, as sha256sum gives it: what a data set is named by. Readers look at its footer and pages."""
    footer_sha256: str
    """Of what ends the file, from the Parquet metadata on; what a reader takes of a page is verified by its CRC32."""
    row_groups: list[int]
    """How many rows each row group of the file has, in order."""

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
            raise ValueError(f"file path {path!r} leads out of the data directory")
        return path

    @model_validator(mode="after")
    def _adds_up(self) -> "FileEntry":
        if sum(self.row_groups) != self.num_rows or any(rows <= 0 for rows in self.row_groups):
            raise ValueError(f"{self.path}: row groups {self.row_groups} do not add up to {self.num_rows} rows")
        return self


class SplitEntry(ManifestPart):
    """One of train, val and test. A split without rows has no files."""

    num_rows: int = Field(ge=0)
    class_counts: dict[str, int]
    """How many rows each class has, in the order of class_names; a class without rows is there with 0."""
    id_checksum: str
    """What core.fingerprint.id_checksum makes of (id, copy) of all rows, as 16 hex digits."""
    files: list[FileEntry]

    @model_validator(mode="after")
    def _adds_up(self) -> "SplitEntry":
        in_files, in_classes = sum(file.num_rows for file in self.files), sum(self.class_counts.values())
        if not self.num_rows == in_files == in_classes:
            raise ValueError(f"{self.num_rows} rows, but {in_files} in files and {in_classes} in classes")
        return self


class Stats(ManifestPart):
    """Mean and standard deviation of a feature over the train split."""

    mean: list[float]
    """Of pixels per channel, on the scale 0 to 255; of a number one."""
    std: list[float]


class Fill(ManifestPart):
    """What took the place of a side column's missing values."""

    policy: str
    statistic: str
    """What it is of the column's values in the train split: mean, median or mode; empty for a constant."""
    value: int | float | str | bool
    """What missing values became. A date is given in days, a timestamp in microseconds, since 1970."""


class Manifest(ManifestPart):
    """A whole data directory."""

    schema_version: int = SCHEMA_VERSION
    stage: str
    """Which stage wrote the data set: preprocess or rebalance."""
    created_by: str
    config_fingerprint: str
    """The fingerprint of the config sections that the stage used."""
    parent_fingerprint: str
    """The fingerprint of what the stage read: the listing of the raw input, or the origin of an older version."""
    decode_fingerprint: str = ""
    """The fingerprint of all that decides the pixels of a picture."""
    source: str = ""
    """Where the raw records were found: data.path."""
    sample: Sample
    """What a row holds."""
    splits: dict[str, SplitEntry]
    """What each of train, val and test holds; all three are there."""
    stats: dict[str, Stats]
    """By input of the sample."""
    quarantine: dict[str, int]
    """How many records were rejected, by reason."""
    input_rows: int
    deduplicated_rows: int
    side_columns: dict[str, str] = Field(default={})
    """The input's columns that were kept, in the order of the files: name -> a key of schema.SIDE_TYPES."""
    fills: dict[str, Fill] = Field(default={})
    """What took the place of missing values, by side column, for those that missing.columns fills or interpolates."""
    class_weights: dict[str, float] = Field(default={})
    """What a row of each class weighs in the loss; empty unless balance.strategy = "weights"."""
    class_counts_before: dict[str, int] = Field(default={})
    """How many rows each class of the train split had before balancing; rebalance alone writes it."""

    even_by: Literal["", "class", "rows"] = ""
    """What differs by at most one row from file to file of a split, where rebalance wrote the files: the rows of any
    one class, or where files and classes are too many for that all rows together."""

    @model_validator(mode="before")
    @classmethod
    def _is_of_this_version(cls, data: Any) -> Any:
        return refuse_other_version(data, SCHEMA_VERSION)

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        if set(self.splits) != set(SPLITS):
            raise ValueError(f"splits {sorted(self.splits)}; expected {sorted(SPLITS)}")
        for name, split in self.splits.items():
            if list(split.class_counts) != self.class_names:
                raise ValueError(f"split {name}: class_counts are not in the order of class_names")
        strange = sorted(set(self.side_columns.values()) - set(SIDE_TYPES))
        if strange:
            raise ValueError(f"unknown types of side columns {strange}; known are {', '.join(SIDE_TYPES)}")
        if list(self.stats) != self.sample.inputs:
            raise ValueError(f"stats of {[*self.stats]}; expected {self.sample.inputs}")
        unknown = set(self.quarantine) - set(REASONS)
        if unknown:
            raise ValueError(f"unknown quarantine reasons {sorted(unknown)}")
        if self.stage == "preprocess":
            kept = sum(split.num_rows for split in self.splits.values())
            placed = kept + sum(self.quarantine.values()) + self.deduplicated_rows
            if placed != self.input_rows:
                raise ValueError(
                    f"{self.input_rows} input rows, but {kept} kept + {sum(self.quarantine.values())} quarantined "
                    f"+ {self.deduplicated_rows} deduplicated = {placed}"
                )
        return self

    @property
    def class_names(self) -> list[str]:
        """Of the classes that rows are counted by."""
        return self.sample.class_names

    def row_bytes(self, *splits: str) -> int:
        """What a row of these splits takes in files: of raw features no matter of these, else the mean, at least 1."""
        if self.sample.is_raw:
            return self.sample.num_bytes
        files = [file for split in splits for file in self.splits[split].files]
        return max(sum(file.num_bytes for file in files) // max(sum(file.num_rows for file in files), 1), 1)

    def fingerprint(self) -> str:
        """Names what can be read of this data set, to the last byte: the SHA-256 of every file is in it.

        Where the rows came from, and what was rejected, is not: by other ways to the same rows the same is trained.
        """
        return fingerprint(self.model_dump(mode="json", exclude=_PROVENANCE))

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


def read_manifest(directory: Path) -> Manifest:
    """Reads and validates directory/manifest.json, and checks that every file it lists is there with its size.

    Raises:
        DataError: there is no manifest, it is malformed, or a file is missing, of another size, or a symbolic link.
    """
    path = directory / FILE_NAME
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: {directory} is not a finished data set") from error
    except ValidationError as error:
        raise DataError(
            f"{path} is not a valid manifest: {error.errors()[0]['msg']}; remove {directory} and run again"
        ) from error
    for split in manifest.splits.values():
        for entry in split.files:
            _check_file(directory, entry)
    return manifest


def _check_file(directory: Path, entry: FileEntry) -> None:
    path = directory / entry.path
    remedy = f"remove {directory} and run again"
    if path.is_symlink() or not path.resolve().is_relative_to(directory.resolve()):
        raise DataError(f"{path} is a symbolic link or leads out of {directory}; refused; {remedy}")
    try:
        num_bytes = path.stat().st_size
    except FileNotFoundError as error:
        raise DataError(f"{path} is listed in the manifest but does not exist; {remedy}") from error
    if num_bytes != entry.num_bytes:
        raise DataError(f"{path} has {num_bytes} bytes, the manifest says {entry.num_bytes}; {remedy}")
