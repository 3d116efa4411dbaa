"""A hint is given where one name was probably meant."""

import pytest

from farandole.config.nearest import nearest_name

KEYS = ["learning_rate", "epochs", "warmup_epochs", "global_batch_size", "momentum", "image", "Price"]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("epoch", "epochs"),
        ("Learning_Rate", "learning_rate"),
        ("lr", "learning_rate"),
        ("rate", "learning_rate"),
        ("batch_size", "global_batch_size"),
        ("price", "Price"),
        ("optimizer", None),
        ("nope", None),
        ("", None),
    ],
)
def test_names(name: str, nearest: str | None) -> None:
    assert nearest_name(name, KEYS) == nearest
