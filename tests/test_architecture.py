"""The rules of the house, checked on the syntax tree: who imports whom (lazily too), what is never called, sizes."""

import ast
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Level -> the levels that it may import. A level is a folder of lib/farandole; "base" is the files beside them.
ALLOWED = {
    "base": {"base", "config"},
    "config": {"base", "config"},
    "core": {"base", "config", "core"},
    "spark": {"base", "config", "core", "spark"},
    "train": {"base", "config", "core", "train"},
    "report": {"base", "config", "core", "report"},
    "pipeline": {"base", "config", "core", "spark", "train", "report", "pipeline"},
    "jobs": {"base", "pipeline", "spark"},
}
HEAVY = {"pyspark", "tensorflow", "keras", "horovod", "petastorm"}
FRAMEWORKS = {"spark": {"pyspark"}, "pipeline": {"pyspark"}, "train": {"tensorflow", "keras", "petastorm"}}
JOBS = {path.stem for path in ROOT.glob("jobs/*.py")}
UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_FUNCTIONS = {"load_model", "read_pickle", "to_pickle"}
UNSAFE_LOADERS = {"np", "numpy", "yaml", "torch"}
PARQUET_OPENERS = {"ParquetFile", "ParquetDataset", "read_table", "read_metadata", "read_schema"}
VAGUE_NAMES = {"util", "utils", "common", "helper", "helpers", "misc"}
CALLED_BY_OTHERS = {  # methods that override those of another package
    "do_HEAD": "http.server",
    "do_PUT": "http.server",
    "get_metadata": "petastorm",
    "process_request": "socketserver",
    "process_request_thread": "socketserver",
    "update_step": "Keras",
}
MAX_LINES = 300
MAX_WIDE_DOORS = 15
"""Functions of lib and jobs that take all of Config; the others take the section that they read."""


def violations(root: Path) -> list[str]:
    """What breaks a rule in root/lib and root/jobs, one `path:line: rule` each."""
    found = []
    for path in sorted([*root.glob("lib/**/*.py"), *root.glob("jobs/**/*.py")]):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text, str(path))
        level = _level(path.relative_to(root))
        problems = [*_size_and_name(path, text), *_imports(tree, level, path.relative_to(root)), *_unsafe(tree)]
        # petastorm reads by itself, once SplitFiles.verify has compared all files.
        if level in ("core", "train", "report") and path.name not in ("parquet.py", "import_petastorm.py"):
            problems += _opens_parquet(tree)
        found += [f"{path.relative_to(root)}:{line}: {rule}" for line, rule in problems]
    return found


def _level(path: Path) -> str:
    inside = path.parts[2:]  # of lib/farandole
    return "jobs" if path.parts[0] == "jobs" or inside == ("__main__.py",) else inside[0] if len(inside) > 1 else "base"


def _size_and_name(path: Path, text: str) -> Iterator[tuple[int, str]]:
    if text.count("\n") > MAX_LINES:
        yield MAX_LINES, f"the file has {text.count(chr(10))} lines, more than {MAX_LINES}; split it by what it holds"
    if VAGUE_NAMES & {path.stem, path.parent.name}:
        yield 1, "a module is named by what it holds"


def _imports(tree: ast.AST, level: str, path: Path) -> Iterator[tuple[int, str]]:
    for line, name in imported_modules(tree, path):
        package, _, rest = name.partition(".")
        if package == "farandole":
            folder = rest.partition(".")[0]
            target = folder if folder in ALLOWED else "base"
            if target not in ALLOWED[level]:
                yield line, f"{level} imports {name}; it may import {', '.join(sorted(ALLOWED[level]))}"
        elif package == "horovod" and path.parent.parts[-2:] != ("train", "horovod"):
            yield line, "only train/horovod/ imports horovod"
        elif package in HEAVY - FRAMEWORKS.get(level, set()) and package != "horovod":
            yield line, f"{level} imports {package}"
        if level == "jobs" and package in JOBS:
            yield line, f"a job imports the job {package}"
        if UNSAFE_MODULES & set(name.split(".")):
            yield line, f"{name} runs code from bytes"


