"""Checkpoints written beside the training: one at a time, none lost, and a full disk ends nothing."""

import errno
import threading

import numpy as np
import pytest

from farandole.train.run import checkpoint_writer as module
from farandole.train.run.checkpoint import Position, newest_checkpoint
from farandole.train.run.checkpoint_writer import CheckpointWriter


def position(step: int) -> Position:
    return Position(step=step, global_step=step)


def snapshot(value: float):
    return lambda: {"model/0000/w": np.full(3, value, np.float32)}


def test_training_goes_on_while_it_is_written_and_the_last_is_on_disk_at_the_end(tmp_path, monkeypatch):
    writing, go_on, save = threading.Event(), threading.Event(), module.save_checkpoint

    def slow(*arguments):
        writing.set()
        assert go_on.wait(60)
        save(*arguments)

    monkeypatch.setattr(module, "save_checkpoint", slow)
    writer = CheckpointWriter(tmp_path, 3, patience_seconds=60)
    writer.save(position(1), snapshot(1.0))
    assert writing.wait(60)  # and save has returned: this thread is the training
    assert newest_checkpoint(tmp_path) is None
    threading.Timer(0.0, go_on.set).start()
    writer.save(position(2), snapshot(2.0))  # waits for the first
    writer.close()
    assert newest_checkpoint(tmp_path).tensors["model/0000/w"].tolist() == [2.0] * 3
    assert len(list(tmp_path.glob("*.json"))) == 2
    assert writer.write_seconds > 0
    assert writer.pause_seconds > 0


def test_one_that_takes_too_long_makes_the_next_one_be_skipped(tmp_path, monkeypatch, capfd):
    go_on, save = threading.Event(), module.save_checkpoint
    monkeypatch.setattr(module, "save_checkpoint", lambda *arguments: go_on.wait(60) and save(*arguments))
    writer = CheckpointWriter(tmp_path, 3, patience_seconds=0)
    writer.save(position(1), snapshot(1.0))
    writer.save(position(2), lambda: pytest.fail("no copy is taken that nobody writes"))
    assert "warning: no checkpoint at step 2: that of step 1 is still being written" in capfd.readouterr().err
    go_on.set()
    writer.close()
    assert newest_checkpoint(tmp_path).position.global_step == 1


def test_a_full_disk_is_told_and_the_next_one_is_tried(tmp_path, monkeypatch, capfd):
    save = module.save_checkpoint

    def full_at_first(directory, at, tensors, keep):
        if at.global_step == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(directory, at, tensors, keep)

    monkeypatch.setattr(module, "save_checkpoint", full_at_first)
    writer = CheckpointWriter(tmp_path, 3, patience_seconds=60)
    writer.save(position(1), snapshot(1.0))
    writer.save(position(2), snapshot(2.0))
    writer.close()
    assert "checkpoint at step 1 was not written: [Errno 28] No space left" in capfd.readouterr().err.replace("\n", "")
    assert newest_checkpoint(tmp_path).position.global_step == 2


def test_an_error_that_is_no_matter_of_the_disk_is_raised(tmp_path, monkeypatch):
    def broken(*arguments):
        raise TypeError("a tensor of no kind")

    monkeypatch.setattr(module, "save_checkpoint", broken)
    writer = CheckpointWriter(tmp_path, 3, patience_seconds=60)
    writer.save(position(1), snapshot(1.0))
    with pytest.raises(TypeError, match="a tensor of no kind"):
        writer.close()
