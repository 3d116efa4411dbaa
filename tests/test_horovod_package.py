"""packages/horovod: what its build backend does to Horovod's sources, and which ones it takes, without compiling."""

import importlib.util
import tarfile
import tomllib
from pathlib import Path

import pytest

from farandole.train.horovod import distributed

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "packages" / "horovod"
_spec = importlib.util.spec_from_file_location("backend", PACKAGE / "backend.py")
assert _spec is not None
assert _spec.loader is not None
backend = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(backend)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The files that are changed, with what stands around it."""
    for name, old, _ in backend.CHANGES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        with (tmp_path / name).open("a") as file:
            file.write(f"before\n{old}after\n")
    return tmp_path


def test_each_change_is_made_and_nothing_else(source: Path) -> None:
    backend.change(source)
    for file in (path for path in source.rglob("*") if path.is_file()):
        changes = [new for name, _, new in backend.CHANGES if source / name == file]
        assert file.read_text() == "".join(f"before\n{new}after\n" for new in changes)


def test_other_sources_than_those_that_the_changes_were_made_for_are_refused(source: Path) -> None:
    name, old, _ = backend.CHANGES[1]
    (source / name).write_text(old + old)
    with pytest.raises(
        RuntimeError, match=rf"^{name} should hold '  const size_type count_;\\n' once, holds it 2 times"
    ):
        backend.change(source)


def test_an_archive_with_other_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = tmp_path / "index"
    index.mkdir()
    (tmp_path / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: horovod\nVersion: 0.28.1\n")
    with tarfile.open(index / "horovod-0.28.1.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "PKG-INFO", "horovod-0.28.1/PKG-INFO")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    with pytest.raises(RuntimeError, match="THESE PACKAGES DO NOT MATCH THE HASHES"):
        backend.download(tmp_path)


def test_horovod_is_built_for_what_it_runs_beside() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    horovod = tomllib.loads((PACKAGE / "pyproject.toml").read_text())
    pins = [pin for pin in project if pin.startswith(("tensorflow-cpu==", "horovod=="))]
    built = [pin for pin in horovod["build-system"]["requires"] if pin.startswith("tensorflow")]
    version = horovod["project"]["version"]
    assert sorted(pins) == [f"horovod=={version}", *built]
    assert version == distributed.HOROVOD  # what ranks ask for
    published, _, suffix = version.partition("+")
    assert backend.ARCHIVE.startswith(f"horovod=={published} ")
    assert suffix == backend.SETTINGS["HOROVOD_LOCAL_VERSION"]
