"""Config tables of the jobs around training: [paths], [pipeline] and [evaluate]."""

from typing import Literal

from pydantic import Field

from farandole.config.location import RUN_NAME, Location
from farandole.config.section import Section


class Paths(Section):
    work: Location = Field(default="work", min_length=1, validate_default=True)
    """Directory under which everything is written: clean/ID/, balanced/ID/, runs/RUN/. All executors must see it at
    this path."""


class Pipeline(Section):
    run_missing_stages: bool = True
    """Whether a job whose input is missing or stale first runs the job before it."""
    check_source: bool = True
    """Whether jobs list the raw data first, to see whether these have changed. false: the newest version of clean/ that
    was made with the same settings is taken as it is; so it is, too, when data.path is not there any more."""
    keep_versions: int = Field(default=2, ge=1)
    """How many versions of clean/, and how many of balanced/, stay when there is a new one. What a process reads, or an
    unfinished run was made from, always stays."""


class Evaluate(Section):
    run: str = Field(default="", pattern=rf"^({RUN_NAME})?$")
    """Which finished run is evaluated: its name under runs/. Empty: the one that the same config trains."""
    name: str = Field(default="", pattern=rf"^({RUN_NAME})?$")
    """Directory under runs/RUN/evaluation/. Empty: a fingerprint of settings, model and data."""
    batch_size: int = Field(default=256, ge=1)
    """Rows per forward pass. Batches do not depend on the number of ranks, so figures do not either."""
    views: Literal["plain", "mirrored", "mirrored_shifted"] = "plain"
    """Test-time augmentation, on all splits that are evaluated: the mean logits of several views of each image.
    mirrored: of it and its mirror image. mirrored_shifted: half of these, a quarter each of the same one pixel up and
    left, and down and right."""
    min_test_accuracy: float = Field(default=0.0, ge=0.0, le=1.0)
    """A run whose test accuracy is below this ends with exit code 5."""
    num_wrong_images: int = Field(default=24, ge=0)
    """How many of the most confidently wrong test images the report shows."""
