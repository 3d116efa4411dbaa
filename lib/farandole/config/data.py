"""Config tables that say what the input is and what to do about what it lacks: [data] and [missing]."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from farandole.config.location import Location, absolute


class Section(BaseModel):
    """Base of all tables: frozen, no unknown keys, no silent conversions, documented by docstrings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class Data(Section):
    source: Literal["digits", "folder", "table"] = "digits"
    """digits: scikit-learn's bundled 1,797 handwritten digits. folder: SPLIT/CLASS/FILE or CLASS/FILE in data.path.
    table: Parquet files in data.path, in folders like date=2026-01-31/ or not."""
    path: Location = ""
    """The folder that holds the images, or the table. All executors must see it at this path."""
    label_table: str = ""
    """Of a folder: a CSV file with a header, or JSON with an object per line; absolute, or relative to data.path.
    Labels and splits then come from its columns, whatever the folders are called."""
    image_column: str = "image"
    """Of a table: encoded images as binary, or pixels as a list of numbers. A folder's KEY=VALUE is a column, too.
    Of a label table: the path of the image's file, relative to data.path."""
    label_column: str = "label"
    """Of a table: integers, or strings."""
    id_column: str = ""
    """Of a table: integers or strings, each once. Empty: the file's path below data.path, "#", the row in the file;
    with a label table the path of the image's file."""
    split_column: str = ""
    """Of a table or label table: train, val, test, or null for rows that are not split yet. Empty: none is."""
    keep_columns: list[str] = []
    """Of a table or label table: further columns that go with each image into clean/ and balanced/."""
    pixel_shape: list[int] = []
    """Of pixel lists: [height, width] or [height, width, channels]; the last axis varies fastest."""

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
        if self.label_table and self.source != "folder":
            raise ValueError(
                f"data.label_table stands beside a folder of images, but data.source is {self.source!r}; "
                f"received {self.label_table!r}"
            )
        if self.label_table and not self.label_table.endswith((".csv", ".json", ".jsonl")):
            raise ValueError(f"data.label_table = {self.label_table!r}; expected a .csv, .json or .jsonl file")
        if self.pixel_shape and (len(self.pixel_shape) not in (2, 3) or min(self.pixel_shape) < 1):
            raise ValueError(
                f"data.pixel_shape = {self.pixel_shape}; expected [height, width] or [height, width, channels]"
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
    """With interpolate: a column of numbers, dates or timestamps. Ties are ordered by image_id."""
    group_by: list[str] = []
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
    columns: dict[str, ColumnPolicy] = {}
    """By column of data.keep_columns."""
