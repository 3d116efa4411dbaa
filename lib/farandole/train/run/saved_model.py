"""A trained model on disk: the architecture by name and arguments, and weights. Loading runs no code from the file."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from farandole.config.data import Image as ImageRules
from farandole.config.train import Model
from farandole.core.dataset.commit import write_text
from farandole.core.dataset.manifest import ImageEntry, Manifest
from farandole.core.record.image import RULES_VERSION
from farandole.errors import DataError
from farandole.train.models.build import build_model
from farandole.train.run.checkpoint import assign_variables, load_weights, save_weights, variable_tensors

WEIGHTS = "weights.safetensors"
"""What the file of the weights is called, beside model.json."""


class SavedModel(BaseModel):
    """What model.json says of a model, whose weights lie beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    schema_version: Literal[1] = 1
    name: str
    """Which model it is, as a key of MODELS in train/models/build.py."""
    arguments: dict[str, Any]
    precision: str
    image: ImageEntry
    image_rules: ImageRules | None = None
    """How a picture is decoded for this model: core.record.image.decode(bytes, image_rules) gives what it was
    trained on. None in models of versions that did not keep it."""
    rules_version: int | None = None
    """What core.record.image.RULES_VERSION was when the model was saved."""
    class_names: list[str]
    weights_sha256: str


def save_model(
    directory: Path, model: Any, *, chosen: Model, precision: str, rules: ImageRules, manifest: Manifest
) -> None:
    """Writes weights, then model.json with their SHA-256.

    Args:
        directory: of the model.
        model: with the weights.
        chosen: how the config names it.
        precision: train.precision.
        rules: how the pictures were decoded that it was trained on.
        manifest: of the data set that it was trained on.
    """
    sha256 = save_weights(directory / WEIGHTS, variable_tensors(model.variables, "model"))
    saved = SavedModel(
        name=chosen.name,
        arguments=chosen.arguments,
        precision=precision,
        image=manifest.image,
        image_rules=rules,
        rules_version=RULES_VERSION,
        class_names=manifest.class_names,
        weights_sha256=sha256,
    )
    write_text(directory / "model.json", json.dumps(saved.model_dump(mode="json"), indent=1) + "\n")


def read_saved_model(directory: Path) -> SavedModel:
    """model.json of a saved model.

    Raises:
        DataError: it is missing or malformed.
    """
    path = directory / "model.json"
    try:
        return SavedModel.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise DataError(f"{path} cannot be read: {reason}") from error


def load_model(directory: Path) -> tuple[Any, SavedModel]:
    """Builds the architecture with our code, and puts the checked weights in.

    Raises:
        DataError: model.json or the weights are missing, malformed or changed.
    """
    saved = read_saved_model(directory)
    tensors = load_weights(directory / WEIGHTS, saved.weights_sha256)
    model = build_model(
        saved.name,
        saved.arguments,
        image_shape=(saved.image.height, saved.image.width, saved.image.channels),
        num_classes=len(saved.class_names),
        seed=0,
        precision=saved.precision,
    )
    assign_variables(model.variables, tensors, "model")
    return model, saved


def load_weights_into(model: Any, directory: Path) -> None:
    """Puts the weights of a saved model into another of the same layers: a warm start.

    Raises:
        DataError: they are missing or changed, or layers differ; names those.
    """
    saved = read_saved_model(directory)
    try:
        assign_variables(model.variables, load_weights(directory / WEIGHTS, saved.weights_sha256), "model")
    except DataError as error:
        raise DataError(f"train.warm_start from {directory}: {error}") from error
