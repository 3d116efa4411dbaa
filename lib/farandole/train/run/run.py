"""One run on one rank: what stays the same from its first step to its last."""

from dataclasses import dataclass
from functools import cached_property

from farandole.config.train import Augment, Train
from farandole.core.batches.reader import SplitFiles
from farandole.core.dataset.manifest import Manifest
from farandole.core.plan.epoch_plan import EpochPlan, Slice, plan_epoch, slice_for
from farandole.core.plan.schedule import learning_rate
from farandole.core.rank_spec import Phase, World
from farandole.train.blame import Where
from farandole.train.horovod.distributed import agree
from farandole.train.input.augment import augmented
from farandole.train.input.prefetch import Prefetcher
from farandole.train.input.readers import open_reader
from farandole.train.progress import Progress
from farandole.train.run.checkpoint import Position
from farandole.train.run.history import History
from farandole.train.run.run_directory import RunDirectory


@dataclass(frozen=True)
class Run:
    """Answers what the loop asks: which batches, at what rate, and when to log and to save."""

    train: Train
    augment: Augment
    manifest: Manifest
    """What the balanced data set holds."""
    files: dict[str, SplitFiles]
    """The files of each split, by its name."""
    directory: RunDirectory
    history: History
    world: World
    progress: Progress

    @cached_property
    def steps_per_epoch(self) -> int:
        return self._plan(0).num_steps

    @cached_property
    def total_steps(self) -> int:
        steps = self.train.epochs * self.steps_per_epoch
        return min(steps, self.train.max_steps) if self.train.max_steps else steps

    def plan(self, epoch: int) -> EpochPlan:
        """The plan of an epoch, which all ranks have agreed on; they call this together.

        Raises:
            DataError: ranks have different data sets; says which files differ.
        """
        plan = self._plan(epoch)
        self.progress.enter(Phase.SUMMING)
        agree(plan.fingerprint, "epoch plan", {f.path: f.sha256 for f in self.manifest.splits["train"].files})
        return plan

    def batches(self, plan: EpochPlan, start_step: int) -> Prefetcher:
        """This rank's batches of an epoch, from a step on, augmented, and read ahead."""
        reader = open_reader(self.train.reader, self.files["train"], self._slice(plan), start_step=start_step)
        fill = self.manifest.stats["image"].mean
        return Prefetcher(augmented(reader, self.augment, seed=self.train.seed, epoch=plan.epoch, fill=fill))

    def learning_rate(self, step: int) -> float:
        """Of the step with this number, counted over the whole run."""
        return learning_rate(
            step,
            base_rate=self.train.peak_learning_rate,
            schedule=self.train.schedule,
            num_steps=self.total_steps,
            warmup_steps=round(self.train.warmup_epochs * self.steps_per_epoch),
        )

    def logs_at(self, position: Position, plan: EpochPlan) -> bool:
        """Whether metrics.jsonl gets a line after the step that led here."""
        due = position.global_step % self.train.log_every_steps == 0
        return due or position.step == plan.num_steps or position.global_step == self.total_steps

    def saves_at(self, position: Position, plan: EpochPlan) -> bool:
        """Whether there is a checkpoint inside the epoch; at its end there is one in any case."""
        # petastorm cannot continue inside an epoch.
        due = position.global_step % self.train.checkpoint_every_steps == 0 and self.train.reader != "petastorm"
        return (due or position.global_step == self.total_steps) and position.step != plan.num_steps

    def where(self, position: Position) -> Where:
        """For a message about numbers that are not finite."""
        return Where(position, self.train.learning_rate)

    def _plan(self, epoch: int) -> EpochPlan:
        train = self.train
        return plan_epoch(self.manifest, epoch=epoch, seed=train.seed, global_batch_size=train.global_batch_size)

    def _slice(self, plan: EpochPlan) -> Slice:
        return slice_for(plan, self.world.rank, self.world.world_size)