def imported_modules(tree: ast.AST, path: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of every import at any depth, of relative ones and import_module("...") too."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=0):
                # `from farandole import spark` imports a module, `from numpy import array` does not: both are named.
                yield from ((node.lineno, f"{module}.{alias.name}") for alias in names)
            case ast.ImportFrom(module=module, names=names, level=depth):
                parent = path.parts[1:-depth]
                yield from ((node.lineno, ".".join([*parent, *filter(None, [module]), a.name])) for a in names)
            case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")):
                yield from ((node.lineno, arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant))


def _opens_parquet(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in PARQUET_OPENERS:
            yield node.lineno, f"{node.attr} does not verify; core/dataset/parquet.py alone opens files of a data set"


def _unsafe(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="eval" | "exec" as name)):
                yield node.lineno, f"{name} runs code from bytes"
            case ast.Call(func=ast.Attribute(value=ast.Name(id=module), attr="load")) if module in UNSAFE_LOADERS:
                yield node.lineno, f"{module}.load runs code from bytes, or may be told to"
            case ast.Call(func=ast.Attribute(value=ast.Name(id="os"), attr="system" | "popen" as name)):
                yield node.lineno, f"os.{name} runs a shell"
            case ast.keyword(arg="shell", value=ast.Constant(value=True)):
                yield node.value.lineno, "shell=True runs a shell"
            case ast.Attribute(attr=name) if name in UNSAFE_FUNCTIONS:
                yield node.lineno, f"{name} runs code from bytes"
            case ast.ImportFrom(module=str(module), names=names) if not module.startswith("farandole"):
                yield from (
                    (node.lineno, f"{a.name} runs code from bytes") for a in names if a.name in UNSAFE_FUNCTIONS
                )
            case ast.keyword(arg="allow_pickle", value=value):
                if not (isinstance(value, ast.Constant) and value.value is False):
                    yield value.lineno, "allow_pickle runs code from bytes"


def unused(root: Path) -> list[str]:
    """Public functions, classes and methods of root/lib that lib, jobs and bench never name, as `path:line: name`.

    Names are compared, not what they stand for: a method that is called like a field elsewhere passes. Imports are no
    use, nor is what a function says of itself. What is private is used by the decorator that it may have.
    """
    paths = sorted(path for folder in ("lib", "jobs", "bench") for path in root.glob(f"{folder}/**/*.py"))
    trees = {path.relative_to(root): ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    uses = Counter(name for tree in trees.values() for name in _names(tree))
    return [
        f"{path}:{node.lineno}: {node.name}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and path.parts[0] == "lib"
        and not node.name.startswith("__")
        and not (node.name.startswith("_") and node.decorator_list)
        and node.name not in CALLED_BY_OTHERS
        and uses[node.name] == Counter(_names(node))[node.name]
    ]


def wide_doors(root: Path) -> list[str]:
    """Functions and methods of root/lib and root/jobs with a parameter of type Config, as `path:line: name`."""
    return [
        f"{path.relative_to(root)}:{node.lineno}: {node.name}"
        for path in sorted([*root.glob("lib/**/*.py"), *root.glob("jobs/**/*.py")])
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and any("Config" in _types(parameter) for parameter in ast.walk(node.args))
    ]


def _types(parameter: ast.AST) -> set[str]:
    """The names in a parameter's annotation, also in one that is a string."""
    if not isinstance(parameter, ast.arg) or parameter.annotation is None:
        return set()
    strings = (node.value for node in ast.walk(parameter.annotation) if isinstance(node, ast.Constant))
    trees = [parameter.annotation, *(ast.parse(text) for text in strings if isinstance(text, str))]
    return {name for tree in trees for name in _names(tree)}


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield name


def test_this_repository_keeps_the_rules() -> None:
    assert violations(ROOT) == []
    assert unused(ROOT) == []
    assert len(wide_doors(ROOT)) <= MAX_WIDE_DOORS, "\n".join(wide_doors(ROOT))
    assert len([*ROOT.glob("lib/farandole/**/*.py")]) > 10  # it did look at something


@pytest.mark.parametrize(
    ("file", "code", "rule"),
    [
        ("lib/farandole/core/a.py", "import pyspark.sql", "core imports pyspark"),
        ("lib/farandole/core/a.py", "def f():\n    from keras import layers", "core imports keras"),
        ("lib/farandole/core/a.py", "from farandole.spark.session import x", "core imports farandole.spark.session.x"),
        ("lib/farandole/spark/a.py", "from farandole.train import loop", "spark imports farandole.train.loop"),
        ("lib/farandole/spark/a.py", "from farandole import train", "spark imports farandole.train"),
        ("lib/farandole/spark/a.py", "from ..train import loop", "spark imports farandole.train.loop"),
        ("lib/farandole/spark/a.py", "import tensorflow as tf", "spark imports tensorflow"),
        ("lib/farandole/spark/a.py", "import_module('farandole.train.loop')", "spark imports farandole.train.loop"),
        ("lib/farandole/train/a.py", "import farandole.spark.session", "train imports farandole.spark.session"),
        ("lib/farandole/train/a.py", "import pyspark", "train imports pyspark"),
        ("lib/farandole/train/a.py", "import horovod.tensorflow as hvd", "only train/horovod/ imports horovod"),
        ("jobs/a.py", "import horovod", "only train/horovod/ imports horovod"),
        ("lib/farandole/train/a.py", "from farandole import pipeline", "train imports farandole.pipeline"),
        ("lib/farandole/pipeline/a.py", "import tensorflow", "pipeline imports tensorflow"),
        ("lib/farandole/config/a.py", "from farandole.core import image", "config imports farandole.core.image"),
        ("jobs/a.py", "from farandole.train import loop", "jobs imports farandole.train.loop"),
        ("jobs/a.py", "from train import RANK_PROGRAM", "a job imports the job train"),
        ("lib/farandole/report/a.py", "from farandole.train import loop", "report imports farandole.train.loop"),
        ("lib/farandole/cli.py", "from farandole.core import schema", "base imports farandole.core.schema"),
        ("lib/farandole/core/utils.py", "", "a module is named by what it holds"),
        ("lib/farandole/common/a.py", "", "a module is named by what it holds"),
        ("jobs/a.py", "x = 1\n" * 301, "the file has 301 lines"),
        ("jobs/a.py", "import pickle", "pickle runs code"),
        ("lib/farandole/spark/a.py", "from pyspark import cloudpickle", "pyspark.cloudpickle runs code"),
        ("jobs/a.py", "eval('1')", "eval runs code"),
        ("jobs/a.py", "exec('1')", "exec runs code"),
        ("lib/farandole/train/a.py", "keras.models.load_model(path)", "load_model runs code"),
        ("lib/farandole/train/a.py", "from keras.models import load_model", "load_model runs code"),
        ("lib/farandole/core/a.py", "open_array(path, allow_pickle=True)", "allow_pickle runs code"),
        ("lib/farandole/core/a.py", "np.load(path)", "np.load runs code"),
        ("lib/farandole/core/a.py", "yaml.load(text, Loader)", "yaml.load runs code"),
        ("lib/farandole/spark/a.py", "subprocess.run(text, shell=True)", "shell=True runs a shell"),
        ("jobs/a.py", "os.system(text)", "os.system runs a shell"),
        ("lib/farandole/core/a.py", "pq.ParquetFile(path)", "ParquetFile does not verify"),
        ("lib/farandole/report/a.py", "pq.read_table(path)", "read_table does not verify"),
    ],
)
def test_a_planted_file_breaks_its_rule(tmp_path: Path, file: str, code: str, rule: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(code)
    found = violations(tmp_path)
    assert len(found) == 1
    assert found[0].startswith(file + ":")
    assert rule in found[0]


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("lib/farandole/train/horovod/distributed.py", "import horovod.tensorflow as hvd"),
        ("lib/farandole/spark/a.py", "import pyspark\nfrom farandole.core import schema\nfrom . import session"),
        (
            "lib/farandole/core/a.py",
            "import re\nre.compile('eval')\nopen_array(path, allow_pickle=False)\nmodel.eval()",
        ),
        ("lib/farandole/train/a.py", "from farandole.train.run.saved_model import load_model\nload_model(path)"),
        ("lib/farandole/core/dataset/parquet.py", "pq.ParquetFile(path)"),
        ("lib/farandole/spark/a.py", "pq.ParquetFile(path)"),
        (
            "lib/farandole/pipeline/a.py",
            "import pyspark\nfrom farandole.train import loop\nfrom farandole import report",
        ),
        ("jobs/a.py", "from farandole import pipeline\nfrom farandole.spark import session"),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, file: str, code: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(code)
    assert violations(tmp_path) == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("def f(): pass", ["f"]),
        ("def f(): f()", ["f"]),
        ("class A:\n    def f(self): pass\n    def _g(self): pass", ["A", "f", "_g"]),
        ("from farandole.b import f\ndef f(): pass", ["f"]),
        ("def f(): pass\nf()", []),
        ("class A:\n    @checked\n    def _f(self): pass\n    def do_HEAD(self): pass\nA()", []),
        ("class A:\n    @property\n    def f(self): pass\nA()", ["f"]),
        ("class A:\n    def f(self): pass\nprint(A().f)", []),
    ],
)
def test_what_nobody_uses_is_found(tmp_path: Path, code: str, found: list[str]) -> None:
    for file, text in {"lib/farandole/a.py": code, "tests/test_a.py": "a.f()\nA()", "bench/b.py": "other()"}.items():
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text(text)
    assert [line.split(": ")[1] for line in unused(tmp_path)] == found


@pytest.mark.parametrize("file", ["lib/farandole/core/a.py", "jobs/a.py"])
@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("def f(config: Config): pass", ["f"]),
        ("class A:\n    async def f(self, *, config: 'Config | None' = None): pass", ["f"]),
        ("def f(config: load.Config) -> None: pass", ["f"]),
        ("def f(run: Callable[[Config], None]): pass", ["f"]),
        ("def f(data: Data) -> Config: pass", []),
        ("def f(model: ConfigDict, /, *configs: Data): pass", []),
    ],
)
def test_what_takes_all_of_config_is_found(tmp_path: Path, file: str, code: str, found: list[str]) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(code)
    assert [line.split(": ")[1] for line in wide_doors(tmp_path)] == found


