"""Where training stands: all that changes from step to step, hence all that a checkpoint holds."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from farandole.core.batches.reader import Batch
from farandole.core.rank_spec import Phase
from farandole.errors import DataError
from farandole.train.accounting import Accounting
from farandole.train.horovod.distributed import gather_integers, sum_integers
from farandole.train.run.checkpoint import (
    Position,
    assign_variables,
    await_checkpoint,
    newest_checkpoint,
    remove_left_over,
    variable_tensors,
)
from farandole.train.run.checkpoint_writer import CheckpointWriter
from farandole.train.run.replicas import compare_replicas
from farandole.train.run.run import Run
from farandole.train.run.start_weights import start_weights
from farandole.train.step import StepResult


@dataclass
class LogWindow:
    """Sums since the last line of metrics.jsonl; in a checkpoint, so that a resumed run logs the same lines."""

    loss_sum: float = 0.0
    num_correct: int = 0
    num_rows: int = 0
    started: float = 0.0
    """What time.perf_counter() gave when the window began."""
    waited: float = 0.0
    """For how many seconds the epoch's batches had been waited for when the window began."""

    def line(self, now: float, waited: float) -> dict[str, float]:
        """Its figures, at a time and with the seconds waited for batches until then."""
        seconds = max(now - self.started, 1e-9)
        return {
            "loss": self.loss_sum / self.num_rows,
            "accuracy": self.num_correct / self.num_rows,
            "images_per_second": self.num_rows / seconds,
            "data_wait_fraction": (waited - self.waited) / seconds,
        }


class State:
    """Position, counts and tensors of one rank. Every rank computes the same weights; the leader alone writes."""

    def __init__(self, run: Run, model: Any, optimizer: Any) -> None:
        self.position = Position(run_fingerprint=run.directory.fingerprint)
        self.window = LogWindow()
        self.model, self._optimizer, self._run = model, optimizer, run
        # This rank's since the last checkpoint, the leader's with the sum over ranks before it.
        self._accounting = Accounting.zero(run.manifest)
        self.writer = CheckpointWriter(
            run.directory.checkpoints, run.train.keep_checkpoints, patience_seconds=run.train.hang_seconds / 2
        )
        self._clock = (0.0, self.position)

    def start_clock(self) -> None:
        """The seconds of this epoch begin here, on top of those that the position has."""
        now = time.perf_counter()
        self._clock = (now, self.position)
        self.window.started, self.window.waited = now, 0.0

    def count(self, batch: Batch, result: StepResult, num_rows: int, wait_seconds: float) -> None:
        """Moves one step on.

        Args:
            batch: this rank's rows.
            result: of the global batch.
            num_rows: of the global batch.
            wait_seconds: since start_clock, for which training has stood still for want of batches.
        """
        self._accounting.add(batch, self._run.files["train"])
        started, begin = self._clock
        self.position = self.position.model_copy(
            update={
                "step": self.position.step + 1,
                "global_step": self.position.global_step + 1,
                "images": self.position.images + num_rows,
                "wall_seconds": begin.wall_seconds + time.perf_counter() - started,
                "wait_seconds": begin.wait_seconds + wait_seconds,
            }
        )
        self.window.loss_sum += result.loss_sum
        self.window.num_correct += result.num_correct
        self.window.num_rows += num_rows

    def take_window(self, wait_seconds: float) -> dict[str, float]:
        """The figures since the last call, for a line of metrics.jsonl."""
        now = time.perf_counter()
        line = self.window.line(now, wait_seconds)
        self.window = LogWindow(started=now, waited=wait_seconds)
        return line

    def sum_accounting(self) -> Accounting:
        """Over all ranks, which call this together."""
        self._run.progress.enter(Phase.SUMMING)
        return Accounting.from_array(sum_integers(self._accounting.to_array(), "accounting"), self._run.manifest)

    def begin_epoch(self) -> None:
        """After the last step of an epoch."""
        self.position = self.position.model_copy(update={"epoch": self.position.epoch + 1, "step": 0})
        self._accounting = Accounting.zero(self._run.manifest)

    def save(self) -> None:
        """A checkpoint of this position; all ranks call this together.

        Raises:
            DataError: a variable is not finite: finite gradients can still overflow a weight or an optimizer's square.
            RankError: a rank has other weights than the others.
        """
        variables = [*self.model.variables, *self._optimizer.variables]
        self._run.progress.enter(Phase.SUMMING)
        compare_replicas(variables, self.position.global_step)
        total = self.sum_accounting()
        self._run.progress.enter(Phase.SAVING)
        is_leader = self._run.world.is_leader
        self._accounting = total if is_leader else Accounting.zero(self._run.manifest)
        for variable in variables:
            if not np.isfinite(variable.numpy()).all():
                raise DataError(self._run.where(self.position).describe(f"{variable.path} is not finite"))
        if is_leader:
            written, paused = self.writer.write_seconds, self.writer.pause_seconds
            seconds = {"checkpoint_seconds": written, "checkpoint_pause_seconds": paused}
            self.writer.save(self.position.model_copy(update=seconds), lambda: self._tensors(total))

    def _tensors(self, total: Accounting) -> dict[str, np.ndarray]:
        window = [self.window.loss_sum, self.window.num_correct, self.window.num_rows]
        return {
            **variable_tensors(self.model.variables, "model"),
            **variable_tensors(self._optimizer.variables, "optimizer"),
            "accounting": total.to_array(),
            "window": np.array(window, np.float64),
        }

    def restore(self) -> None:
        """Every rank takes the newest checkpoint that any rank sees whole, or else the start weights.

        Raises:
            RankError: it cannot be read here, although another rank can.
            DataError: it belongs to another run.
        """
        run, directory = self._run, self._run.directory.checkpoints
        found = newest_checkpoint(directory)
        run.progress.enter(Phase.SUMMING)
        own = found.position.global_step if found else -1
        step = int(gather_integers(np.array([own], np.int64), "restore").max())
        run.progress.enter(Phase.STARTING)
        if step != own:
            found = await_checkpoint(directory, step)
        run.history.resume(max(step, 0))
        if run.world.is_leader:
            remove_left_over(directory, step)
        if found is None:
            names = run.manifest.class_names
            start_weights(self.model, run.files["train"], run.directory.warm_start, run.world, names)
            return
        if found.position.run_fingerprint != run.directory.fingerprint:
            raise DataError(f"checkpoint {step} in {directory} belongs to another run; remove that directory")
        assign_variables(self.model.variables, found.tensors, "model")
        assign_variables(self._optimizer.variables, found.tensors, "optimizer")
        self.position = found.position
        self.writer.write_seconds = found.position.checkpoint_seconds
        self.writer.pause_seconds = found.position.checkpoint_pause_seconds
        if run.world.is_leader:
            self._accounting = Accounting.from_array(found.tensors["accounting"], run.manifest)
        loss_sum, correct, rows = found.tensors["window"].tolist()
        self.window = LogWindow(loss_sum, int(correct), int(rows))
