"""A run belongs to its settings: the same find it again, others are refused with the difference."""

import pytest
from manifests import sample_of

from balanced_data import write_balanced
from farandole.config.load import load_config, parse_config
from farandole.errors import ConfigError, DataError, ResourceError
from farandole.train.run.model_json import SavedModel
from farandole.train.run.run_directory import RunDirectory


@pytest.fixture
def manifest(tmp_path):
    return write_balanced(tmp_path, train=[[4]])


def run_for(tmp_path, manifest, **train):
    config = parse_config({"paths": {"work": str(tmp_path)}, "train": train})
    return RunDirectory(config, manifest), config


def test_the_name_follows_what_decides_the_weights(tmp_path, manifest):
    name = run_for(tmp_path, manifest)[0].name
    assert name.startswith("simple_cnn-")
    assert run_for(tmp_path, manifest, log_every_steps=7, keep_checkpoints=9)[0].name == name
    assert run_for(tmp_path, manifest, learning_rate=0.5)[0].name != name
    assert run_for(tmp_path, manifest, run_name="mine")[0].name == "mine"


def test_other_settings_are_refused_with_the_difference(tmp_path, manifest):
    run, _ = run_for(tmp_path, manifest, run_name="mine")
    run.prepare({})
    assert not run.is_finished()
    run.metrics.write_text("{}")
    assert run.is_finished()
    other, _ = run_for(tmp_path, manifest, run_name="mine", learning_rate=0.5, optimizer="sgd")
    message = r"other settings: train.learning_rate 0.001 -> 0.5, train.optimizer 'adam' -> 'sgd'; choose another"
    with pytest.raises(ConfigError, match=message):
        other.is_finished()


def test_what_the_leader_wrote_elsewhere_is_missed(tmp_path, manifest):
    run, _ = run_for(tmp_path, manifest, run_name="mine")
    run.prepare({})
    run.checkpoints.mkdir()
    with pytest.raises(ResourceError, match=r"but .*mine/model/model.json and .*mine/receipts.jsonl are not there"):
        run.check_written(num_epochs=1, wait_seconds=0.0)
    run.model.mkdir()
    (run.model / "model.json").touch()
    run.check_written(num_epochs=0, wait_seconds=0.0)  # stopped before the end of an epoch: no receipt yet
    run.receipts.touch()
    run.check_written(num_epochs=1, wait_seconds=0.0)


def test_damaged_settings_are_named(tmp_path, manifest):
    run, _ = run_for(tmp_path, manifest, run_name="mine")
    run.prepare({})
    (run.path / "settings.json").write_text("{")
    with pytest.raises(DataError, match=r"settings.json is not JSON"):
        run.is_finished()


def test_the_resolved_config_can_be_used_again(tmp_path, manifest):
    run, config = run_for(tmp_path, manifest, run_name="mine", learning_rate=0.5)
    run.prepare({})
    assert load_config(run.config) == config


def put_model(directory, weights_sha256):
    saved = SavedModel(
        name="mlp",
        arguments={},
        precision="float32",
        sample=sample_of(8, 8, 1),
        weights_sha256=weights_sha256,
    )
    (directory / "model.json").write_text(saved.model_dump_json())


def test_a_warm_start_counts_by_the_weights_it_starts_from(tmp_path, manifest):
    plain = run_for(tmp_path, manifest)[0]
    model = tmp_path / "runs/other/model"
    model.mkdir(parents=True)
    put_model(model, "aa")
    by_name, by_path = (run_for(tmp_path, manifest, warm_start=text)[0] for text in ("other", str(model.parent)))
    assert by_name.warm_start == by_path.warm_start == model
    assert by_name.fingerprint == by_path.fingerprint != plain.fingerprint
    put_model(model, "bb")
    assert run_for(tmp_path, manifest, warm_start="other")[0].fingerprint != by_name.fingerprint
    with pytest.raises(
        ConfigError, match=r"train.warm_start: .*runs/none/model/model.json cannot be read: No such file"
    ):
        run_for(tmp_path, manifest, warm_start="none")


def test_another_number_of_ranks_goes_on_with_the_same_run(tmp_path, manifest):
    assert run_for(tmp_path, manifest, num_ranks=1)[0].fingerprint == run_for(tmp_path, manifest)[0].fingerprint
