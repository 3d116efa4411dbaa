"""Which columns a table has: those that its files agree in, and the KEY=VALUE folders that they lie in."""

from collections import Counter
from datetime import date
from urllib.parse import unquote

from farandole.config.data import Data
from farandole.errors import DataError
from farandole.spark.source.table.column_types import is_whole

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_MAX_NAMED, _NULL = 5, "null"
_FOLDER = "a folder's KEY"
"""Instead of a type, until all values are known."""


def folder_values(path: str) -> dict[str, str | None]:
    """The KEY=VALUE folders of a relative path, as Hive and Spark write them."""
    pairs = (folder.split("=", 1) for folder in path.split("/")[:-1] if "=" in folder)
    return {unquote(key): None if value == NO_VALUE else unquote(value) for key, value in pairs}


def common_columns(data: Data, wanted: set[str], files: dict[str, dict[str, str]]) -> dict[str, str]:
    """The columns of a table, those of KEY=VALUE folders included. Files need to agree in what is wanted alone; one in
    which a column holds nulls alone may not know its type.

    Args:
        data: says where the table is.
        wanted: the names of the columns that are used.
        files: path -> name -> type.

    Returns:
        Name -> type.

    Raises:
        DataError: files differ; names them.
    """
    folders = [folder_values(path) for path in files]
    found = [dict.fromkeys(values, _FOLDER) | columns for values, columns in zip(folders, files.values(), strict=True)]
    _agree_in_labels(data, found)
    given = {name: Counter(columns[name] for columns in found if columns.get(name, _NULL) != _NULL) for name in wanted}
    shapes = [
        {
            name: given[name].most_common(1)[0][0] if kind == _NULL and given[name] else kind
            for name, kind in columns.items()
            if name in wanted
        }
        for columns in found
    ]
    usual = dict(Counter(tuple(sorted(shape.items())) for shape in shapes).most_common(1)[0][0])
    different = [
        f"{path} {_difference(shape, usual)}" for path, shape in zip(files, shapes, strict=True) if shape != usual
    ]
    if different:
        raise DataError(
            f"{len(different)} of {len(files)} files in data.path {data.path!r} differ from the others: "
            f"{'; '.join(different[:_MAX_NAMED])}{'; ...' if len(different) > _MAX_NAMED else ''}; "
            f"rewrite or remove them"
        )
    texts = {
        name: text_type({values[name] for values in folders if name in values})
        for name, kind in (found[0] | usual).items()
        if kind == _FOLDER
    }
    for name in {data.label_column, data.id_column, data.split_column} & texts.keys():
        texts[name] = "int64" if texts[name] == "int64" else "string"  # a class may be called 2026-01-31
    return found[0] | usual | texts


def _agree_in_labels(data: Data, files: list[dict[str, str]]) -> None:
    """Labels that are whole numbers have one type, the commonest, whatever each file stores them in: pandas makes
    floats of them where one is missing."""
    name = data.label_column
    kinds = Counter(columns[name] for columns in files if is_whole(columns.get(name, "")))
    for columns in files:
        if columns.get(name) in kinds and name not in data.keep_columns:
            columns[name] = kinds.most_common(1)[0][0]


def _difference(columns: dict[str, str], usual: dict[str, str]) -> str:
    said = [
        *(f"lacks {name!r}" for name in usual if name not in columns),
        *(f"has {name!r} besides" for name in columns if name not in usual),
        *(
            f"has {name!r} as {columns[name]}, not {usual[name]}"
            for name in columns
            if columns[name] != usual.get(name, columns[name])
        ),
    ]
    return ", ".join(said)


def text_type(values: set[str | None]) -> str:
    """int64, date32[day] or string: what texts can be read as without a loss."""
    given = [value for value in values if value is not None]
    if all(value.removeprefix("-").isdecimal() and str(int(value)) == value and len(value) < 19 for value in given):
        return "int64"
    try:
        return "date32[day]" if all(date.fromisoformat(value).isoformat() == value for value in given) else "string"
    except ValueError:
        return "string"
