"""What is shown of a run that goes on where another driver was killed."""

import json

from farandole.report import progress
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
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
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
