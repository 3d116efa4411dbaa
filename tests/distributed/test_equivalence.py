"""The gold tests: two ranks equal one, and a killed run equals one that was never killed."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from balanced_data import CLASS_NAMES, write_balanced
from distributed.ranks import finish_ranks, run_ranks, start_ranks
from farandole.config.load import Config, parse_config
from farandole.core.json_lines import read_lines
from farandole.spark.ranks.child import Exited
from farandole.train.run.checkpoint import newest_position
from farandole.train.run.run_directory import RunDirectory

STEPS_PER_EPOCH = 8  # of 16 rows, the last of them with 2: then one of three ranks has none


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return made(tmp_path_factory.mktemp("data") / "balanced")


def made(root, inputs=("image",)):
    root.mkdir()
    return root, write_balanced(root, train=[[10] * 6, [10] * 5 + [4]], val=20, test=30, inputs=inputs)


SIMPLE_CNN = {"name": "simple_cnn", "arguments": {"filters": [8, 8], "hidden_units": 16}}
RESNET = {"name": "resnet9", "arguments": {"filters": [8, 8, 8, 8]}}  # with batch norm, which sums over ranks, too


def config_for(work, *, num_ranks: int, batch: int = 16, model: dict[str, object] = SIMPLE_CNN, **train) -> Config:
    return parse_config(
        {
            "paths": {"work": str(work)},
            "augment": {"flip": "random", "translate_pixels": 1, "cutout_pixels": 3},
            "model": model,
            "train": {
                "num_ranks": num_ranks,
                "global_batch_size": batch,
                "epochs": 3,
                "log_every_steps": 5,
                "run_name": "run",
                **train,
            },
        }
    )


def prepared(config: Config, data) -> RunDirectory:
    run = RunDirectory(config, data[1])
    run.prepare({})
    return run


def trained(config: Config, data):
    run = prepared(config, data)
    results = run_ranks(config, data[0], run.logs)
    return run, results, load_file(run.model / "weights.safetensors")


@pytest.mark.parametrize(
    ("model", "ranks", "tolerance", "inputs"),
    [
        pytest.param(SIMPLE_CNN, (1, 2, 3), 1e-6, ("image",), id="simple_cnn"),
        pytest.param(SIMPLE_CNN, (1, 3), 1e-6, ("image", "heat"), id="a number beside the picture"),
        # Dividing by the standard deviation makes more of the rounding: of seven layers, over 20 steps.
        pytest.param(RESNET, (1, 3), 1e-5, ("image",), id="batch norm"),
    ],
)
def test_ranks_compute_the_same(tmp_path, model, ranks, tolerance, inputs):
    """20 steps over two and a half epochs, uneven last batches included; three ranks split 16 rows as 5, 5 and 6."""
    data = made(tmp_path / "balanced", inputs)
    configs = {n: config_for(tmp_path / str(n), num_ranks=n, max_steps=20, model=model) for n in ranks}
    outcomes = {n: trained(config, data) for n, config in configs.items()}
    one_run, one_results, one = outcomes[1]
    for n in ranks[1:]:
        run, results, weights = outcomes[n]
        largest = max(float(np.abs(weights[name] - one[name]).max()) for name in one)
        assert largest < tolerance, f"{n} ranks differ from one by {largest}"
        assert results[0]["metrics"]["test"]["confusion"] == one_results[0]["metrics"]["test"]["confusion"]
        assert [result["metrics"] for result in results[1:]] == [{}] * (n - 1)
        lines = zip(read_lines(run.history), read_lines(one_run.history), strict=True)
        assert all(abs(mine["loss"] - theirs["loss"]) < 1e-5 for mine, theirs in lines)
        assert read_lines(run.receipts) == read_lines(one_run.receipts)


def test_ranks_that_exchange_float16_differ_by_its_rounding_alone(tmp_path, data):
    exact, halves = (
        trained(config_for(tmp_path / name, num_ranks=2, max_steps=8, optimizer="sgd", gradient_compression=name), data)
        for name in ("none", "float16")
    )
    largest = max(float(np.abs(halves[2][name] - exact[2][name]).max()) for name in exact[2])
    assert 0 < largest < 1e-5, largest


def test_receipts_account_for_every_row(tmp_path, data):
    run, results, _ = trained(config_for(tmp_path, num_ranks=2), data)
    manifest = data[1]
    receipts = read_lines(run.receipts)
    assert [line["epoch"] for line in receipts] == [0, 1, 2]
    for line in receipts:
        assert line["rows_planned"] == line["rows_trained"] == 114
        assert line["per_class"] == manifest.splits["train"].class_counts
        assert line["id_checksum"] == manifest.splits["train"].id_checksum
    figures = results[0]["metrics"]
    assert figures["train"]["images"] == 3 * 114
    assert figures["train"]["steps"] == 3 * STEPS_PER_EPOCH
    assert figures["val"]["num_rows"] == 20
    assert [figures["test"]["per_class"][name]["support"] for name in CLASS_NAMES] == list(
        manifest.splits["test"].class_counts.values()
    )
    assert sum(len(result["wrong"]) for result in results) == 30 - round(30 * figures["test"]["accuracy"])


def test_killed_with_three_ranks_and_resumed_with_one_trains_on_the_same_batches(tmp_path, data):
    calm_run, _, calm = trained(config_for(tmp_path / "calm", num_ranks=1, max_steps=12), data)
    config = config_for(tmp_path / "killed", num_ranks=3, max_steps=12, checkpoint_every_steps=3)
    run = prepared(config, data)
    finish_ranks(start_ranks(config, data[0], run.logs, fault={"kind": "kill", "step": 7, "ranks": [0, 1, 2]}))
    assert newest_position(run.checkpoints).global_step in (3, 6)
    resumed, _, weights = trained(
        config.model_copy(update={"train": config.train.model_copy(update={"num_ranks": 1})}), data
    )
    assert resumed.path == run.path
    assert max(float(np.abs(weights[name] - calm[name]).max()) for name in calm) < 1e-6
    lines = zip(read_lines(run.history), read_lines(calm_run.history), strict=True)
    assert all(abs(mine["loss"] - theirs["loss"]) < 1e-5 for mine, theirs in lines)
    assert read_lines(run.receipts) == read_lines(calm_run.receipts)


def test_killed_in_mid_epoch_and_resumed_gives_the_same_bits(tmp_path, data):
    settings = {"num_ranks": 2, "checkpoint_every_steps": 3}
    calm_run, _, calm = trained(config_for(tmp_path / "calm", **settings), data)

    config = config_for(tmp_path / "killed", **settings)
    run = prepared(config, data)
    fault = {"kind": "kill", "step": 14, "ranks": [0, 1]}
    assert finish_ranks(start_ranks(config, data[0], run.logs, fault=fault)) == [Exited(-9)] * 2
    position = newest_position(run.checkpoints)
    assert position.global_step in (
        9,
        12,
    )  # mid-epoch; step 12 may have been on its way to disk

    run_ranks(config, data[0], run.logs)
    resumed = load_file(run.model / "weights.safetensors")
    assert {name: value.tobytes() for name, value in resumed.items()} == {k: v.tobytes() for k, v in calm.items()}
    assert read_lines(run.receipts) == read_lines(calm_run.receipts)
    timed = {"images_per_second", "data_wait_fraction", "wall_seconds"}
    mine, theirs = ([{k: v for k, v in line.items() if k not in timed} for line in read_lines(r.history)]
                    for r in (run, calm_run))  # fmt: skip
    assert mine == theirs
