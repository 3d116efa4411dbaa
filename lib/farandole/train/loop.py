"""The training loop, top to bottom: what every rank runs."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from farandole.config.load import Config
from farandole.core.batches.reader import SplitFiles
from farandole.core.dataset.manifest import Manifest
from farandole.core.plan.epoch_plan import EpochPlan
from farandole.core.rank_spec import Phase, World
from farandole.errors import DataError
from farandole.train.accounting import check_receipt, receipt
from farandole.train.blame import blame
from farandole.train.evaluate import Evaluator
from farandole.train.models.build import build_for
from farandole.train.progress import Progress
from farandole.train.run.history import History
from farandole.train.run.run import Run
from farandole.train.run.run_directory import RunDirectory
from farandole.train.run.saved_model import save_model
from farandole.train.run.state import State
from farandole.train.step import TrainStep
from farandole.train.tasks.classification import classification


def train_run(config: Config, manifest: Manifest, data: Path, world: World, progress: Progress) -> dict[str, Any]:
    """Trains a run to its end, from its newest checkpoint, and evaluates it. Every rank calls this.

    Args:
        config: the pipeline.
        manifest: of the balanced data set.
        data: its directory.
        world: this rank's place.
        progress: what its heartbeats tell.

    Returns:
        {"metrics": the figures of metrics.json, of the leader, else nothing, "wrong": this rank's most confidently
        wrong test rows}.
    """
    run, state, step, evaluator = set_up(config, manifest, data, world, progress)
    fit(run, state, step, evaluator)
    if world.is_leader:
        save_model(
            run.directory.model,
            state.model,
            chosen=config.model,
            precision=config.train.precision,
            rules=config.image,
            manifest=manifest,
        )
    found = evaluator.final_figures(run.files, config.evaluate.num_wrong_images)
    figures = {"train": train_figures(run, state), **found["metrics"]} if world.is_leader else {}
    return {"metrics": figures, "wrong": found["wrong"]}


def set_up(
    config: Config, manifest: Manifest, data: Path, world: World, progress: Progress
) -> tuple[Run, State, TrainStep, Evaluator]:
    """The parts of a run on this rank, with a new model and optimizer; State.restore then looks at what is on disk."""
    directory = RunDirectory(config, manifest)
    files = {split: SplitFiles(data, manifest, split, progress.read) for split in manifest.splits}
    history = History(directory, world.is_leader)
    run = Run(config.train, config.augment, manifest, files, directory, history, world, progress)
    model = build_for(
        manifest.sample,
        config.model.name,
        config.model.arguments,
        seed=config.train.seed,
        precision=config.train.precision,
        stats=manifest.stats,
    )
    weights = manifest.class_weights or dict.fromkeys(manifest.class_names, 1.0)
    task = classification(
        manifest.sample,
        class_weights=[weights[name] for name in manifest.class_names],
        label_smoothing=config.train.label_smoothing,
    )
    step = TrainStep(model, config.train, manifest.sample, task)
    progress.has_entered_sum = step.has_entered_sum
    evaluator = Evaluator(model, manifest, task, world, config.evaluate, progress)
    return run, State(run, model, step.optimizer), step, evaluator


def fit(run: Run, state: State, step: TrainStep, evaluator: Evaluator) -> None:
    """Trains from the newest checkpoint, or from the start, to the end. Every rank runs this; the leader alone writes.

    Raises:
        DataError: numbers are not finite, or what was trained is not what was planned.
    """
    state.restore()
    try:
        while state.position.global_step < run.total_steps:
            plan = run.plan(state.position.epoch)
            _train_epoch(run, state, step, plan)
            if state.position.step == plan.num_steps:
                _finish_epoch(run, state, evaluator, plan)
            elif state.position.global_step < run.total_steps:
                raise DataError(
                    f"the reader ended epoch {plan.epoch} at step {state.position.step} of {plan.num_steps}"
                )
    except BaseException:
        with suppress(Exception):  # what ended the training is the error to show
            state.writer.close()
        raise
    run.progress.enter(Phase.WRITING)  # unlike SAVING, which takes a copy, as long as the disk takes
    state.writer.close()


def _train_epoch(run: Run, state: State, step: TrainStep, plan: EpochPlan) -> None:
    batches = run.batches(plan, state.position.step)
    state.start_clock()
    try:
        run.progress.enter(Phase.STARTING)
        step.trace()  # while the first batches are read
        # petastorm starts threads and reads ahead before its first batch, and does not tell what.
        run.progress.enter(Phase.OPENING if run.train.reader == "petastorm" else Phase.READING)
        for batch in batches:
            run.progress.enter(Phase.COMPUTING)
            rate, num_rows = run.learning_rate(state.position.global_step), plan.batch_rows(state.position.step)
            result = step(batch.values, learning_rate=rate)
            run.progress.finish_step(state.position.global_step + 1, plan.epoch)
            if not result.is_finite:
                raise blame(step, batch, run.files["train"], run.world, run.where(state.position))
            state.count(batch, result, num_rows, batches.wait_seconds)
            if run.logs_at(state.position, plan):
                run.progress.enter(Phase.LOGGING)
                _log(run, state, plan, rate, batches.wait_seconds)
            if run.saves_at(state.position, plan):
                state.save()
            if state.position.global_step == run.total_steps:
                break
            run.progress.enter(Phase.READING)
    finally:
        batches.close()


def _log(run: Run, state: State, plan: EpochPlan, rate: float, wait_seconds: float) -> None:
    position = state.position
    line = {
        "kind": "train",
        "epoch": plan.epoch,
        "step": position.global_step,
        "global_step": position.global_step,
        **state.take_window(wait_seconds),
        "learning_rate": rate,
        "images": position.images,
        "wall_seconds": position.wall_seconds,
    }
    run.history.log(line)


def _finish_epoch(run: Run, state: State, evaluator: Evaluator, plan: EpochPlan) -> None:
    total, step = state.sum_accounting(), state.position.global_step
    line = receipt(total, plan, run.manifest)
    check_receipt(line, total, run.manifest, run.files["train"])
    run.progress.enter(Phase.LOGGING)
    run.history.log_receipt({**line, "global_step": step})
    if run.manifest.splits["val"].num_rows:
        counted, _ = evaluator.run(run.files["val"], "val")
        figures = evaluator.task.figures(counted)
        chosen = {name: figures[name] for name in evaluator.task.headline}
        run.history.log({"kind": "val", "epoch": plan.epoch, "step": step, "global_step": step, **chosen})
    state.begin_epoch()
    state.save()


def train_figures(run: Run, state: State) -> dict[str, Any]:
    """What metrics.json says of the training itself."""
    done, seconds = state.position, max(state.position.wall_seconds, 1e-9)
    return {
        "num_ranks": run.world.world_size,
        "epochs": done.epoch,
        "steps": done.global_step,
        "images": done.images,
        "wall_seconds": done.wall_seconds,
        "images_per_second": done.images / seconds,
        "data_wait_fraction": done.wait_seconds / seconds,
        "checkpoint_seconds": state.writer.write_seconds,
        "checkpoint_pause_seconds": state.writer.pause_seconds,
    }
