"""What is shown of a run, on a terminal, and where it goes on after another driver was killed."""

import io
import json
import threading

import pytest
from rich.console import Console

from farandole.report import progress_bar
from farandole.report.progress_bar import follow


def train_line(step: int) -> dict[str, object]:
    return {
        "kind": "train", "epoch": 0, "step": step, "global_step": step, "loss": 0.5, "images_per_second": 7.0,
        "wall_seconds": float(step),
    }  # fmt: skip


def val_line(step: int) -> dict[str, object]:
    return {"kind": "val", "epoch": 0, "global_step": step, "loss": 0.25, "accuracy": 0.5, "balanced_accuracy": 0.75}


def write(path, lines) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_what_the_killed_driver_had_shown_is_not_shown_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress_bar, "PLAIN_SECONDS", 0.0)
    history, resumed = tmp_path / "metrics.jsonl", tmp_path / "resumed"
    write(history, [train_line(10), val_line(10), train_line(20)])
    with follow(history, 40, done_steps=10, num_epochs=2):
        write(resumed, [train_line(10), val_line(10), train_line(20), val_line(20)])  # cut back to 10, then gone on
        resumed.replace(history)
    shown = [line for line in capsys.readouterr().err.splitlines() if line]
    assert shown == [
        "train: step 20 of 40, epoch 1 of 2, loss 0.5000, 7 images/s, 20 s left",
        "train: epoch 1 of 2 done; val loss 0.2500, accuracy 0.5000, balanced accuracy 0.7500",
    ]


@pytest.mark.parametrize(
    ("width", "figures"), [(80, "steps, epoch 511/511, loss 12.3456, 143640 images/s"), (40, "steps")]
)
def test_every_number_is_whole_on_a_narrow_terminal(tmp_path, monkeypatch, width, figures):
    terminal = Console(file=io.StringIO(), force_terminal=True, no_color=True, width=width, soft_wrap=True)
    monkeypatch.setattr(progress_bar, "on_terminal", lambda: True)
    monkeypatch.setattr(progress_bar, "console", lambda: terminal)
    history = tmp_path / "metrics.jsonl"
    with follow(history, 199_040, done_steps=0, num_epochs=511):
        line = {**train_line(199_040), "epoch": 510, "loss": 12.3456, "images_per_second": 143_640.0}
        write(history, [line])
    last = terminal.file.getvalue().splitlines()[-2].rpartition("\x1b[2K")[2]
    assert last.startswith("train ")  # the bar itself has given all its room
    assert last.endswith(f" 199040/199040 {figures} 0:00:00")
    assert len(last) <= width


def test_the_time_left_is_that_of_the_last_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress_bar, "PLAIN_SECONDS", 0.0)
    history = tmp_path / "metrics.jsonl"
    # The first step took 50 s, as it built the graph; the others a second each.
    lines = [{**train_line(step), "wall_seconds": 50.0 + step} for step in range(1, 31)]
    with follow(history, 100, done_steps=0, num_epochs=1):
        write(history, lines)
    said = capsys.readouterr().err.splitlines()
    assert said[0].endswith("7 images/s")  # of one line there is no rate
    assert said[-1] == "train: step 30 of 100, epoch 1 of 1, loss 0.5000, 7 images/s, 70 s left"


def test_silence_is_told_while_ranks_start_and_after_the_last_epoch(tmp_path, monkeypatch, capsys):
    follower = progress_bar._Follower(tmp_path / "metrics.jsonl", 40, 0, num_epochs=2)
    began = follower._heard

    def told(*seconds):
        for second in seconds:
            follower.tell_silence(began + second)
        return capsys.readouterr().err.splitlines()

    assert told(1, 9.9, 10.5, 12, 19, 20.5, 39, 41, 79, 82, 142, 143) == [
        "train: starting ranks, 10 s", "train: starting ranks, 20 s", "train: starting ranks, 41 s",
        "train: starting ranks, 82 s", "train: starting ranks, 142 s",
    ]  # fmt: skip
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: began)
    follower._show([train_line(20)])
    capsys.readouterr()
    assert told(5, 11) == ["train: step 20 of 40 is done, 11 s"]
    follower._show([train_line(40), val_line(40)])
    capsys.readouterr()
    assert told(12) == ["train: evaluating, and writing the model, 12 s"]


def test_a_terminal_shows_for_how_long_ranks_have_been_starting(tmp_path, monkeypatch):
    terminal = Console(file=io.StringIO(), force_terminal=True, no_color=True, width=80, soft_wrap=True)
    monkeypatch.setattr(progress_bar, "on_terminal", lambda: True)
    monkeypatch.setattr(progress_bar, "console", lambda: terminal)
    monkeypatch.setattr(progress_bar, "POLL_SECONDS", 0.01)
    seen = threading.Event()

    def no_lines(_):
        if "starting ranks, 0 s" in terminal.file.getvalue():
            seen.set()
        return []

    monkeypatch.setattr(progress_bar._Follower, "_new_lines", no_lines)
    with follow(tmp_path / "metrics.jsonl", 40, done_steps=0, num_epochs=2):
        assert seen.wait(30)
