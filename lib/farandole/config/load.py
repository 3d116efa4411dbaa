"""One TOML file per pipeline, validated by typed models; unknown keys are refused with the nearest name.

    config = load_config("conf/digits.toml", ["train.epochs=3"])

The docstring under each field is its documentation: `spark-submit jobs/train.py --help` prints them.
"""

import os
import tomllib
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from farandole.config.data import ColumnPolicy, Data, Image, Inputs, Missing, Split
from farandole.config.jobs import Evaluate, Paths, Pipeline
from farandole.config.layout import Balance, Layout
from farandole.config.nearest import nearest_name
from farandole.config.section import Section
from farandole.config.train import Augment, Model, Train
from farandole.errors import ConfigError


class Config(Section):
    """A whole pipeline, validated. Sections are TOML tables of the same names."""

    paths: Paths = Field(default_factory=Paths)  # where the user is when the config is loaded
    data: Data = Data()
    image: Image = Image()
    sample: Inputs = Inputs()
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
    def _groups_are_kept(self) -> "Config":
        name, kept = self.split.group_column, self.data.keep_columns
        if name and self.data.source != "table" and not self.data.label_table:
            raise ValueError(
                f"split.group_column names a column of a table or label table, but data.source is "
                f"{self.data.source!r}; received {name!r}; remove it, or give a data.label_table"
            )
        if name and name not in kept:
            object.__setattr__(self, "data", self.data.model_copy(update={"keep_columns": [*kept, name]}))
        return self

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
    def _inputs_are_kept(self) -> "Config":
        strange = [name for name in self.sample.inputs[1:] if name not in self.data.keep_columns]
        if strange:
            raise ValueError(
                f"sample.inputs names columns that are not kept: {', '.join(strange)}; "
                f"data.keep_columns has {', '.join(self.data.keep_columns) or 'none'}; add them to it"
            )
        return self

    @model_validator(mode="after")
    def _work_outside_of_data(self) -> "Config":
        # What a job writes would be read as data by the next one, whose input would have changed for ever.
        work, source = (Path(os.path.realpath(path)) for path in (self.paths.work, self.data.path))
        if self.data.source != "digits" and work.is_relative_to(source):
            raise ValueError(
                f"paths.work lies inside data.path, where it would be read as data; "
                f"received {self.paths.work!r} and {self.data.path!r}; choose a paths.work outside of it"
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


def load_config(path: str | Path | Traversable | None, overrides: list[str] | tuple[str, ...] = ()) -> Config:
    """Reads a TOML file and applies `section.key=value` overrides; values are TOML, bare words are strings.

    Without a file there are the defaults, and what the overrides say.

    Raises:
        ConfigError: the file is missing or not TOML, a key is unknown, or a value has the wrong type or range.
    """
    try:
        file = Path(path) if isinstance(path, str) else path
        tables = tomllib.loads(file.read_text(encoding="utf-8-sig")) if file else {}  # some editors begin with a mark
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
        *sections, key = (str(part) for part in item["loc"])
        nearest = nearest_name(key, known)
        hint = f"did you mean {'.'.join([*sections, nearest])}?" if nearest else f"known are {', '.join(known)}"
        return f"unknown key {name!r}; {hint}"
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
