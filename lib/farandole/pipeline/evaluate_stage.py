"""The evaluation stage: exact metrics of a run's saved model on val and test, and a report of its own."""

import json
from pathlib import Path
from typing import Any

from farandole.config.load import Config
from farandole.config.train import Train
from farandole.core.dataset.commit import exclusive, write_text
from farandole.core.dataset.manifest import Manifest
from farandole.core.fingerprint import fingerprint
from farandole.core.rank_spec import Assignment
from farandole.log import say
from farandole.pipeline.data_stages import Session
from farandole.pipeline.train_stage import RANK_PROGRAM
from farandole.report.from_run import draw_report, most_confident
from farandole.spark.ranks.launch import launch_ranks
from farandole.train.run.run_directory import RunDirectory


def ensure_evaluated(session: Session, config: Config, run: RunDirectory, manifest: Manifest) -> Path:
    """metrics.json of the evaluation of a finished run, after making it, and its report, where they are missing.

    Args:
        session: called only when there is work to do.
        config: the pipeline.
        run: the finished run.
        manifest: of the balanced data set.
    """
    target = run.path / "evaluation"
    own = fingerprint([config.evaluate.model_dump(), run.fingerprint, (run.model / "model.json").read_text()])
    if _is_done(target, own):
        say("evaluate: up to date")
        if not (target / "report.html").exists():
            metrics = json.loads((target / "metrics.json").read_text(encoding="utf-8"))
            draw_report(target / "report.html", run.path, metrics, manifest, config.work / "balanced")
    else:
        data = config.work / "balanced"
        assignment = Assignment("evaluate", config.model_dump(), str(data), manifest.fingerprint(), str(run.model))
        with exclusive(target):
            results = _run_evaluation(session, assignment, config.train, target / "logs")
            trained = json.loads(run.metrics.read_text(encoding="utf-8"))["train"]
            wrong = most_confident(results, config.evaluate.num_wrong_images)
            metrics = {"evaluation_fingerprint": own, "train": trained, **results[0]["metrics"], "wrong_rows": wrong}
            write_text(target / "metrics.json", json.dumps(metrics, indent=1) + "\n")
            draw_report(target / "report.html", run.path, metrics, manifest, data)
    say(f"evaluate: {target / 'metrics.json'}, {target / 'report.html'}")
    return target / "metrics.json"


def _is_done(target: Path, own: str) -> bool:
    path = target / "metrics.json"
    return path.exists() and json.loads(path.read_text(encoding="utf-8"))["evaluation_fingerprint"] == own


def _run_evaluation(session: Session, assignment: Assignment, train: Train, logs: Path) -> list[dict[str, Any]]:
    say(f"evaluate: {train.num_ranks} ranks on {assignment.model_directory}")
    return launch_ranks(
        session(),
        module=RANK_PROGRAM,
        assignment=assignment,
        log_directory=logs,
        num_ranks=train.num_ranks,
        hang_seconds=train.hang_seconds,
        network=train.network,
    )
