"""model.json: what a saved model is, beside its weights. Needs neither TensorFlow nor Keras."""

from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError, model_validator

from farandole.config.data import Image as ImageRules
from farandole.config.train import Model
from farandole.core.dataset.sample import ManifestPart, Sample, refuse_other_version
from farandole.errors import ConfigError, DataError
from farandole.log import first_few
from farandole.train.models.limits import LIMITS, check_model


class SavedModel(ManifestPart):
    """What model.json says of a model, whose weights lie beside it."""

    schema_version: Literal[2] = 2
    name: str
    """Which model it is, as a key of MODELS in train/models/build.py."""
    arguments: dict[str, Any]
    precision: str
    sample: Sample
    """What the model is given and asked for."""
    image_rules: ImageRules | None = None
    """How a picture is decoded for this model: core.record.image.decode(bytes, image_rules) gives what it was
    trained on. None in models of versions that did not keep it."""
    rules_version: int | None = None
    """What core.record.image.RULES_VERSION was when the model was saved."""
    weights_sha256: str

    @model_validator(mode="before")
    @classmethod
    def _is_of_this_version(cls, data: Any) -> Any:
        return refuse_other_version(data, 2)


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


def read_warm_start(directory: Path) -> SavedModel:
    """model.json of the model that train.warm_start names.

    Raises:
        ConfigError: there is none that can be read.
    """
    try:
        return read_saved_model(directory)
    except DataError as error:
        raise ConfigError(
            f"train.warm_start: {error}; give the name of a finished run under runs/, or the path of its directory"
        ) from None


def check_choice(model: Model, image: ImageRules) -> dict[str, Any]:
    """As `check_model`, of what a config chooses."""
    return check_model(model.name, model.arguments, height=image.height, width=image.width)


def check_warm_start(directory: Path, model: Model, image: ImageRules, inputs: list[str]) -> None:
    """Whether the weights of a saved model fit those of another, but for its classes.

    Args:
        directory: model/ of a run.
        model: the one that is to start with them.
        image: what it will be trained on.
        inputs: sample.inputs.

    Raises:
        ConfigError: there is no such run, or its model is another one.
    """
    saved = read_warm_start(directory)
    height, width, channels = saved.sample.features["image"].shape
    size = {"height": height, "width": width}
    theirs: dict[str, Any] = {"model.name": saved.name, **check_model(saved.name, saved.arguments, **size)}
    ours: dict[str, Any] = {"model.name": model.name, **check_choice(model, image)}
    theirs |= {"image.channels": channels, "sample.inputs": saved.sample.inputs}
    ours |= {"image.channels": image.channels, "sample.inputs": inputs}
    if not LIMITS[model.name].takes_any_size:
        theirs |= {"image.height": height, "image.width": width}
        ours |= {"image.height": image.height, "image.width": image.width}
    keys = {**theirs, **ours}
    differ = [f"{key} {theirs.get(key)} -> {ours.get(key)}" for key in keys if theirs.get(key) != ours.get(key)]
    if differ:
        raise ConfigError(
            f"train.warm_start: the weights in {directory} belong to another model: {', '.join(differ)}; "
            f"set these as they were, or leave train.warm_start out"
        )


def describe_classes(saved: list[str], wanted: list[str]) -> str:
    """Which classes go on with the weights of a saved model, which start with drawn ones, and which are left out."""
    new = [name for name in wanted if name not in saved]
    gone = [name for name in saved if name not in wanted]
    parts = [f"{len(wanted) - len(new)} of {len(wanted)} classes go on with their weights"]
    parts += [f"with drawn ones start {first_few(new, 10)}"] if new else []
    parts += [f"left out are {first_few(gone, 10)}"] if gone else []
    return ", ".join(parts)
