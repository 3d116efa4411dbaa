"""Config tables of training: [augment], [model] and [train]."""

import re
from ipaddress import IPv4Network
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from farandole.config.location import RUN_NAME, RunOrPath
from farandole.config.section import Section


class Augment(Section):
    """What is done to the images of the train split, anew in every epoch. On tensors: nothing on disk changes."""

    flip: Literal["none", "random", "alternate"] = "none"
    """Mirror left to right. random: half of the images. alternate: each image in every other epoch."""
    translate_pixels: int = Field(default=0, ge=0, le=4095)
    """Shift by up to so many pixels, up or down and left or right; the border is filled by reflection."""
    cutout_pixels: int = Field(default=0, ge=0, le=4096)
    """Side of a square of the mean colour that covers a random place."""


class Model(Section):
    name: Literal["simple_cnn", "mlp", "resnet9", "whitened_cnn"] = "simple_cnn"
    arguments: dict[str, Any] = Field(default={})
    """Keyword arguments of the model's function in train/models/images.py."""


class Train(Section):
    num_ranks: int = Field(default=2, ge=1)
    """Horovod processes, one per Spark slot. The batches, hence what is learnt, do not depend on it."""
    min_ranks: int = Field(default=0, ge=0)
    """Start, and restart after a loss, with as few ranks as this where the cluster has no slots for num_ranks.
    0: always num_ranks, since only equal numbers of ranks give equal weights to the bit."""
    executors_wait_seconds: float = Field(default=600.0, ge=0.0)
    """How long the first start waits for executors that YARN or Kubernetes was asked for and has not brought yet, as
    where nodes are added on demand. Elsewhere, and where too few were asked for, the first start waits 5 s."""
    slots_wait_seconds: float = Field(default=60.0, ge=0.0)
    """How long a restart waits for slots for num_ranks before it goes on with fewer or ends with exit code 4."""
    epochs: int = Field(default=10, ge=1)
    max_steps: int = Field(default=0, ge=0)
    """Stop after so many optimizer steps in all; 0: no limit."""
    global_batch_size: int = Field(default=64, ge=1)
    """Rows per optimizer step over all ranks. It does not change with num_ranks."""
    learning_rate: float = Field(default=1e-3, gt=0.0)
    base_batch_size: int = Field(default=0, ge=0)
    """The batch size that learning_rate was chosen for: with another global_batch_size it is scaled in proportion, for
    which warmup_epochs is made (Goyal et al. 2017). 0: learning_rate holds as it is."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate falls after the warm-up, towards zero at the last step."""
    warmup_epochs: float = Field(default=0.0, ge=0.0)
    """The learning rate rises linearly over so many epochs."""
    optimizer: Literal["adam", "adamw", "sgd", "muon"] = "adam"
    """muon: for the kernels of convolutions; all else takes steps of sgd."""
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Of sgd and muon (Nesterov)."""
    other_learning_rate: float = Field(default=0.0, ge=0.0)
    """With muon: of what is not a kernel. It rises and falls with learning_rate."""
    other_momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    """With muon: of what is not a kernel (Nesterov)."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """Decoupled, of adamw and sgd; with muon added to the gradients of what is not a kernel."""
    clip_norm: float = Field(default=0.0, ge=0.0)
    """Largest global norm of the summed gradient; 0: no clipping."""
    gradient_compression: Literal["none", "float16"] = "none"
    """How gradients travel between ranks. float16 halves the bytes, which pays on slow networks, and rounds to 11 bits,
    so that other numbers of ranks no longer learn the same up to float32's rounding."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: Keras' mixed_bfloat16 policy."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    reader: Literal["arrow", "petastorm"] = "arrow"
    """petastorm reads the same rows in its own order; docs/training.md says what that costs."""
    reader_memory_bytes: int = Field(default=512 * 1024 * 1024, ge=1024 * 1024)
    """How much input one rank keeps in memory."""
    run_name: str = Field(default="", pattern=rf"^({RUN_NAME})?$")
    """Directory under runs/. Empty: MODEL-FINGERPRINT, so that the same command finds its own run again."""
    log_every_steps: int = Field(default=50, ge=1)
    checkpoint_every_steps: int = Field(default=200, ge=1)
    """Checkpoints are written at these steps and at the end of every epoch."""
    keep_checkpoints: int = Field(default=3, ge=1)
    threads_per_rank: int = Field(default=1, ge=0)
    """TensorFlow's intra-op threads; 0: as many as the host has cores."""
    hang_seconds: float = Field(default=20.0, ge=3.0)
    """A rank that gives no sign of life, or neither makes progress nor computes, for so long is taken for hung, and
    ended. What usually takes long (an evaluation on a GPU) may take ten times as long as usual."""
    network: str = ""
    """On which ranks of several hosts meet: an interface (ib0), or the network of its addresses (10.0.0.0/8).
    Empty: one that all hosts are in, private ones first. Ranks on one host always meet on loopback."""
    max_restarts: int = Field(default=3, ge=0)
    """How often in a row ranks are started again after one died or hung, without a newer checkpoint in between."""
    warm_start: RunOrPath = ""
    """Start with the weights of another run: its name under runs/, or the path of its directory."""

    @property
    def peak_learning_rate(self) -> float:
        """What the schedule starts from after the warm-up."""
        scale = self.global_batch_size / self.base_batch_size if self.base_batch_size else 1.0
        return self.learning_rate * scale

    @model_validator(mode="after")
    def _min_is_not_above_num(self) -> "Train":
        if self.min_ranks > self.num_ranks:
            raise ValueError(
                f"train.min_ranks must not be above train.num_ranks; received {self.min_ranks} and {self.num_ranks}"
            )
        return self

    @model_validator(mode="after")
    def _muon_has_two_rates(self) -> "Train":
        if self.optimizer == "muon" and not self.other_learning_rate:
            raise ValueError(
                f"train.optimizer 'muon' needs train.other_learning_rate above 0, for what is not a kernel; "
                f"received {self.other_learning_rate}"
            )
        return self

    @field_validator("network")
    @classmethod
    def _interface_or_network(cls, network: str) -> str:
        try:
            IPv4Network(network, strict=False)
        except ValueError as error:
            if network and not re.fullmatch(r"[A-Za-z0-9._@-]{1,15}", network):  # what Linux allows as a name
                raise ValueError(
                    f"train.network is the name of an interface or an IPv4 network such as 10.0.0.0/8; "
                    f"received {network!r}"
                ) from error
        return network
