"""The training stage: ranks on Spark finish a run, restarted when one dies, and a report is drawn."""

import json
import time
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from farandole.config.load import Config
from farandole.core.batches.slice_reader import check_batches, check_memory
from farandole.core.dataset.commit import write_text
from farandole.core.dataset.lock import exclusive
from farandole.core.dataset.versions import Version
from farandole.core.json_lines import json_text, read_lines
from farandole.core.plan.epoch_plan import plan_epoch, slice_for
from farandole.core.rank_spec import Assignment
from farandole.log import say
from farandole.pipeline.data_stages import Session, announce, ensure_balanced
from farandole.pipeline.gate import check_measurable
from farandole.pipeline.report_origin import origin_of
from farandole.report.doubts import doubts
from farandole.report.from_run import DataOrigin, draw_report, most_confident
from farandole.report.progress_bar import follow
from farandole.spark.ranks.gpus import tell_unused_gpus
from farandole.spark.ranks.launch import launch_ranks
from farandole.spark.ranks.restart import launch_with_restarts
from farandole.spark.ranks.slots import check_slots
from farandole.spark.stage_progress import end_bar
from farandole.train.run.checkpoint import newest_position
from farandole.train.run.model_json import check_choice, check_warm_start, describe_classes, read_saved_model
from farandole.train.run.run_directory import RunDirectory, warm_start_model

RANK_PROGRAM = "farandole.train.rank"


def ensure_trained(session: Session, config: Config, *, asked: bool) -> RunDirectory:
    """The finished run of this configuration, after running the stages that are missing or stale, and training.

    Args:
        session: called only when there is work to do.
        config: the pipeline.
        asked: the user asked for this very stage, so pipeline.run_missing_stages does not matter.

    Raises:
        ConfigError: the model does not take its arguments, or these images; train.warm_start does not fit it; or the
            run is not finished, nobody asked for it, and pipeline.run_missing_stages is false.
        ResourceError: there are too few slots for the ranks.
        FarandoleError: whatever ends the data stages, or the ranks.
    """

    check_choice(config.model, config.image)
    if config.train.warm_start:
        directory = warm_start_model(config.work, config.train.warm_start)
        check_warm_start(directory, config.model, config.image, config.sample.inputs)

    def checked() -> SparkSession:
        # Batches that do not fit, and fewer slots than ranks, are refused before the data stages rather than after.
        train = config.train
        check_batches(config.image.num_bytes, -(-train.global_batch_size // train.num_ranks), train.reader_memory_bytes)
        spark = session()
        check_slots(spark, train)
        return spark

    with ensure_balanced(checked, config) as data:
        check_measurable(config.evaluate, data.manifest)
        run = RunDirectory(config, data.manifest)
        origin = origin_of(config.data, config.image, config.augment, data, seed=config.train.seed)
        if run.is_finished():
            say("train: up to date")
            if not run.report.exists():
                metrics = json.loads(run.metrics.read_text(encoding="utf-8"))
                draw_report(run.report, run.path, metrics, data.manifest, origin)
        else:
            announce("train", f"{run.path} is not finished", config.pipeline, asked)
            spark = checked()
            with exclusive(run.path):
                if not run.is_finished():  # by another job, while this one started Spark
                    _run_training(spark, config, data, run, origin)
    _show(run)
    return run


def _run_training(spark: SparkSession, config: Config, data: Version, run: RunDirectory, origin: DataOrigin) -> None:
    train, manifest = config.train, data.manifest
    run.prepare(data.names)
    say(f"train: {train.num_ranks} ranks into {run.path}, {_resume_point(run)[1]}")
    if run.warm_start:
        saved = read_saved_model(run.warm_start).sample.class_names
        say(f"train: weights from {run.warm_start.parent}: {describe_classes(saved, manifest.class_names)}")
    tell_unused_gpus(spark.sparkContext, train.num_ranks)
    plan = plan_epoch(manifest, epoch=0, seed=train.seed, global_batch_size=train.global_batch_size)
    total = min(train.epochs * plan.num_steps, train.max_steps or train.epochs * plan.num_steps)
    assignment = Assignment("train", config.model_dump(), str(data.directory), manifest.fingerprint())

    def launch(restart: int) -> list[dict[str, Any]]:
        num_ranks = check_slots(spark, train, train.slots_wait_seconds if restart else None)
        if num_ranks < train.num_ranks:
            say(f"train: {num_ranks} ranks instead of {train.num_ranks}, as there are no more slots; the same batches")
        for rank in range(num_ranks):
            check_memory(manifest, slice_for(plan, rank, num_ranks), train.reader_memory_bytes)
        return launch_ranks(
            spark,
            module=RANK_PROGRAM,
            assignment=assignment,
            log_directory=run.logs,
            num_ranks=num_ranks,
            hang_seconds=train.hang_seconds,
            network=train.network,
        )

    position = newest_position(run.checkpoints)
    end_bar(spark)
    num_epochs = -(-total // plan.num_steps)
    with follow(run.history, total, position.global_step if position else 0, num_epochs):
        results = launch_with_restarts(launch, lambda: _resume_point(run), train.max_restarts)
    run.check_written(num_epochs=results[0]["metrics"]["train"]["epochs"])
    wrong = most_confident(results, config.evaluate.num_wrong_images)
    finished = {"run_fingerprint": run.fingerprint, "finished_at": now(), "versions": data.names}
    metrics = {**finished, **results[0]["metrics"], "wrong_rows": wrong}
    write_text(run.metrics, json_text(metrics) + "\n")  # it says that the run is finished
    draw_report(run.report, run.path, metrics, manifest, origin)


def now() -> str:
    """This moment, as metrics.json has it."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())


def _resume_point(run: RunDirectory) -> tuple[int, str]:
    position = newest_position(run.checkpoints)
    if position is None:
        return 0, "from the start" if run.warm_start is None else "from the weights of another run"
    return position.global_step, f"from epoch {position.epoch}, step {position.step}"


def _show(run: RunDirectory) -> None:
    metrics = json.loads(run.metrics.read_text(encoding="utf-8"))
    done = metrics["train"]
    say(
        f"train: {done['images']} images in {done['steps']} steps on {done['num_ranks']} ranks, "
        f"{done['images_per_second']:.0f} images/s, {100 * done['data_wait_fraction']:.2f} % waiting for data"
    )
    say_figures(metrics)
    say_doubts("train", metrics, run.path)
    if run.report.exists():
        say(f"report: {run.report}")


def say_figures(metrics: dict[str, Any]) -> None:
    """One line for each split that was measured."""
    for split in ("val", "test"):
        if split in metrics:
            figures = metrics[split]
            say(
                f"{split}: accuracy {figures['accuracy']:.4f}, loss {figures['loss']:.4f} on {figures['num_rows']} rows"
            )


def say_doubts(job: str, metrics: dict[str, Any], run: Path) -> None:
    """One line for each thing that speaks against these figures, by themselves and by the history of the run."""
    for doubt in doubts(metrics, read_lines(run / "metrics.jsonl")):
        say(f"{job}: warning: {doubt}")