@pytest.mark.parametrize("folder", ["lib/farandole", "jobs", "bench"])
def test_a_use_in_lib_jobs_or_bench_counts(tmp_path: Path, folder: str) -> None:
    for file, text in {"lib/farandole/a.py": "def f(): pass", f"{folder}/b.py": "a.f()"}.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    assert unused(tmp_path) == []


def test_what_others_call_is_there() -> None:
    defined = {
        node.name
        for path in ROOT.glob("lib/**/*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    assert set(CALLED_BY_OTHERS) <= defined


def test_every_package_that_is_imported_is_a_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[^\w-]", dependency)[0] for dependency in project["dependencies"]}
    distributions = {
        module: {name.lower().replace("_", "-") for name in names} for module, names in packages_distributions().items()
    }
    imported = {
        name.partition(".")[0]
        for path in [*ROOT.glob("lib/**/*.py"), *ROOT.glob("jobs/**/*.py")]
        for _, name in imported_modules(ast.parse(path.read_text(encoding="utf-8")), path.relative_to(ROOT))
    }
    ours = {"farandole", *(path.stem for path in ROOT.glob("jobs/*.py"))}
    others = imported - sys.stdlib_module_names - ours - {"py4j", "pydantic_core"}  # parts of pyspark and pydantic
    assert {name for name in others if not declared & distributions.get(name, set())} == set()
    assert "numpy" in others  # it did look at something
