"""Nothing outside paths.work is ever written, whatever names come in and whatever links lie in it."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pillow
from pyspark.sql import SparkSession

from balanced_data import write_balanced
from farandole.config.load import Config, parse_config
from farandole.core.dataset.lock import exclusive
from farandole.core.dataset.manifest import read_manifest
from farandole.errors import DataError
from farandole.pipeline.data_stages import ensure_balanced
from farandole.train.run.run_directory import RunDirectory

HOSTILE = ["..", "../../outside", "/tmp/outside", "~", "-rf", "a\nb", "$(touch x)", "%2e%2e%2fx", "..\\x", "con\tnul"]


def surroundings(root: Path) -> dict[str, Any]:
    """Everything below but paths.work: names, types, times, and what links point to."""
    found = {}
    for folder, directories, files in os.walk(root):
        if Path(folder) == root:
            directories.remove("work")
        for name in (*directories, *files):
            path = Path(folder, name)
            status = path.lstat()
            found[str(path)] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ino)
    return found


def config_for(root: Path, **data: Any) -> Config:
    return parse_config(
        {
            "paths": {"work": str(root / "work")},
            "data": {"path": str(root / "raw"), **data},
            "image": {"height": 4, "width": 4},
            "split": {"val_fraction": 0.0, "test_fraction": 0.0},
            "layout": {"num_files": 2},
        }
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with paths.work in it, and beside it things that must stay as they are."""
    (tmp_path / "work").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("precious")
    return tmp_path


def picture(path: Path, seed: int) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)).save(path, "PNG")
    return path.read_bytes()


def test_hostile_names_in_a_folder_and_its_label_table(spark: SparkSession, root: Path) -> None:
    names = [name for name in HOSTILE if "/" not in name and name != ".."]
    for seed, name in enumerate(names):
        picture(root / "raw" / name / f"{name}.png", 2 * seed)
        picture(root / "raw" / name / "plain.png", 2 * seed + 1)
    (root / "raw" / "link.png").symlink_to(root / "outside" / "precious")
    rows = [{"file": f"{name}/{name}.png", "label": name} for name in names]
    rows += [{"file": f"{name}/x.png", "label": name} for name in HOSTILE] + [{"file": "link.png", "label": ".."}]
    (root / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = surroundings(root)
    config = config_for(root, source="folder", label_table=str(root / "labels.jsonl"), image_column="file")
    with ensure_balanced(lambda: spark, config) as balanced:
        assert set(balanced.manifest.class_names) >= set(names)
        assert balanced.manifest.quarantine["unsafe_path"] == 4
    assert surroundings(root) == before


def test_hostile_values_in_a_table(spark: SparkSession, root: Path) -> None:
    for seed, name in enumerate(HOSTILE):
        columns = {
            "id": [f"{name}{i}" for i in range(4)],
            "image": [picture(root / "scratch.png", 4 * seed + i) for i in range(4)],
            "label": [name] * 4,
        }
        (root / "raw" / f"source=..%2F..%2F{seed}").mkdir(parents=True)
        pq.write_table(pa.table(columns), root / "raw" / f"source=..%2F..%2F{seed}" / "x.parquet")
    before = surroundings(root)
    columns = {"image_column": "image", "label_column": "label", "id_column": "id"}
    with ensure_balanced(
        lambda: spark, config_for(root, source="table", keep_columns=["source"], **columns)
    ) as balanced:
        assert sorted(balanced.manifest.class_names) == sorted(HOSTILE)
    assert surroundings(root) == before


def test_links_in_place_of_what_a_stage_writes(root: Path) -> None:
    work = root / "work"
    (work / ".clean.lock").symlink_to(root / "outside" / "new")
    before = surroundings(root)
    with (
        pytest.raises(DataError, match=r"\.clean\.lock is a link, and nothing outside paths.work"),
        exclusive(work / "clean"),
    ):
        pass
    assert surroundings(root) == before


def test_a_manifest_that_names_files_elsewhere_is_no_data_set(root: Path) -> None:
    shutil.rmtree(root / "work")
    (root / "work").mkdir()
    balanced = root / "work" / "balanced"
    balanced.mkdir()
    write_balanced(balanced, train=[[2]])
    before = surroundings(root)
    for path in ("../../outside/precious", "/etc/passwd", "data/../../../outside/precious"):
        plain = json.loads((balanced / "manifest.json").read_text())
        plain["splits"]["train"]["files"][0]["path"] = path
        (balanced / "manifest.json").write_text(json.dumps(plain))
        with pytest.raises(DataError, match=r"manifest.json is not a valid manifest: "):
            read_manifest(balanced)
    assert surroundings(root) == before


@pytest.mark.parametrize("link", ["runs", "runs/run", "runs/run/checkpoints", "runs/run/logs", "runs/run/evaluation"])
def test_a_run_whose_directory_is_a_link_to_elsewhere_is_refused(root: Path, link: str) -> None:
    data = root / "data"
    data.mkdir()
    manifest = write_balanced(data, train=[[2]])
    config = parse_config({"paths": {"work": str(root / "work")}, "train": {"run_name": "run"}})
    (root / "work" / link).parent.mkdir(parents=True, exist_ok=True)
    (root / "work" / link).symlink_to(root / "outside")
    before = surroundings(root)
    run = RunDirectory(config, manifest)
    message = rf"work/{link} is a link to .*/outside.*, and a run writes nothing outside paths.work; remove the link"
    for refused in (run.is_finished, lambda: run.prepare({})):
        with pytest.raises(DataError, match=message):
            refused()
    assert surroundings(root) == before
    (root / "work" / link).unlink()
    (root / "work" / "elsewhere").mkdir()
    (root / "work" / link).symlink_to(root / "work" / "elsewhere")  # inside, it may be as it likes
    run.prepare({})
