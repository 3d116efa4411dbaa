"""What a run must reach: the figures that a config asks for, held against those that were measured."""

import json
from pathlib import Path

from farandole.config.jobs import Evaluate
from farandole.core.dataset.manifest import Manifest
from farandole.errors import GateError


def check_measurable(wanted: Evaluate, manifest: Manifest) -> None:
    """Whether the test accuracy, if one is asked for, can be told at all: before hours of training rather than after.

    Raises:
        GateError: there is no test split.
    """
    if wanted.min_test_accuracy and not manifest.splits["test"].num_rows:
        raise GateError(
            f"evaluate.min_test_accuracy is {wanted.min_test_accuracy}, but there are no test rows; "
            f"set split.test_fraction"
        )


def check_gate(wanted: Evaluate, metrics_file: Path) -> None:
    """Holds the test accuracy in a metrics.json of data that are `check_measurable` against evaluate.min_test_accuracy.

    Raises:
        GateError: it is lower.
    """
    least = wanted.min_test_accuracy
    accuracy = least and json.loads(metrics_file.read_text(encoding="utf-8"))["test"]["accuracy"]
    if accuracy < least:
        raise GateError(
            f"test accuracy {accuracy:.4f} is below evaluate.min_test_accuracy {least}; "
            f"train longer or otherwise, or lower the gate"
        )
