"""Config tables of preprocess: [data], [missing], [image] and [split]."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from farandole.config.location import Location, absolute
from farandole.config.section import Section


class Data(Section):
    source: Literal["digits", "folder", "table"] = "digits"
    """digits: scikit-learn's bundled 1,797 handwritten digits. folder: SPLIT/CLASS/FILE or CLASS/FILE in data.path.
    table: Parquet files in data.path, in folders like date=2026-01-31/ or not."""
    path: Location = ""
    """The folder that holds the images, or the table. All executors must see it at this path."""
    label_table: str = ""
    """Of a folder: CSV with a header, JSON with an object per line, or Parquet; absolute, or relative to data.path.
    Labels and splits then come from its columns, whatever the folders are called."""
    image_column: str = "image"
    """Of a table: encoded images as binary, or as `bytes` in a struct, or pixels: lists of numbers, or raw bytes. What
    lies in a struct is called by its path, as image.bytes; a folder's KEY=VALUE is a column, too.
    Of a label table: the path of the image's file, relative to data.path."""
    label_column: str = "label"
    """Of a table: strings, booleans, or whole numbers of any type."""
    id_column: str = ""
    """Of a table: integers or strings, each once. Empty: the file's path below data.path, "#", the row in the file;
    with a label table the path of the image's file."""
    split_column: str = ""
    """Of a table or label table: train, val, test, or null for rows that are not split yet. Empty: none is."""
    keep_columns: list[str] = Field(default=[])
    """Of a table or label table: further columns that go with each image into clean/ and balanced/."""
    pixel_shape: list[int] = Field(default=[])
    """Of pixels, in a list or as raw bytes: [height, width] or [height, width, channels]; the last axis varies fastest.
    Lists of lists have it by themselves."""

    pixel_scale: float = Field(default=0.0, ge=0.0)
    """The number that is white, in lists and in files of floats or 16 bits: 1, 255, 4095. 0: what all pictures hold
    decides, 1 or 255 for floats, 255 to 65535 for 16 bits; it is said in a line. Given, it saves decoding anew."""
    max_quarantine_fraction: float = Field(default=1.0, ge=0.0, le=1.0)
    """A larger share of quarantined records than this ends a job with exit code 3, after preprocess has written them to
    clean/ID/quarantine."""

    @field_validator("label_table")
    @classmethod
    def _beside_the_images(cls, table: str, info: ValidationInfo) -> str:
        folder = info.data.get("path")
        return absolute(table, base=folder) if folder else table

    @model_validator(mode="after")
    def _path_given(self) -> "Data":
        if self.source in ("folder", "table") and not self.path:
            raise ValueError(
                f"data.path is empty but data.source is {self.source!r}; give the folder: --set data.path=DIR"
            )
        if self.path and self.source == "digits":
            raise ValueError(
                f"data.path is given but data.source is 'digits', which reads nothing there; received {self.path!r}; "
                f"set data.source to folder or table: --set data.source=folder"
            )
        if self.label_table and self.source != "folder":
            raise ValueError(
                f"data.label_table stands beside a folder of images, but data.source is {self.source!r}; "
                f"received {self.label_table!r}"
            )
        if self.label_table and not self.label_table.lower().endswith((".csv", ".json", ".jsonl", ".parquet")):
            raise ValueError(
                f"data.label_table = {self.label_table!r}; expected a .csv, .json, .jsonl or .parquet file"
            )
        if self.pixel_shape and (len(self.pixel_shape) not in (2, 3) or min(self.pixel_shape) < 1):
            raise ValueError(
                f"data.pixel_shape = {self.pixel_shape}; expected [height, width] or [height, width, channels]"
            )
        if self.pixel_shape[2:] not in ([], [1], [3], [4]):
            raise ValueError(
                f"data.pixel_shape = {self.pixel_shape}; channels, 1, 3 or 4 of them, come last: "
                f"[height, width, channels]; transpose the pixels first where theirs come first"
            )
        return self


