"""Packages that Keras would import although no rank uses them are hidden from it, and from nobody else."""

import importlib
import json
import subprocess
import sys

import pytest

from farandole.train.rank import hidden


def test_hidden_packages_cannot_be_imported_and_come_back(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "heavy_package"
    package.mkdir()
    for name in ("__init__", "part"):
        (package / f"{name}.py").touch()
    with hidden("heavy_package", "json"):
        for name in ("heavy_package", "heavy_package.part"):
            with pytest.raises(ImportError, match="heavy_package"):
                importlib.import_module(name)
        assert importlib.import_module("json") is json  # it was there before
    assert importlib.import_module("heavy_package.part").__name__ == "heavy_package.part"
    assert sys.modules["json"] is json


def test_keras_does_not_bring_them_along():
    code = (
        "import sys; from farandole.train.rank import _import_tensorflow; _import_tensorflow();"
        "print(sorted({'sklearn', 'matplotlib', 'keras', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.stdout == "['keras', 'tensorflow']\n"
