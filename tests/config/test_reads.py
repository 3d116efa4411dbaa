"""Every key of a config is read by the wing that its table belongs to, and no key is read by nobody."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

from farandole.config.load import Config

ROOT = Path(__file__).parents[2]
TABLES = {name: field.annotation for name, field in Config.model_fields.items()}
CLASSES = {table.__name__: name for name, table in TABLES.items()}
KEYS = {(name, key) for name, table in TABLES.items() for key in table.model_fields}

# Table -> where its keys are read: folders and files of lib/farandole.
READERS = {
    "paths": ("config/load.py",),  # as Config.work
    "data": ("spark/source/", "pipeline/data_stages.py"),
    "image": ("core/record/", "spark/preprocess/", "train/run/model_json.py"),
    "sample": ("spark/preprocess/", "pipeline/train_stage.py", "core/dataset/manifest.py"),  # the last has its own
    "missing": ("spark/source/", "spark/preprocess/", "core/record/"),
    "split": ("core/plan/split.py", "spark/preprocess/", "config/load.py"),
    "balance": ("core/plan/", "spark/rebalance/"),
    "layout": ("core/plan/", "spark/rebalance/"),
    "augment": ("train/input/augment.py",),
    "model": ("train/loop.py", "train/run/"),
    "train": ("train/", "spark/ranks/", "pipeline/"),
    "evaluate": ("train/", "pipeline/"),
    "pipeline": ("pipeline/data_stages.py",),
}


def reads(root: Path) -> dict[tuple[str, str], set[str]]:
    """(table, key) -> the files of root/lib/farandole that read it.

    A read is `x.KEY` of a parameter, or a field, that is annotated with the table's class, `config.TABLE.KEY`,
    `self.TABLE.KEY` (or _TABLE), `parse_config(...).TABLE.KEY`, or `x.KEY` after `x = config.TABLE`.
    """
    found = defaultdict(set)
    for path in sorted((root / "lib/farandole").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        name = str(path.relative_to(root / "lib/farandole"))
        for scope in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]:
            tables = _annotated(scope, _aliases(tree))
            for node in ast.walk(scope):
                if isinstance(node, ast.Assign):
                    tables |= _assigned(node)
            for node in ast.walk(scope):
                if isinstance(node, ast.Attribute):
                    table = _table(node.value) or (
                        tables.get(node.value.id) if isinstance(node.value, ast.Name) else None
                    )
                    if (table, node.attr) in KEYS:
                        found[table, node.attr].add(name)
    return found


def _aliases(tree: ast.AST) -> dict[str, str]:
    """Names in the file -> tables."""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    names = [alias for node in imports if node.module.startswith("farandole.config") for alias in node.names]
    defined = {node.name: CLASSES[node.name] for node in ast.walk(tree)
               if isinstance(node, ast.ClassDef) and node.name in CLASSES}  # fmt: skip
    return defined | {alias.asname or alias.name: CLASSES[alias.name] for alias in names if alias.name in CLASSES}


def _annotated(scope: ast.AST, aliases: dict[str, str]) -> dict[str, str]:
    """Parameters -> tables, and `self` where the scope is the class of a table."""
    if isinstance(scope, ast.ClassDef):
        return {"self": aliases[scope.name]} if scope.name in CLASSES else {}
    arguments = [*scope.args.posonlyargs, *scope.args.args, *scope.args.kwonlyargs]
    names = {a.arg: n.id for a in arguments if a.annotation for n in ast.walk(a.annotation) if isinstance(n, ast.Name)}
    return {argument: aliases[name] for argument, name in names.items() if name in aliases}


def _assigned(node: ast.Assign) -> dict[str, str]:
    targets = node.targets[0].elts if isinstance(node.targets[0], ast.Tuple) else node.targets
    values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
    pairs = zip(targets, values, strict=False)
    return {to.id: table for to, value in pairs if isinstance(to, ast.Name) and (table := _table(value))}


def _table(node: ast.AST) -> str | None:
    """The table that `config.TABLE` or `self.TABLE` is; other things have such names, too, as manifest.image has."""
    match node:
        case ast.Attribute(
            value=ast.Name(id="config" | "self" | "run")
            | ast.Attribute(attr="config" | "_run")
            | ast.Call(func=ast.Name(id="parse_config")),
            attr=name,
        ):
            return name.removeprefix("_") if name.removeprefix("_") in TABLES else None
    return None


def strays(root: Path) -> list[str]:
    """What breaks the rule."""
    found = reads(root)
    nobody = [f"{table}.{key} is read by nobody" for table, key in sorted(KEYS - found.keys())]
    return nobody + [
        f"{table}.{key} is read by {file}"
        for (table, key), files in sorted(found.items())
        for file in sorted(files)
        if not file.startswith((*READERS[table], "config/"))
    ]


def test_every_key_is_read_where_its_table_belongs() -> None:
    assert strays(ROOT) == []


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("core/a.py", "from farandole.config.train import Train\ndef f(t: Train): return t.epochs"),
        ("core/a.py", "def f(config): return config.train.epochs"),
        ("core/a.py", "def f(config):\n    rules, y = config.train, 1\n    return rules.epochs"),
        ("core/a.py", "class A:\n    def f(self): return self._train.epochs"),
    ],
)
def test_a_read_elsewhere_is_found(tmp_path: Path, file: str, code: str) -> None:
    path = tmp_path / "lib/farandole" / file
    path.parent.mkdir(parents=True)
    path.write_text(code)
    assert f"train.epochs is read by {file}" in strays(tmp_path)
    assert "train.seed is read by nobody" in strays(tmp_path)
