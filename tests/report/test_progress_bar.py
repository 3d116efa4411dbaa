"""What is shown of a run, on a terminal, and where it goes on after another driver was killed."""

import io
import json

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
    with follow(history, 40, done_steps=10):
        write(resumed, [train_line(10), val_line(10), train_line(20), val_line(20)])  # cut back to 10, then gone on
        resumed.replace(history)
    shown = [line for line in capsys.readouterr().err.splitlines() if line]
    assert shown == [
        "train: step 20 of 40, epoch 0, loss 0.5000, 7 images/s, 20 s left",
        "train: epoch 0 done; val loss 0.2500, accuracy 0.5000, balanced accuracy 0.7500",
    ]


def test_every_number_is_whole_on_a_terminal_of_80_columns(tmp_path, monkeypatch):
    terminal = Console(file=io.StringIO(), force_terminal=True, no_color=True, width=80, soft_wrap=True)
    monkeypatch.setattr(progress_bar, "on_terminal", lambda: True)
    monkeypatch.setattr(progress_bar, "console", lambda: terminal)
    history = tmp_path / "metrics.jsonl"
    with follow(history, 199_040, done_steps=0):
        line = {**train_line(199_040), "epoch": 510, "loss": 12.3456, "images_per_second": 143_640.0}
        write(history, [line])
    last = terminal.file.getvalue().splitlines()[-2].rpartition("\x1b[2K")[2]
    assert last.startswith("train ━")
    assert last.endswith("━ 199040/199040 steps, epoch 510, loss 12.3456, 143640 images/s 0:00:00")
    assert len(last) == 80
