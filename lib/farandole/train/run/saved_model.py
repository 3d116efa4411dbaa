"""A trained model on disk: the architecture by name and arguments, and weights. Loading runs no code from the file."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from farandole.config.data import Image as ImageRules
from farandole.config.train import Model
from farandole.core.dataset.commit import write_text
from farandole.core.dataset.manifest import Manifest
from farandole.core.record.image import RULES_VERSION
from farandole.errors import DataError
from farandole.train.models.build import build_for
from farandole.train.run.checkpoint import assign_variables, load_weights, save_weights, variable_tensors
from farandole.train.run.model_json import SavedModel, read_saved_model

WEIGHTS = "weights.safetensors"
"""What the file of the weights is called, beside model.json."""


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
        sample=manifest.sample,
        image_rules=rules,
        rules_version=RULES_VERSION,
        weights_sha256=sha256,
    )
    write_text(directory / "model.json", json.dumps(saved.model_dump(mode="json"), indent=1) + "\n")


def load_model(directory: Path) -> tuple[Any, SavedModel]:
    """Builds the architecture with our code, and puts the checked weights in.

    Raises:
        DataError: model.json or the weights are missing, malformed or changed.
    """
    saved = read_saved_model(directory)
    tensors = load_weights(directory / WEIGHTS, saved.weights_sha256)
    model = build_for(saved.sample, saved.name, saved.arguments, seed=0, precision=saved.precision)
    assign_variables(model.variables, tensors, "model")
    return model, saved


def load_weights_into(model: Any, directory: Path, class_names: list[str]) -> None:
    """Puts the weights of a saved model into another of the same layers: a warm start.

    The columns of the last layer go to the classes of the same names. Those of classes that the saved model does not
    know stay as they were drawn.

    Args:
        model: with drawn weights.
        directory: of the saved model.
        class_names: of the model's logits.

    Raises:
        DataError: they are missing or changed, or layers differ; names those.
    """
    saved = read_saved_model(directory)
    try:
        tensors = load_weights(directory / WEIGHTS, saved.weights_sha256)
        if saved.sample.class_names != class_names:
            tensors |= _head_by_name(model, tensors, saved.sample.class_names, class_names)
        assign_variables(model.variables, tensors, "model")
    except DataError as error:
        raise DataError(f"train.warm_start from {directory}: {error}") from error


def _head_by_name(
    model: Any, tensors: dict[str, np.ndarray], saved: list[str], wanted: list[str]
) -> dict[str, np.ndarray]:
    """The tensors of the last layer, whose last axis is the classes, for the classes that are wanted."""
    last = [layer for layer in model.layers if layer.variables][-1]
    head = {id(variable) for variable in last.variables}
    kept = [(wanted.index(name), saved.index(name)) for name in wanted if name in saved]
    drawn, found = variable_tensors(model.variables, "model"), {}
    for variable, (name, tensor) in zip(model.variables, drawn.items(), strict=True):
        old = tensors.get(name)
        # What is of another shape besides is refused with the rest.
        if id(variable) in head and old is not None and old.shape == (*tensor.shape[:-1], len(saved)):
            for column, source in kept:
                tensor[..., column] = old[..., source]
            found[name] = tensor
    return found
