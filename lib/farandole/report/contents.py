"""All that a report shows of a run, as plain values: gathered by from_run.py, laid out by html.py."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from farandole.core.dataset.manifest import Manifest


@dataclass(frozen=True)
class WrongImage:
    """An image that the model was wrong about."""

    image: np.ndarray
    """Its pixels, uint8 [height, width, channels], with 1 or 3 channels."""
    id: str
    label: str
    """The name of the class that the image is of."""
    predicted: str
    """The name of the class that the model took it for."""
    confidence: float
    """The probability that the model gave to `predicted`."""


@dataclass(frozen=True)
class TrainImage:
    """An image of the train split, as the model was given it."""

    image: np.ndarray
    """Its pixels, uint8 [height, width, channels], with 1 or 3 channels, augmented as in the first epoch."""
    id: str
    label: str


@dataclass(frozen=True)
class RejectedImage:
    """A record that went to quarantine."""

    image: np.ndarray | None
    """Its pixels, uint8 [height, width, 3], or None where there is nothing to see, or no safe way to show it."""
    id: str
    reason: str
    """One of schema.REASONS."""
    detail: str


@dataclass(frozen=True)
class RunReport:
    """All that the report shows of a run."""

    title: str
    metrics: dict[str, Any]
    """What metrics.json holds: train, and val and test where those splits have rows."""
    history: list[dict[str, Any]]
    """The lines of metrics.jsonl; their steps count from the start of the run."""
    receipts: list[dict[str, Any]]
    """The lines of receipts.jsonl."""
    manifest: Manifest
    """What balanced/, which the run was trained on, holds."""
    config_toml: str
    wrong_images: list[WrongImage]
    versions: dict[str, str]
    """The versions of the installed packages, by name."""
    source: str = ""
    """Where the records come from, for people; empty: not known."""
    clean: Manifest | None = None
    """What clean/, which balanced/ was made from, holds; None where it is not there any more."""
    train_images: list[TrainImage] = field(default_factory=list)
    augmentation: dict[str, Any] = field(default_factory=dict)
    """The keys of [augment] that do something, with their values."""
    rejected_images: list[RejectedImage] = field(default_factory=list)
