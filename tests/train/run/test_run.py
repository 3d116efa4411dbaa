"""What a run makes of its configuration; runs as a whole are tested in tests/distributed and tests/jobs."""

from types import SimpleNamespace
from typing import Any

import pytest

from farandole.config.load import parse_config
from farandole.train.run.run import Run


def rates(**train: float) -> list[float]:
    """The learning rates of a run of two epochs of two steps."""
    config = parse_config({"train": {"learning_rate": 0.1, "global_batch_size": 256, **train}})
    run: Any = SimpleNamespace(train=config.train, total_steps=4, steps_per_epoch=2)
    return [Run.learning_rate(run, step) for step in range(4)]


def test_the_learning_rate_is_scaled_with_the_batch_after_the_warmup():
    assert rates() == pytest.approx([0.1] * 4)
    assert rates(base_batch_size=64) == pytest.approx([0.4] * 4)
    assert rates(base_batch_size=512) == pytest.approx([0.05] * 4)
    assert rates(base_batch_size=64, warmup_epochs=1) == pytest.approx([0.2, 0.4, 0.4, 0.4])
