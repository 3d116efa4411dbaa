"""One word, one thing: no two public classes or functions of lib have one name."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

SHARED = {  # names that two may have, and why
    "preprocess": "a job, and the stage that it runs",
    "rebalance": "a job, and the stage that it runs",
    "train": "a job, and what it has a rank do",
    "evaluate": "a job, and what it has a rank do",
}


def doubles(root: Path) -> list[str]:
    """Names that several modules of root/lib give to a public class or function, as `name: path:line, path:line`.

    Methods are apart: their class says what they are about. So are names that begin with an underscore.
    """
    places = defaultdict(list)
    for path in sorted(root.glob("lib/**/*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name[0] != "_":
                places[node.name].append(f"{path.relative_to(root)}:{node.lineno}")
    return [f"{name}: {', '.join(found)}" for name, found in sorted(places.items()) if len(found) > 1]


def test_no_name_means_two_things() -> None:
    assert [line for line in doubles(ROOT) if line.partition(":")[0] not in SHARED] == []
    assert len(doubles(ROOT)) >= 4  # it did look at something


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ("class Batch: pass", "class Batch: pass", ["Batch"]),
        ("def read(): pass", "async def read(): pass", ["read"]),
        ("def batch(): pass", "class Batch: pass", []),
        ("def _read(): pass", "def _read(): pass", []),
        ("class A:\n    def read(self): pass", "def read(): pass", []),
        ("def read(): pass", "from farandole.core.a import read", []),
    ],
)
def test_what_is_called_alike_is_found(tmp_path: Path, first: str, second: str, found: list[str]) -> None:
    for file, code in {"core/a.py": first, "train/b.py": second}.items():
        (tmp_path / "lib/farandole" / file).parent.mkdir(parents=True)
        (tmp_path / "lib/farandole" / file).write_text(code)
    assert [line.partition(":")[0] for line in doubles(tmp_path)] == found
