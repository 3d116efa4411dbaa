import math

import pytest

from farandole.core.plan.schedule import learning_rate
from farandole.errors import ConfigError


def rates(schedule: str, warmup_steps: int = 0) -> list[float]:
    return [
        learning_rate(step, base_rate=0.8, schedule=schedule, num_steps=8, warmup_steps=warmup_steps)
        for step in range(9)
    ]


def test_constant_and_linear_and_cosine_by_hand():
    assert rates("constant") == [0.8] * 9
    assert rates("linear") == pytest.approx([0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])
    assert rates("cosine") == pytest.approx([0.4 * (1 + math.cos(math.pi * step / 8)) for step in range(9)])


def test_warmup_rises_to_the_base_rate_and_the_fall_starts_after_it():
    assert rates("linear", warmup_steps=4) == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.6, 0.4, 0.2, 0.0])


def test_unknown_schedule_is_refused():
    with pytest.raises(ConfigError, match="must be one of constant, linear, cosine; received 'step'"):
        rates("step")
