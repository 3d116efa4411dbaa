"""Every wrong key or value is refused with what was received and what would be right."""

import tomllib
from pathlib import Path

import pytest

from farandole.config.load import describe_keys, load_config
from farandole.errors import ConfigError

CONF = Path(__file__).parents[2] / "conf"


@pytest.mark.parametrize("path", sorted(CONF.glob("*.toml")), ids=lambda path: path.name)
def test_shipped_configs_are_valid(path):
    assert load_config(path).train.epochs == tomllib.loads(path.read_text())["train"]["epochs"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epoch=3", r"unknown key 'train.epoch'; did you mean train.epochs\?"),
        ("trian.epochs=3", r"unknown key 'trian'; did you mean train\?"),
        ("train.epochs=three", r"train.epochs: Input should be a valid integer; received 'three'"),
        ("train.epochs=0", r"train.epochs: Input should be greater than or equal to 1; received 0"),
        ("train.min_ranks=3", r"train.min_ranks must not be above train.num_ranks; received 3 and 2"),
        ("train.reader=dask", r"train.reader: Input should be 'arrow' or 'petastorm'; received 'dask'"),
        ("train.run_name=../x", r"train.run_name: String should match pattern .*; received '../x'"),
        ("split.val_fraction=0.95", r"must be below 1 so that train rows remain; received 0.95 \+ 0.2"),
        ("data.source=folder", r"data.path is empty but data.source is 'folder'"),
        ("data.path=/photos", r"data.path is given but data.source is 'digits', .*; received '/photos'; set data"),
        ("train.learning_rate=inf", r"train.learning_rate: Input should be a finite number; received inf"),
        ("train.optimizer=muon", r"'muon' needs train.other_learning_rate above 0, .*; received 0.0"),
        ("augment.translate_pixels=8", r"must be below the shorter side of the images, 8; received 8"),
        ("paths.work=''", r"paths.work: String should have at least 1 character; received ''"),
        ("data.source=table", r"data.path is empty but data.source is 'table'"),
        ("data.label_table=a.csv", r"stands beside a folder of images, but data.source is 'digits'; received 'a.csv'"),
        ("data.pixel_shape=[4]", r"data.pixel_shape = \[4\]; expected \[height, width\] or"),
        (
            "sample.inputs=['a']",
            r"sample.inputs begins with \"image\" and names each further column once; received \['a'\]",
        ),
        ("sample.inputs=['image','a','a']", r"each further column once; received \['image', 'a', 'a'\]"),
        ("sample.inputs=['image','heat']", r"not kept: heat; data.keep_columns has none; add them to it"),
        ("data.keep_columns=['a']", r"are for tables, but data.source is 'digits'; received \['a'\]"),
        ("missing.columns.a.polcy='drop'", r"unknown key 'missing.columns.a.polcy'; did you mean .*a.policy\?"),
        ("missing.columns.a.policy='fill'", r'"fill" needs either value or statistic; received value = None and stat'),
        ("missing.columns.a.policy='interpolate'", r'policy = "interpolate" needs order_by; received none'),
        ("train.seed=4294967296", r"train.seed: Input should be less than 4294967296; received 4294967296"),
        ("train.lr=0.1", r"unknown key 'train.lr'; did you mean train.learning_rate\?"),
        ("optimizer.name=adam", r"unknown key 'optimizer'; known are paths, data, image, .*, pipeline$"),
        ("data.max_quarantine_fraction=1.5", r"data.max_quarantine_fraction: .* less than or equal to 1; received 1.5"),
        ("epochs=3", r"--set expects section.key=value, received 'epochs=3'"),
        ("train.epochs", r"--set expects section.key=value, received 'train.epochs'"),
        ("paths.work.x=1", r"'work' is a value, not a table"),
    ],
)
def test_refusals(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(CONF / "digits.toml", [override])


def test_views_that_stick_out_are_refused_before_anything_runs():
    with pytest.raises(
        ConfigError, match=r"'mirrored_shifted' needs images of 2 pixels or more; received 1; set it to"
    ):
        load_config(CONF / "digits.toml", ["image.height=1", "evaluate.views=mirrored_shifted"])


def test_overrides_are_toml_or_bare_words():
    config = load_config(
        CONF / "digits.toml",
        ["train.epochs=3", "paths.work=/tmp/x y", "image.reject_blank=false", "model.arguments={filters=[4]}"],
    )
    assert (config.train.epochs, config.paths.work, config.image.reject_blank) == (3, "/tmp/x y", False)
    assert config.model.arguments == {"filters": [4]}


def test_what_a_job_writes_may_not_lie_in_its_source(tmp_path):
    (tmp_path / "photos/work").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "photos/work")
    for source in ("folder", "table"):
        for work in ("photos", "photos/work", "photos/new/work", "link/more"):
            overrides = [f"data.source={source}", f"data.path={tmp_path}/photos", f"paths.work={tmp_path}/{work}"]
            with pytest.raises(
                ConfigError, match=rf"paths.work lies inside data.path, .*received '.*{work}' and '.*pho"
            ):
                load_config(CONF / "digits.toml", overrides)
        overrides = [f"data.source={source}", f"data.path={tmp_path}/photos", f"paths.work={tmp_path}/photos2"]
        load_config(CONF / "digits.toml", overrides)


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path):
    (tmp_path / "bom.toml").write_bytes(b"\xef\xbb\xbf[train]\r\nepochs = 7\r\n")
    assert load_config(tmp_path / "bom.toml").train.epochs == 7


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read config .*none.toml.*: No such file"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[train\n")
    with pytest.raises(ConfigError, match=r"bad.toml' is not TOML"):
        load_config(tmp_path / "bad.toml")


def test_help_names_every_key():
    text = describe_keys()
    assert "global_batch_size = 64    Rows per optimizer step over all ranks." in text


def test_a_byte_order_mark_is_no_part_of_a_config(tmp_path):
    (tmp_path / "c.toml").write_bytes(b"\xef\xbb\xbf[train]\nepochs = 3\n")
    assert load_config(tmp_path / "c.toml").train.epochs == 3
    assert load_config(None, ["train.epochs=4"]).train.epochs == 4
