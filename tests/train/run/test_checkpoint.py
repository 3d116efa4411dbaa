"""Checkpoints are whole or skipped, and come back to the bit."""

import errno
import threading
from pathlib import Path

import numpy as np
import pytest

from farandole.errors import DataError, RankError
from farandole.train.run import checkpoint
from farandole.train.run.checkpoint import (
    Position,
    assign_variables,
    await_checkpoint,
    load_weights,
    newest_checkpoint,
    newest_position,
    remove_left_over,
    save_checkpoint,
    save_weights,
)

TENSORS = {"model/0000/w": np.arange(6, dtype=np.float32).reshape(2, 3), "optimizer/0000/n": np.array(7, np.int64)}


def save(directory, step: int, keep: int = 3) -> None:
    tensors = {name: value + step for name, value in TENSORS.items()}
    save_checkpoint(directory, Position(epoch=1, step=step, global_step=step), tensors, keep)


def test_the_newest_comes_back_and_old_ones_go(tmp_path):
    for step in (5, 10, 15, 20):
        save(tmp_path, step, keep=2)
    found = newest_checkpoint(tmp_path)
    assert (found.position.epoch, found.position.step, found.position.global_step) == (1, 20, 20)
    for name, value in TENSORS.items():
        assert found.tensors[name].tobytes() == (value + 20).astype(value.dtype).tobytes()
        assert found.tensors[name].shape == value.shape
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"step-0000000{step}.{end}" for step in (15, 20) for end in ("json", "safetensors")
    ]


def test_none_where_there_is_none(tmp_path):
    assert newest_checkpoint(tmp_path / "nothing") is None
    assert newest_position(tmp_path / "nothing") is None


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-3])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [_truncate, _flip, lambda path: path.write_bytes(b""), lambda path: path.unlink()])
@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_a_torn_one_is_skipped_with_a_warning(tmp_path, capfd, damage, suffix):
    save(tmp_path, 5)
    save(tmp_path, 10)
    damage(tmp_path / f"step-000000010{suffix}")
    assert newest_checkpoint(tmp_path).position.global_step == 5
    if not (suffix == ".json" and not (tmp_path / "step-000000010.json").exists()):  # one without JSON never was one
        assert "step-000000010.safetensors is damaged and skipped" in capfd.readouterr().err.replace("\n", "")


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_one_that_cannot_be_read_for_now_is_not_given_up(tmp_path, monkeypatch, suffix):
    save(tmp_path, 5)
    save(tmp_path, 10)

    def refuse(name):
        def read(path, *arguments):
            if str(path).endswith(f"10{suffix}"):
                raise OSError(errno.EIO, "Input/output error")
            return own[name](path, *arguments)

        return read

    own = {"sha": checkpoint.file_sha256, "bytes": Path.read_bytes}
    monkeypatch.setattr(checkpoint, "file_sha256", refuse("sha"))
    monkeypatch.setattr(Path, "read_bytes", refuse("bytes"))
    with pytest.raises(
        RankError, match=r"step-000000010.json cannot be read: .*Input/output error; where it never can"
    ):
        newest_checkpoint(tmp_path)


def test_one_that_another_host_has_seen_is_waited_for(tmp_path):
    def appear():
        save(tmp_path / "late", 10)
        (tmp_path / "late").rename(tmp_path / "checkpoints")

    late = threading.Timer(0.5, appear)
    late.start()
    found = await_checkpoint(tmp_path / "checkpoints", 10, patience_seconds=60)
    assert found.position.global_step == 10
    late.join()
    with pytest.raises(
        RankError, match=r"step-000000015\.safetensors was read by another rank, but not here within 0 s"
    ):
        await_checkpoint(tmp_path / "checkpoints", 15, patience_seconds=0)


def test_weights_are_compared_with_their_hash(tmp_path):
    sha256 = save_weights(tmp_path / "w.safetensors", TENSORS)
    assert load_weights(tmp_path / "w.safetensors", sha256).keys() == TENSORS.keys()
    with pytest.raises(DataError, match=rf"has SHA-256 {sha256}, expected 00; the file was changed or damaged"):
        load_weights(tmp_path / "w.safetensors", "00")
    with pytest.raises(DataError, match=r"cannot read weights .*none"):
        load_weights(tmp_path / "none", sha256)


class Variable:
    def __init__(self, path, shape):
        self.path, self.shape, self.value = path, shape, None

    def assign(self, value):
        self.value = value


def test_tensors_of_another_model_are_refused():
    with pytest.raises(DataError, match=r"another model; .*: model/0000/v missing, expected \(2, 3\); model/0000/w"):
        assign_variables([Variable("v", (2, 3))], TENSORS, "model")
    with pytest.raises(DataError, match=r"another model; .*: model/0000/w \(2, 3\), expected \(3, 2\)$"):
        assign_variables([Variable("w", (3, 2))], TENSORS, "model")
    with pytest.raises(DataError, match=r"another optimizer; .*: optimizer/0000/n \(\), expected none$"):
        assign_variables([], TENSORS, "optimizer")
    with pytest.raises(DataError, match=r"; and 2 more$"):
        assign_variables([Variable(str(i), ()) for i in range(11)], TENSORS, "model")
    fitting = Variable("w", (2, 3))
    assign_variables([fitting], TENSORS, "model")
    assert fitting.value is TENSORS["model/0000/w"]


def test_damaged_ones_do_not_push_good_ones_out(tmp_path):
    for step in (5, 10):
        save(tmp_path, step, keep=2)
    _truncate(tmp_path / "step-000000010.safetensors")
    found = newest_checkpoint(tmp_path)
    remove_left_over(tmp_path, found.position.global_step)
    save(tmp_path, 7, keep=1)
    assert newest_checkpoint(tmp_path).position.global_step == 7
