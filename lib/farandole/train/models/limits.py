"""What each model takes, without TensorFlow: so that a typo is refused before anything long starts.

A test holds the table against the functions in images.py: their names, their defaults, and their smallest images.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from farandole.config.nearest import nearest_name
from farandole.errors import ConfigError


@dataclass(frozen=True)
class Limits:
    """Of one model."""

    arguments: dict[str, Any]
    """Its keyword arguments and their defaults: whole numbers above 0, or lists of them."""
    least_side: Callable[[dict[str, Any]], int]
    """The shorter side of the smallest image that it takes, in pixels, for all its arguments."""
    least_length: int = 0
    """Of its lists."""
    takes_any_size: bool = False
    """Whether its weights do not depend on the size of the images: it pools over all that is left of them."""


LIMITS: dict[str, Limits] = {
    "simple_cnn": Limits({"filters": [32, 64, 64], "hidden_units": 64}, lambda arguments: 1),
    "mlp": Limits({"hidden_units": [128]}, lambda arguments: 1),
    # Each width but the first halves the sides.
    "resnet9": Limits(
        {"filters": [64, 128, 256, 512]},
        lambda arguments: 2 ** (len(arguments["filters"]) - 1),
        least_length=1,
        takes_any_size=True,
    ),
    # 2x2 patches take a pixel, and each width halves the sides.
    "whitened_cnn": Limits(
        {"filters": [64, 256, 256]}, lambda arguments: 2 ** len(arguments["filters"]) + 1, takes_any_size=True
    ),
}


def check_model(name: str, arguments: dict[str, Any], *, height: int, width: int) -> dict[str, Any]:
    """All arguments of a model, those that are left out with their defaults.

    Args:
        name: of the model.
        arguments: its keyword arguments.
        height, width: of the images, in pixels.

    Raises:
        ConfigError: no such model, it does not take these arguments, or the images are too small for it.
    """
    limits = LIMITS.get(name)
    if limits is None:
        raise ConfigError(f"model.name must be one of {', '.join(LIMITS)}; received {name!r}")
    for unknown in sorted(set(arguments) - set(limits.arguments)):
        nearest = nearest_name(unknown, [*limits.arguments])
        hint = f"; did you mean {nearest}?" if nearest else ""
        raise ConfigError(f"model.arguments of {name} are {', '.join(limits.arguments)}; received {unknown}{hint}")
    complete = {**limits.arguments, **arguments}
    for key, value in complete.items():
        _check_value(f"model.arguments.{key} of {name}", value, limits.arguments[key], limits.least_length)
    least = limits.least_side(complete)
    if min(height, width) < least:
        raise ConfigError(
            f"{name} with these model.arguments takes images of {least} pixels a side or more; received image.height "
            f"{height} and image.width {width}; enlarge them, or take fewer filters"
        )
    return complete


def _check_value(what: str, value: Any, default: Any, least_length: int) -> None:
    if not isinstance(default, list):
        if not _is_count(value):
            raise ConfigError(f"{what} is a whole number above 0; received {value!r}")
    elif not isinstance(value, list | tuple) or not all(map(_is_count, value)) or len(value) < least_length:
        length = f", {least_length} or more" if least_length else ""
        raise ConfigError(f"{what} is a list of whole numbers above 0{length}, as {default}; received {value!r}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