class ColumnPolicy(Section):
    policy: Literal["keep", "drop", "fill", "interpolate"] = "keep"
    """For nulls and NaN. drop: the row goes to quarantine as missing_value. interpolate: linear along order_by."""
    value: int | float | str | bool | None = None
    """What fill puts in."""
    statistic: Literal["", "mean", "median", "mode"] = ""
    """What fill puts in: of the column's values in the train split. With interpolate: for groups without a value."""
    order_by: str = ""
    """With interpolate: a column of numbers, dates or timestamps. Ties are ordered by id."""
    group_by: list[str] = Field(default=[])
    """With interpolate: only rows that are equal in these columns are neighbours."""

    @model_validator(mode="after")
    def _complete(self) -> "ColumnPolicy":
        if self.policy == "fill" and (self.value is None) == (not self.statistic):
            raise ValueError(
                f'missing.columns: policy = "fill" needs either value or statistic; '
                f"received value = {self.value!r} and statistic = {self.statistic!r}"
            )
        if self.policy == "interpolate" and not self.order_by:
            raise ValueError('missing.columns: policy = "interpolate" needs order_by; received none')
        return self


class Missing(Section):
    label: str = "drop"
    """Rows of a table or label table without a label. drop: to quarantine. Else the class that they are given."""
    pixels: Literal["drop", "fill", "interpolate"] = "drop"
    """NaN in pixel lists. drop: the image goes to quarantine. fill: by pixel_value, or the mean of the image's channel.
    interpolate: linear along rows, then along columns for rows that had no pixel left."""
    pixel_value: float | None = Field(default=None, ge=0.0)
    """What fill puts in, on the scale of the image's own numbers."""
    columns: dict[str, ColumnPolicy] = Field(default={})
    """By column of data.keep_columns."""


class Image(Section):
    height: int = Field(default=8, ge=1, le=4096)
    """Pixels, after resizing."""
    width: int = Field(default=8, ge=1, le=4096)
    """Pixels, after resizing."""
    channels: Literal[1, 3] = 3
    """1: grayscale, 3: RGB. Other modes are converted by the rules in core/record/image.py."""
    encoding: Literal["raw", "jpeg"] = "raw"
    """raw: uint8 height x width x channels. jpeg: smaller on disk, slower to read, lossy."""
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    """stretch: ignore the aspect ratio. crop: fill and cut the centre. pad: fit and fill with black."""
    jpeg_quality: int = Field(default=95, ge=1, le=100)
    """Used with encoding = "jpeg"."""
    min_side_pixels: int = Field(default=2, ge=1)
    """Images with a shorter side are quarantined as too_small."""
    max_pixels: int = Field(default=64_000_000, ge=1)
    """Images whose header claims more are quarantined as too_large, before a pixel is decoded."""
    max_file_bytes: int = Field(default=256 * 1024 * 1024, ge=1)
    """Files that are larger are quarantined as too_large, before they are read."""
    reject_blank: bool = True
    """Whether images of a single colour are quarantined as blank."""

    @property
    def num_bytes(self) -> int:
        """Of an image as pixels."""
        return self.height * self.width * self.channels


class Inputs(Section):
    inputs: list[str] = Field(default=["image"])
    """What a model is given: "image", and columns of data.keep_columns that hold numbers or booleans. These are scaled
    to mean 0 and deviation 1 by the train split; missing.columns says what becomes of missing ones, as none may be."""

    @field_validator("inputs")
    @classmethod
    def _image_first(cls, inputs: list[str]) -> list[str]:
        if inputs[:1] != ["image"] or len(set(inputs)) < len(inputs):
            raise ValueError(f'sample.inputs begins with "image" and names each further column once; received {inputs}')
        return inputs


class Split(Section):
    val_fraction: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the records that are not in a given split to hold out for validation; 0 for none."""
    test_fraction: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share to hold out for testing; not used where the input has a test split of its own."""
    seed: int = Field(default=0, ge=0)
    group_column: str = ""
    """Of a table or label table: rows that are equal in it, such as those of a patient or a video, go to one split. It
    is kept as those of data.keep_columns are. Empty, or null in a row: each picture is drawn by itself."""
    min_rows_per_class: int = Field(default=1, ge=1)
    """A class with fewer rows, of all splits together, ends the job with exit code 3 before pictures are written. Of
    every class one row at least stays in train, unless all of them were given as val or test."""

    @model_validator(mode="after")
    def _leaves_train(self) -> "Split":
        if self.val_fraction + self.test_fraction >= 1.0:
            raise ValueError(
                f"split.val_fraction + split.test_fraction must be below 1 so that train rows remain; "
                f"received {self.val_fraction} + {self.test_fraction}"
            )
        return self
