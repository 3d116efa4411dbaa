"""The evaluation stage: exact metrics of a finished run's saved model, and their report. It never trains."""

import json
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from farandole.config.jobs import Evaluate
from farandole.config.load import Config
from farandole.config.train import Train
from farandole.core.dataset.commit import write_text
from farandole.core.dataset.lock import exclusive
from farandole.core.dataset.manifest import Manifest
from farandole.core.fingerprint import fingerprint
from farandole.core.json_lines import json_text
from farandole.core.rank_spec import Assignment
from farandole.errors import ConfigError, DataError
from farandole.log import say
from farandole.pipeline.data_stages import Session, ensure_balanced
from farandole.pipeline.gate import check_measurable
from farandole.pipeline.report_origin import origin_of
from farandole.pipeline.train_stage import RANK_PROGRAM, now, say_doubts, say_figures
from farandole.report.from_run import draw_report, most_confident
from farandole.spark.ranks.launch import launch_ranks
from farandole.spark.ranks.slots import check_slots
from farandole.train.run.run_directory import RunDirectory, check_links


def ensure_evaluated(session: Session, config: Config) -> Path:
    """metrics.json of an evaluation, after making it, and its report, where they are missing.

    It lies in runs/RUN/evaluation/NAME, so that evaluations of other settings or data stand beside it.

    Args:
        session: called only when there is work to do.
        config: the pipeline; its data are evaluated on, whatever data the run was trained on.

    Raises:
        ConfigError: there is no such run, or it is not finished.
        DataError: its model is gone.
        FarandoleError: whatever ends the data stages, or the ranks.
    """
    runs, named = config.work / "runs", config.evaluate.run
    run_asked = _named_run(runs, named) if named else None  # before the data stages, which can take hours
    with ensure_balanced(session, config) as data:
        check_measurable(config.evaluate, data.manifest)
        run = run_asked or _own_run(runs, RunDirectory(config, data.manifest))
        own = _fingerprint(config.evaluate, run, data.manifest)
        target = run / "evaluation" / (config.evaluate.name or own[:8])
        if _is_done(target, own):
            say("evaluate: up to date")
        else:
            where, fingerprint = str(data.directory), data.manifest.fingerprint()
            assignment = Assignment("evaluate", config.model_dump(), where, fingerprint, str(run / "model"))
            spark = session()
            with exclusive(target):
                if not _is_done(target, own):  # by another job, while this one started Spark
                    results = _run_evaluation(spark, config.train, assignment, target / "logs")
                    names = {"evaluation_fingerprint": own, "finished_at": now(), "versions": data.names}
                    (target / "report.html").unlink(missing_ok=True)  # of other figures
                    metrics = names | _figures(run, results, config.evaluate.num_wrong_images)
                    write_text(target / "metrics.json", json_text(metrics) + "\n")
        metrics = json.loads((target / "metrics.json").read_text(encoding="utf-8"))
        if not (target / "report.html").exists():
            origin = origin_of(config.data, config.image, None, data)
            draw_report(target / "report.html", run, metrics, data.manifest, origin)
    say_figures(metrics)
    say_doubts("evaluate", metrics, run)
    say(f"evaluate: {target / 'metrics.json'}, {target / 'report.html'}")
    return target / "metrics.json"


def _figures(run: Path, results: list[dict[str, Any]], num_wrong_images: int) -> dict[str, Any]:
    trained = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["train"]
    return {"train": trained, **results[0]["metrics"], "wrong_rows": most_confident(results, num_wrong_images)}


def _named_run(runs: Path, name: str) -> Path:
    """The directory of the finished run of this name."""
    check_links(runs.parent, runs / name)
    if not (runs / name / "metrics.json").exists():
        raise _unfinished(runs, runs / name)
    return runs / name


def _own_run(runs: Path, own: RunDirectory) -> Path:
    """The directory of the run that the config trains, if it is finished."""
    if not own.is_finished():
        raise _unfinished(runs, own.path, "run spark-submit jobs/train.py with the same --config and --set, or ")
    return own.path


def _unfinished(runs: Path, run: Path, remedy: str = "") -> ConfigError:
    finished = sorted(path.parent.name for path in runs.glob("*/metrics.json"))
    return ConfigError(
        f"{run} is no finished run, and evaluate does not train; {remedy}set evaluate.run to one of "
        f"{', '.join(finished[:10]) or 'those that train makes; there is none yet'}"
    )


def _fingerprint(rules: Evaluate, run: Path, manifest: Manifest) -> str:
    """Of all that decides the figures."""
    settings = rules.model_dump(include={"batch_size", "views", "num_wrong_images"})
    model = run / "model" / "model.json"
    try:
        return fingerprint([settings, model.read_text(encoding="utf-8"), manifest.fingerprint()])
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{model} cannot be read: {error}; the run has lost its model, train it again") from error


def _is_done(target: Path, own: str) -> bool:
    path = target / "metrics.json"
    return path.exists() and json.loads(path.read_text(encoding="utf-8"))["evaluation_fingerprint"] == own


def _run_evaluation(spark: SparkSession, train: Train, assignment: Assignment, logs: Path) -> list[dict[str, Any]]:
    num_ranks = check_slots(spark, train)
    say(f"evaluate: {num_ranks} ranks on {assignment.model_directory}")
    return launch_ranks(
        spark,
        module=RANK_PROGRAM,
        assignment=assignment,
        log_directory=logs,
        num_ranks=num_ranks,
        hang_seconds=train.hang_seconds,
        network=train.network,
    )
