"""A path in a config means one place, whoever reads it later and from wherever."""

import pytest

from farandole.config.load import load_config, parse_config
from farandole.errors import ConfigError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("DISK", "/mnt/disk 1")
    monkeypatch.delenv("NOWHERE", raising=False)
    return tmp_path


def work(text: str) -> str:
    return parse_config({"paths": {"work": text}}).paths.work


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("work", "{here}/work"),
        ("a b/./c/", "{here}/a b/c"),
        ("/data/x/", "/data/x"),
        ("~", "/home/ann"),
        ("~/x", "/home/ann/x"),
        ("./~x", "{here}/~x"),
        ("${DISK}/x", "/mnt/disk 1/x"),
        ("file:///data/a%20b", "/data/a b"),
        ("file://localhost/data", "/data"),
        ("file:/data", "/data"),
        ("./s3:/x", "{here}/s3:/x"),
    ],
)
def test_every_spelling_becomes_one_absolute_path(here, text, expected):
    assert work(text) == expected.format(here=here)


def test_the_default_is_absolute_too(here):
    assert parse_config({}).paths.work == f"{here}/work"


def test_a_rank_in_another_directory_reads_the_same_paths(here, tmp_path_factory, monkeypatch):
    told = {
        "paths": {"work": "work"},
        "data": {"source": "folder", "path": "photos", "label_table": "labels.csv"},
        "train": {"warm_start": "old/run"},
    }
    config = parse_config(told)
    monkeypatch.chdir(tmp_path_factory.mktemp("executor"))
    assert parse_config(config.model_dump()) == config
    assert config.data.path == f"{here}/photos"
    assert config.data.label_table == f"{here}/photos/labels.csv"
    assert config.train.warm_start == f"{here}/old/run"


def test_a_bare_word_names_a_run(here):
    assert parse_config({"train": {"warm_start": "resnet9-12ab"}}).train.warm_start == "resnet9-12ab"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("paths.work=s3://bucket/work", r"paths.work 's3://bucket/work' is a s3: address, and only local and mounted"),
        ("data.path=gs://b/x", r"data.path 'gs://b/x' is a gs: address, and only local"),
        ("data.path=dbfs:/x", r"data.path 'dbfs:/x' is a dbfs: address, and only local"),
        ("data.path=file://nas/x", r"data.path 'file://nas/x' is a file: address, and only local"),
        ("data.label_table=s3://b/x.csv", r"data.label_table 's3://b/x.csv' is a s3: address"),
        ("train.warm_start=hdfs://b/x", r"train.warm_start 'hdfs://b/x' is a hdfs: address"),
        ("paths.work=${NOWHERE}/x", r"paths.work '\$\{NOWHERE\}/x' names the environment variable NOWHERE, which"),
        ('data.path="a\\u0000b"', r"data.path 'a\\x00b' has a NUL in it, which no path can have; remove it"),
        ("data.path=file:///a%00b", r"data.path 'file:///a%00b' has a NUL in it"),
        ("data.path=~nobody-of-that-name/x", r"data.path '~nobody-of-that-name/x': no home directory is known for it"),
    ],
)
def test_places_that_cannot_be_read_are_refused(here, tmp_path, override, message):
    (tmp_path / "empty.toml").touch()
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "empty.toml", ["data.source=folder", "data.path=photos", override])
