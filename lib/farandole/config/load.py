"""One TOML file per pipeline, validated by typed models; unknown keys are refused with the nearest name.

    config = load_config("conf/digits.toml", ["train.epochs=3"])

The docstring under each field is its documentation: `spark-submit jobs/train.py --help` prints them.
"""

import difflib
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from farandole.config.data import ColumnPolicy, Data, Missing, Section
from farandole.config.location import Location
from farandole.config.train import Augment, Evaluate, Model, Train
from farandole.errors import ConfigError


class Paths(Section):
    work: Location = Field(default="work", min_length=1, validate_default=True)
    """Directory under which everything is written: clean/, balanced/, runs/. All executors must see it at this path."""


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


class Split(Section):
    val_fraction: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the records that are not in a given split to hold out for validation; 0 for none."""
    test_fraction: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share to hold out for testing; not used where the input has a test split of its own."""
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _leaves_train(self) -> "Split":
        if self.val_fraction + self.test_fraction >= 1.0:
            raise ValueError(
                f"split.val_fraction + split.test_fraction must be below 1 so that train rows remain; "
                f"received {self.val_fraction} + {self.test_fraction}"
            )
        return self


class Balance(Section):
    strategy: Literal["none", "oversample", "undersample", "weights"] = "none"
    """none: as it is. oversample: repeat rare classes up to the largest. undersample: cut all to the rarest.
    weights: rows as they are, class weights in the loss."""
    max_repeats: int = Field(default=10, ge=1)
    """With oversample: no image is repeated more often than this."""
    seed: int = Field(default=0, ge=0)


class Layout(Section):
    rows_per_row_group: int = Field(default=256, ge=1)
    """Upper bound; the row groups of a file differ by at most one row."""
    num_files: int = Field(default=0, ge=0)
    """Files of the train split; val and test get the same rows per file. 0: as many as give files of about 64 MB."""
    rewrite: Literal["always", "auto"] = "always"
    """always: equal files in a global shuffle. auto: the files of clean/ stay as they are where no row is added or
    dropped, they are even within 25% and large enough, and their labels are mixed; it says what it does and why."""


class Pipeline(Section):
    run_missing_stages: bool = True
    """Whether a job whose input is missing or stale first runs the job before it."""


class Config(Section):
    """A whole pipeline, validated. Sections are TOML tables of the same names."""

    paths: Paths = Field(default_factory=Paths)  # where the user is when the config is loaded
    data: Data = Data()
    image: Image = Image()
    missing: Missing = Missing()
    split: Split = Split()
    balance: Balance = Balance()
    layout: Layout = Layout()
    augment: Augment = Augment()
    model: Model = Model()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    pipeline: Pipeline = Pipeline()

    @model_validator(mode="after")
    def _columns_of_a_table(self) -> "Config":
        has_table = self.data.source == "table" or self.data.label_table
        if not has_table and (self.data.keep_columns or self.missing.columns):
            raise ValueError(
                f"data.keep_columns and missing.columns are for tables, but data.source is {self.data.source!r}; "
                f"received {[*self.data.keep_columns, *self.missing.columns]}"
            )
        return self

    @model_validator(mode="after")
    def _rows_are_named(self) -> "Config":
        if self.layout.rewrite == "auto" and self.train.reader == "petastorm":
            raise ValueError(
                f"train.reader = {self.train.reader!r} needs the columns that only a rewritten balanced/ has; "
                f"received layout.rewrite = {self.layout.rewrite!r}; set it to always"
            )
        return self

    @model_validator(mode="after")
    def _shift_stays_inside(self) -> "Config":
        side = min(self.image.height, self.image.width)
        if self.augment.translate_pixels >= side:
            raise ValueError(
                f"augment.translate_pixels must be below the shorter side of the images, {side}; "
                f"received {self.augment.translate_pixels}"
            )
        return self

    @model_validator(mode="after")
    def _views_stay_inside(self) -> "Config":
        side = min(self.image.height, self.image.width)
        if self.evaluate.views == "mirrored_shifted" and side < 2:
            raise ValueError(
                f"evaluate.views 'mirrored_shifted' needs images of 2 pixels or more; received {side}; "
                f"set it to mirrored or plain"
            )
        return self

    @property
    def work(self) -> Path:
        return Path(self.paths.work)


def load_config(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Config:
    """Reads a TOML file and applies `section.key=value` overrides; values are TOML, bare words are strings.

    Raises:
        ConfigError: the file is missing or not TOML, a key is unknown, or a value has the wrong type or range.
    """
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read config {str(path)!r}: {error.strerror}; give one with --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {str(path)!r} is not TOML: {error}") from error
    for override in overrides:
        _apply_override(tables, override)
    return parse_config(tables)


def parse_config(tables: dict[str, Any]) -> Config:
    """Validates plain tables, as read from TOML or JSON.

    Raises:
        ConfigError: names every bad key, what was received, and for an unknown key the nearest known one.
    """
    try:
        return Config.model_validate(tables)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(item) for item in error.errors())) from error


def _apply_override(tables: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    *sections, key = name.strip().split(".")
    if not equals or not sections or not key:
        raise ConfigError(f"--set expects section.key=value, received {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    table: Any = tables
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {override!r}: {section!r} is a value, not a table")
    table[key] = value


def _explain(item: Any) -> str:
    name = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        known = _known_keys(item["loc"][:-1])
        nearest = difflib.get_close_matches(str(item["loc"][-1]), known, n=1, cutoff=0.4)
        prefix = ".".join(str(part) for part in item["loc"][:-1])
        hint = f"did you mean {f'{prefix}.{nearest[0]}' if prefix else nearest[0]}?" if nearest else ""
        return f"unknown key {name!r}; {hint or 'known are ' + ', '.join(known)}"
    if item["type"] == "location":  # its text holds what was received
        return f"{name} {item['msg']}"
    if item["type"] == "value_error":  # raised by a validator of ours, whose text names the key
        return str(item["ctx"]["error"])
    return f"{name}: {item['msg']}; received {item['input']!r}"


def _known_keys(sections: tuple[Any, ...]) -> list[str]:
    model: Any = Config
    for section in sections:
        # Below missing.columns stand names that the user chose.
        model = ColumnPolicy if model is Missing else model.model_fields[section].annotation
        if model is ColumnPolicy:
            break
    return list(model.model_fields)


def describe_keys() -> str:
    """Every config key with its default and its meaning, for --help."""
    lines = []
    for section, table in Config.model_fields.items():
        lines.append(f"[{section}]")
        for key, field in table.annotation.model_fields.items():  # type: ignore[union-attr]
            meaning = " ".join((field.description or "").split())
            lines.append(f"  {key} = {field.default!r}" + (f"    {meaning}" if meaning else ""))
    return "\n".join(lines)
