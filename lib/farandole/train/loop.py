"""The training loop, top to bottom: what every rank runs."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from farandole.config.load import Config
from farandole.core.batches.reader import SplitFiles
from farandole.core.dataset.manifest import Manifest
from farandole.core.metrics.classification import classification_metrics
from farandole.core.plan.epoch_plan import EpochPlan, plan_epoch, slice_for
from farandole.core.plan.schedule import learning_rate
from farandole.errors import DataError
from farandole.train.accounting import Accounting, check_receipt, receipt
from farandole.train.blame import Where, blame
from farandole.train.evaluate import Evaluator
from farandole.train.horovod.distributed import World, agree, gather_integers, sum_integers
from farandole.train.input.augment import augmented
from farandole.train.input.prefetch import Prefetcher
from farandole.train.input.readers import check_memory, open_reader
from farandole.train.models.build import build_model
from farandole.train.progress import Progress
from farandole.train.run.checkpoint import (
    Position,
    assign_variables,
    newest_checkpoint,
    remove_left_over,
    variable_tensors,
)
from farandole.train.run.checkpoint_writer import CheckpointWriter
from farandole.train.run.history import History
from farandole.train.run.run_directory import RunDirectory
from farandole.train.run.saved_model import save_model
from farandole.train.run.start_weights import start_weights
from farandole.train.step import TrainStep


@dataclass
class Window:
    """Sums since the last line of metrics.jsonl; part of a checkpoint, so that a resumed run logs the same lines."""

    loss_sum: float = 0.0
    num_correct: int = 0
    num_rows: int = 0
    started: float = 0.0
    waited: float = 0.0


class Trainer:
    """One run on one rank. The leader alone writes; every rank computes the same weights."""

    def __init__(self, config: Config, manifest: Manifest, data: Path, world: World, progress: Progress) -> None:
        self.config, self.manifest, self.world, self.progress = config, manifest, world, progress
        self.run = RunDirectory(config, manifest)
        self.history = History(self.run, world.is_leader)
        self.files = {split: SplitFiles(data, manifest, split, progress.read) for split in manifest.splits}
        image = manifest.image
        self.model = build_model(
            config.model.name,
            config.model.arguments,
            image_shape=(image.height, image.width, image.channels),
            num_classes=len(manifest.class_names),
            seed=config.train.seed,
            precision=config.train.precision,
        )
        weights = manifest.class_weights or dict.fromkeys(manifest.class_names, 1.0)
        self.step = TrainStep(self.model, config.train, image, [weights[name] for name in manifest.class_names])
        progress.has_entered_sum = self.step.has_entered_sum
        self.evaluator = Evaluator(self.model, manifest, world, config.evaluate, progress)
        patience = config.train.hang_seconds / 2
        self.writer = CheckpointWriter(self.run.checkpoints, config.train.keep_checkpoints, patience)
        self.position = Position(run_fingerprint=self.run.fingerprint)
        self.accounting = Accounting.zero(manifest)  # this rank's since the last checkpoint, the leader's with the sum
        self.window = Window()
        self.steps_per_epoch = self._plan(0).num_steps
        steps = config.train.epochs * self.steps_per_epoch
        self.total_steps = min(steps, config.train.max_steps) if config.train.max_steps else steps

    # -- the loop -----------------------------------------------------------------------------------------------

    def fit(self) -> None:
        """Trains from the newest checkpoint, or from the start, to the end."""
        self._restore()
        try:
            self._train_epochs()
        except BaseException:
            with suppress(Exception):  # what ended the training is the error to show
                self.writer.close()
            raise
        self.progress.enter("writing")  # unlike "saving", which takes a copy, as long as the disk takes
        self.writer.close()

    def _train_epochs(self) -> None:
        while self.position.global_step < self.total_steps:
            plan = self._plan(self.position.epoch)
            self.progress.enter("summing")
            agree(plan.fingerprint, "epoch plan", {f.path: f.sha256 for f in self.manifest.splits["train"].files})
            check_memory(self.manifest, self._slice(plan), self.config.train.reader_memory_bytes)
            self._train_epoch(plan)
            if self.position.step == plan.num_steps:
                self._finish_epoch(plan)
            elif self.position.global_step < self.total_steps:
                raise DataError(f"the reader ended epoch {plan.epoch} at step {self.position.step} of {plan.num_steps}")

    def _train_epoch(self, plan: EpochPlan) -> None:
        train, start = self.config.train, self.position
        reader = open_reader(train.reader, self.files["train"], self._slice(plan), start_step=start.step)
        batches = Prefetcher(
            augmented(reader, self.config.augment, seed=train.seed, epoch=plan.epoch, fill=self.manifest.stats.mean)
        )
        started = time.perf_counter()
        self.window.started, self.window.waited = started, 0.0
        try:
            self.progress.enter("starting")
            self.step.trace()  # while the first batches are read
            # petastorm starts threads and reads ahead before its first batch, and does not tell what.
            self.progress.enter("opening" if train.reader == "petastorm" else "reading")
            for batch in batches:
                self.progress.enter("computing")
                step = self.position.global_step
                rate = self._learning_rate(step)
                rows = plan.batch_rows(self.position.step)
                result = self.step(batch.images, batch.labels, batch_rows=rows, learning_rate=rate)
                self.progress.finish_step(step + 1, plan.epoch)
                if not result.is_finite:
                    raise blame(self.step, batch, self.files["train"], self.world, self._where())
                self.accounting.add(batch, self.files["train"])
                self.position = self.position.model_copy(
                    update={
                        "step": self.position.step + 1,
                        "global_step": step + 1,
                        "images": self.position.images + rows,
                        "wall_seconds": start.wall_seconds + time.perf_counter() - started,
                        "wait_seconds": start.wait_seconds + batches.wait_seconds,
                    }
                )
                self.window.loss_sum += result.loss_sum
                self.window.num_correct += result.num_correct
                self.window.num_rows += rows
                self._after_step(plan, rate, batches)
                if self.position.global_step == self.total_steps:
                    break
                self.progress.enter("reading")
        finally:
            batches.close()

    def _after_step(self, plan: EpochPlan, rate: float, batches: Prefetcher) -> None:
        train, done = self.config.train, self.position.global_step
        ends_epoch, ends_run = self.position.step == plan.num_steps, done == self.total_steps
        if done % train.log_every_steps == 0 or ends_epoch or ends_run:
            self._log_window(plan, rate, batches)
        # At the end of an epoch, _finish_epoch saves. petastorm cannot continue inside one.
        due = done % train.checkpoint_every_steps == 0 and train.reader != "petastorm"
        if (due or ends_run) and not ends_epoch:
            self._save()

    def _finish_epoch(self, plan: EpochPlan) -> None:
        total = self._sum_accounting()
        line = receipt(total, plan, self.manifest)
        check_receipt(line, total, self.manifest, self.files["train"])
        step = self.position.global_step
        self.progress.enter("logging")
        self.history.log_receipt({**line, "global_step": step})
        if self.manifest.splits["val"].num_rows:
            counts, _ = self.evaluator.run(self.files["val"], "val")
            figures = classification_metrics(counts, self.manifest.class_names)
            chosen = {k: figures[k] for k in ("num_rows", "loss", "accuracy", "balanced_accuracy", "macro_f1")}
            self.history.log({"kind": "val", "epoch": plan.epoch, "step": step, "global_step": step, **chosen})
        self.position = self.position.model_copy(update={"epoch": plan.epoch + 1, "step": 0})
        self.accounting = Accounting.zero(self.manifest)
        self._save()

    # -- after the last step ------------------------------------------------------------------------------------

    def finish(self) -> dict[str, Any]:
        """Saves the model, evaluates it on val and test, and returns the figures and the wrong rows of this rank."""
        if self.world.is_leader:
            save_model(self.run.model, self.model, self.config, self.manifest)
        found = self.evaluator.final_figures(self.files, self.config.evaluate.num_wrong_images)
        return {"metrics": {"train": self._train_figures(), **found["metrics"]}, "wrong": found["wrong"]}

    def _train_figures(self) -> dict[str, Any]:
        done, seconds = self.position, max(self.position.wall_seconds, 1e-9)
        return {
            "num_ranks": self.world.world_size,
            "epochs": done.epoch,
            "steps": done.global_step,
            "images": done.images,
            "wall_seconds": done.wall_seconds,
            "images_per_second": done.images / seconds,
            "data_wait_fraction": done.wait_seconds / seconds,
            "checkpoint_seconds": self.writer.write_seconds,
            "checkpoint_pause_seconds": self.writer.pause_seconds,
        }

    # -- parts --------------------------------------------------------------------------------------------------

    def _plan(self, epoch: int) -> EpochPlan:
        train = self.config.train
        return plan_epoch(self.manifest, epoch=epoch, seed=train.seed, global_batch_size=train.global_batch_size)

    def _slice(self, plan: EpochPlan) -> Any:
        return slice_for(plan, self.world.rank, self.world.world_size)

    def _learning_rate(self, step: int) -> float:
        train = self.config.train
        return learning_rate(
            step,
            base_rate=train.peak_learning_rate,
            schedule=train.schedule,
            num_steps=self.total_steps,
            warmup_steps=round(train.warmup_epochs * self.steps_per_epoch),
        )

    def _where(self) -> Where:
        return Where(self.position, self.config.train.learning_rate)

    def _sum_accounting(self) -> Accounting:
        self.progress.enter("summing")
        return Accounting.from_array(sum_integers(self.accounting.to_array(), "accounting"), self.manifest)

    def _log_window(self, plan: EpochPlan, rate: float, batches: Prefetcher) -> None:
        self.progress.enter("logging")
        window, now = self.window, time.perf_counter()
        seconds = max(now - window.started, 1e-9)
        line = {
            "kind": "train",
            "epoch": plan.epoch,
            "step": self.position.global_step,
            "global_step": self.position.global_step,
            "loss": window.loss_sum / window.num_rows,
            "accuracy": window.num_correct / window.num_rows,
            "learning_rate": rate,
            "images": self.position.images,
            "images_per_second": window.num_rows / seconds,
            "data_wait_fraction": (batches.wait_seconds - window.waited) / seconds,
            "wall_seconds": self.position.wall_seconds,
        }
        self.window = Window(started=now, waited=batches.wait_seconds)
        self.history.log(line)

    def _tensors(self, total: Accounting) -> dict[str, np.ndarray]:
        window = [self.window.loss_sum, self.window.num_correct, self.window.num_rows]
        return {
            **variable_tensors(self.model.variables, "model"),
            **variable_tensors(self.step.optimizer.variables, "optimizer"),
            "accounting": total.to_array(),
            "window": np.array(window, np.float64),
        }

    def _save(self) -> None:
        total = self._sum_accounting()
        self.progress.enter("saving")
        self.accounting = total if self.world.is_leader else Accounting.zero(self.manifest)
        self._refuse_nan_weights()
        if self.world.is_leader:
            written, paused = self.writer.write_seconds, self.writer.pause_seconds
            seconds = {"checkpoint_seconds": written, "checkpoint_pause_seconds": paused}
            self.writer.save(self.position.model_copy(update=seconds), lambda: self._tensors(total))

    def _refuse_nan_weights(self) -> None:
        """Finite gradients can still overflow a weight or an optimizer's square; ranks have the same ones."""
        for variable in (*self.model.variables, *self.step.optimizer.variables):
            if not np.isfinite(variable.numpy()).all():
                raise DataError(self._where().describe(f"{variable.path} is not finite"))

    def _restore(self) -> None:
        """Every rank takes the newest whole checkpoint, after all agree which one that is."""
        found = newest_checkpoint(self.run.checkpoints)
        self.progress.enter("summing")
        step = found.position.global_step if found else -1
        steps = gather_integers(np.array([step], np.int64), "restore").reshape(-1)
        if (steps != steps[0]).any():
            raise DataError(f"ranks see different newest checkpoints in {self.run.checkpoints}: steps {steps.tolist()}")
        self.progress.enter("starting")
        self.history.resume(max(step, 0))
        if self.world.is_leader:
            remove_left_over(self.run.checkpoints, step)
        if found is None:
            start_weights(self.model, self.files["train"], self.run.warm_start, self.world)
            return
        if found.position.run_fingerprint != self.run.fingerprint:
            raise DataError(
                f"checkpoint {step} in {self.run.checkpoints} belongs to another run; remove that directory"
            )
        assign_variables(self.model.variables, found.tensors, "model")
        assign_variables(self.step.optimizer.variables, found.tensors, "optimizer")
        self.position = found.position
        self.writer.write_seconds = found.position.checkpoint_seconds
        self.writer.pause_seconds = found.position.checkpoint_pause_seconds
        if self.world.is_leader:
            self.accounting = Accounting.from_array(found.tensors["accounting"], self.manifest)
        loss_sum, correct, rows = found.tensors["window"].tolist()
        self.window = Window(loss_sum, int(correct), int(rows))
