"""What a run must reach: the figures that a config asks for, held against those that were measured."""

import json
from pathlib import Path

from farandole.config.jobs import Evaluate
from farandole.errors import GateError


def check_gate(wanted: Evaluate, metrics_file: Path) -> None:
    """Holds the test accuracy in a metrics.json against evaluate.min_test_accuracy.

    Raises:
        GateError: it is lower, or there is no test split to tell.
    """
    least = wanted.min_test_accuracy
    test = json.loads(metrics_file.read_text(encoding="utf-8")).get("test")
    if least and test is None:
        raise GateError(f"evaluate.min_test_accuracy is {least}, but there are no test rows; set split.test_fraction")
    if least and test["accuracy"] < least:
        raise GateError(
            f"test accuracy {test['accuracy']:.4f} is below evaluate.min_test_accuracy {least}; "
            f"train longer or otherwise, or lower the gate"
        )
