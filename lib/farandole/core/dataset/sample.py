"""What one row of a data set holds: its features, and which of them a model is given and is asked for.

Plans, files, receipts and restarts know ids, classes, rows and bytes alone; what else a row holds is told here.
"""

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from farandole.log import first_few


class ManifestPart(BaseModel):
    """A table of manifest.json or model.json."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def refuse_other_version(data: Any, version: int) -> Any:
    """What a "before" validator of a table with a schema_version gives, so that it is the first that is said: of
    another version's fields there is nothing to say. ValueError names both."""
    found = data.get("schema_version", version) if isinstance(data, dict) else version
    if found != version:
        raise ValueError(f"schema_version {found}; this farandole reads {version}")
    return data


class Feature(ManifestPart):
    """One column of the files, and one array of a batch."""

    dtype: Literal["uint8", "int32", "int64", "float32"]
    shape: list[int] = Field(default=[])
    """Of one row; none of a single number."""
    encoding: Literal["", "jpeg"] = ""
    """In which the files have it, if not as its bytes."""

    @model_validator(mode="after")
    def _consistent(self) -> "Feature":
        if self.encoding and (self.dtype != "uint8" or len(self.shape) != 3):
            raise ValueError(f"{self.encoding} holds uint8 [height, width, channels]; received {self}")
        return self

    def __str__(self) -> str:
        return " ".join([self.dtype, *(["x".join(map(str, self.shape))] if self.shape else [])])

    @property
    def stored(self) -> Literal["value", "raw", "jpeg"]:
        """How a file has it: as a number, as its bytes in the order of C, or encoded."""
        return self.encoding or ("raw" if self.shape else "value")

    @property
    def num_bytes(self) -> int:
        """Of one row in a batch."""
        return math.prod(self.shape) * {"uint8": 1, "int32": 4, "int64": 8, "float32": 4}[self.dtype]


class Sample(ManifestPart):
    """One row, without what every row has: its id, its place, and side columns."""

    features: dict[str, Feature]
    """By column, in the order of the files."""
    inputs: list[str]
    """The features that a model is given."""
    targets: list[str]
    """The features that its loss is given besides."""
    class_names: list[str]
    """Of the first target, which holds indices into them: rows are balanced and counted by it."""

    @model_validator(mode="after")
    def _consistent(self) -> "Sample":
        strange = sorted({*self.inputs, *self.targets} - set(self.features))
        if strange or not self.inputs or not self.targets:
            raise ValueError(
                f"inputs {self.inputs} and targets {self.targets} are not all among features {[*self.features]}"
            )
        if self.features[self.classes] != Feature(dtype="int32"):
            raise ValueError(f"target {self.classes!r} holds no classes: {self.features[self.classes]}")
        return self

    def __str__(self) -> str:
        shown = [f"{name} {self.features[name]}" for name in self.inputs]
        return f"{', '.join(shown)} and {self.classes} of {first_few(self.class_names, 10)}"

    def is_like(self, other: "Sample") -> bool:
        """Whether a model sees no difference: in what way the files have the features is no matter."""

        def seen(one: Sample) -> tuple[object, ...]:
            features = {name: (feature.dtype, feature.shape) for name, feature in one.features.items()}
            return features, one.inputs, one.targets, one.class_names

        return seen(self) == seen(other)

    @property
    def classes(self) -> str:
        """The feature that class_names are the names of."""
        return self.targets[0]

    @property
    def numbers(self) -> list[str]:
        """The inputs that are one number each."""
        return [name for name in self.inputs if name not in self.large]

    @property
    def large(self) -> dict[str, Feature]:
        """The features that are more than a number."""
        return {name: feature for name, feature in self.features.items() if feature.stored != "value"}

    @property
    def num_bytes(self) -> int:
        """Of a row's large features in a batch."""
        return sum(feature.num_bytes for feature in self.large.values())

    @property
    def is_raw(self) -> bool:
        """Whether every row takes the same in a file."""
        return all(feature.stored == "raw" for feature in self.large.values())
