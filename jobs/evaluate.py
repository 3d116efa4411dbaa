"""A trained run -> runs/RUN/evaluation/: exact metrics of its saved model on val and test, and a report of its own."""

import json
from functools import cache
from pathlib import Path

from farandole.cli import run_job
from farandole.config.load import Config
from farandole.core.dataset.commit import exclusive, write_text
from farandole.core.dataset.manifest import Manifest
from farandole.core.fingerprint import fingerprint
from farandole.log import say
from farandole.report.from_run import draw_report, most_confident
from farandole.spark.ranks.launch import launch_ranks
from farandole.spark.session import own_stderr, quiet_jvm, start_session
from farandole.spark.stages import Session
from farandole.train.run.run_directory import RunDirectory
from train import LOCAL_CONF, RANK_PROGRAM, check_gate, ensure_trained


def evaluate(config: Config) -> None:
    session = cache(lambda: start_session("farandole evaluate", LOCAL_CONF))
    run, manifest = ensure_trained(session, config, asked=False)
    target = run.path / "evaluation"
    own = fingerprint([config.evaluate.model_dump(), run.fingerprint, (run.model / "model.json").read_text()])
    if _is_done(target, own):
        say("evaluate: up to date")
        if not (target / "report.html").exists():
            metrics = json.loads((target / "metrics.json").read_text(encoding="utf-8"))
            draw_report(target / "report.html", run.path, metrics, manifest, config.work / "balanced")
    else:
        with exclusive(target):
            _run_evaluation(session, config, manifest, run, target, own)
    say(f"evaluate: {target / 'metrics.json'}, {target / 'report.html'}")
    check_gate(config, target / "metrics.json")


def _is_done(target: Path, own: str) -> bool:
    path = target / "metrics.json"
    return path.exists() and json.loads(path.read_text(encoding="utf-8"))["evaluation_fingerprint"] == own


def _run_evaluation(
    session: Session, config: Config, manifest: Manifest, run: RunDirectory, target: Path, own: str
) -> None:
    data = config.work / "balanced"
    say(f"evaluate: {config.train.num_ranks} ranks on {run.model}")
    spec = {
        "task": "evaluate",
        "config": config.model_dump(),
        "data_directory": str(data),
        "data_fingerprint": manifest.fingerprint(),
        "model_directory": str(run.model),
    }
    results = launch_ranks(session(), module=RANK_PROGRAM, train=config.train, spec=spec, log_directory=target / "logs")
    trained = json.loads(run.metrics.read_text(encoding="utf-8"))["train"]
    wrong = most_confident(results, config.evaluate.num_wrong_images)
    metrics = {"evaluation_fingerprint": own, "train": trained, **results[0]["metrics"], "wrong_rows": wrong}
    write_text(target / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    draw_report(target / "report.html", run.path, metrics, manifest, data)


if __name__ == "__main__":
    own_stderr()
    run_job("evaluate", __doc__ or "", evaluate, quiet=quiet_jvm)
