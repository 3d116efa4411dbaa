"""Files of one JSON object a line, which grow while others read them, metrics.jsonl and receipts.jsonl; and one object
as a text for people."""

import json
from pathlib import Path
from typing import Any

from farandole.core.dataset.commit import write_text


def read_lines(path: Path) -> list[dict[str, Any]]:
    """A .jsonl file as a list; a last line that a killed process left half written is dropped."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def keep_lines(path: Path, last_global_step: int) -> None:
    """Cuts a .jsonl file back to what was written up to a step: a resumed run writes the rest again."""
    kept = [line for line in read_lines(path) if line["global_step"] <= last_global_step]
    if path.exists():
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Adds one line to a .jsonl file, in one write."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def json_text(value: Any, indent: str = "") -> str:
    """JSON, indented as with json.dumps(value, indent=1), but a list of plain values stays on one line.

    A confusion of 1,000 classes takes 2 MB so, a row on each line; with every number on a line of its own it took 14.
    """
    inside = indent + " "
    if isinstance(value, dict) and value:
        items = [f"{inside}{json.dumps(str(key))}: {json_text(item, inside)}" for key, item in value.items()]
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        items = [f"{inside}{json_text(item, inside)}" for item in value]
    else:
        return json.dumps(value, separators=(",", ":"))
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n" + ",\n".join(items) + f"\n{indent}{closing}"
