"""What the types of a table's columns are called, without what is only storage, and what lies inside of a column."""

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from farandole.core.dataset.schema import SIDE_TYPES
from farandole.log import first_few

INTEGERS = frozenset(name for name in SIDE_TYPES if "int" in name)
NUMBERS = INTEGERS | {"float", "double"}
_WHOLE = NUMBERS | {"halffloat", "decimal"}
_LIST, _MAX_NAMED = "list of ", 20
IMAGE_BYTES = "bytes"
"""Where images lie in a struct, beside their path: what Hugging Face's data sets write."""
REPEATED = "several columns of one name"
"""Instead of a type."""


def plain_type(kind: pa.DataType) -> str:
    """A type's name with what is only storage left out: dictionaries, large offsets, views, sizes of bytes, digits of
    decimals, units and zones of time."""
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_timestamp(kind):
        return str(pa.timestamp("us", tz=None if kind.tz is None else "UTC"))
    if pa.types.is_struct(kind):
        return f"struct of {first_few([kind.field(index).name for index in range(kind.num_fields)], _MAX_NAMED)}"
    if _is_list(kind):
        inner = plain_type(kind.value_type)
        is_sized = pa.types.is_fixed_size_list(kind) and not inner.startswith(_LIST)
        return f"{_LIST}{kind.list_size} {inner}" if is_sized else f"{_LIST}{inner}"
    if pa.types.is_decimal(kind):
        return "decimal"
    return "binary" if pa.types.is_fixed_size_binary(kind) else str(kind).removeprefix("large_").removesuffix("_view")


def column_types(schema: pa.Schema) -> dict[str, str]:
    """Name -> type of all columns, then of what lies in them: `image.bytes` unless a column itself is called so."""
    counts = Counter(schema.names)
    found = {field.name: REPEATED if counts[field.name] > 1 else plain_type(field.type) for field in schema}
    for field in schema:
        for name, kind in _inside(field):
            found.setdefault(name, kind)
    return found


def _inside(field: pa.Field) -> list[tuple[str, str]]:
    if not pa.types.is_struct(field.type):
        return []
    inner = [field.type.field(index) for index in range(field.type.num_fields)]
    below = [(f"{field.name}.{name}", kind) for part in inner for name, kind in _inside(part)]
    return [*((f"{field.name}.{part.name}", plain_type(part.type)) for part in inner), *below]


def take_column(table: pa.Table, name: str) -> pa.ChunkedArray:
    """A column by a name of `column_types`."""
    if name in table.column_names:
        return table[name]
    outer = max((outer for outer in table.column_names if name.startswith(f"{outer}.")), key=len)
    return _field_of(table[outer], name[len(outer) + 1 :])


def _field_of(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    names = [column.type.field(index).name for index in range(column.type.num_fields)]
    if name in names:
        return pc.struct_field(column, names.index(name))
    outer = next(outer for outer in names if name.startswith(f"{outer}."))
    return _field_of(pc.struct_field(column, names.index(outer)), name[len(outer) + 1 :])


def is_pixels(kind: str) -> bool:
    """Whether a type of `plain_type` is a list of numbers, or of lists of them."""
    return kind.startswith(_LIST) and kind.split()[-1] in {*NUMBERS, "halffloat"}


def num_axes(kind: str) -> int:
    """Of pixels of this type: 1 where all numbers lie in one list."""
    return kind.count(_LIST)


def is_whole(kind: str) -> bool:
    """Whether labels of a type of `plain_type` are whole numbers, however they are stored."""
    return kind in _WHOLE


def sort_classes(names: set[str], kind: str) -> list[str]:
    """Class names in the order of their labels; `kind` is the type of the label column."""
    return sorted(names, key=int) if is_whole(kind) else sorted(names)


def _is_list(kind: pa.DataType) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    views = (pa.types.is_list_view, pa.types.is_large_list_view)
    return any(test(kind) for test in (*tests, *views))
