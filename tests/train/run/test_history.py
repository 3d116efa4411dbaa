"""What a run tells, when it was killed and goes on: every step once."""

import json

import pytest
from tensorboard.backend.event_processing import event_accumulator, plugin_event_accumulator
from tensorboard.util.tensor_util import make_ndarray

from balanced_data import write_balanced
from farandole.config.load import parse_config
from farandole.train.run.history import History
from farandole.train.run.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path):
    manifest = write_balanced(tmp_path / "balanced", train=[[4]])
    run = RunDirectory(parse_config({"paths": {"work": str(tmp_path)}}), manifest)
    run.path.mkdir(parents=True)
    return run


def write(run, resumed_at, *steps, factor=1.0):
    history = History(run, is_leader=True)
    history.resume(resumed_at)
    for step in steps:
        line = {"kind": "train", "epoch": 0, "step": step, "global_step": step, "loss": factor * step, "images": 7}
        history.log(line)


def shown(run):
    """What TensorBoard shows: its server, and its older reader, which many scripts use."""
    new = plugin_event_accumulator.EventAccumulator(str(run.tensorboard)).Reload()
    assert [*new.Tags()["tensors"]] == ["train/loss"]
    found = [(event.step, float(make_ndarray(event.tensor_proto))) for event in new.Tensors("train/loss")]
    old = event_accumulator.EventAccumulator(str(run.tensorboard)).Reload()
    assert [(event.step, event.value) for event in old.Scalars("train/loss")] == found
    return found


def test_a_resumed_run_shows_no_step_twice(run, monkeypatch):
    write(run, 0, 1, 2, 3, 4, 5)
    (first,) = run.tensorboard.iterdir()
    first.rename(first.with_name(first.name.replace(".tfevents.1", ".tfevents.0")))  # of a second before
    write(run, 3, 4, 5, 6, factor=10.0)
    assert shown(run) == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0), (5, 50.0), (6, 60.0)]
    lines = [json.loads(line) for line in run.history.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_a_run_without_a_checkpoint_begins_anew(run):
    write(run, 0, 1, 2)
    (first,) = run.tensorboard.iterdir()
    first.rename(first.with_name(first.name.replace(".tfevents.1", ".tfevents.0")))
    write(run, 0, 1, factor=10.0)
    assert shown(run) == [(1, 10.0)]


def test_other_ranks_write_nothing(run):
    history = History(run, is_leader=False)
    history.resume(0)
    history.log({"kind": "train", "global_step": 1, "loss": 1.0})
    history.log_receipt({"global_step": 1})
    assert list(run.path.iterdir()) == []
