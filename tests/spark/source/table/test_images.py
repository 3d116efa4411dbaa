"""Pixels of lists, as tables hold them: whole numbers in their range, and gaps that stay in their picture."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from farandole.config.load import Config, parse_config
from farandole.core.record.quality import RejectedError
from farandole.spark.source.table.images import image_loader


def config_for(*, missing: dict[str, Any] | None = None, **data: Any) -> Config:
    return parse_config({"data": {"source": "table", "path": "/table", **data}, "missing": missing or {}})


@pytest.mark.parametrize("kind", [pa.uint8(), pa.uint16(), pa.int64()])
@pytest.mark.parametrize("is_fixed", [False, True])
def test_a_null_pixel_changes_no_other_picture(kind: pa.DataType, is_fixed: bool) -> None:
    config = config_for(missing={"pixels": "interpolate"}, pixel_shape=[2, 2])
    dark, bright = [0, 1, 1, 0], [0, 60_000, 300, 0] if kind == pa.uint16() else [0, 255, 7, 0]
    rows = [dark, bright, [1, None, 1, 1], [None, 200, 100, 0]]
    lists = pa.list_(kind, 4) if is_fixed else pa.list_(kind)
    load = image_loader(config.data, config.missing, pa.chunked_array([pa.array(rows, lists)]))
    found = [load(index) for index in range(4)]
    assert [pixels.ravel().tolist() for pixels in found] == [dark, bright, [1] * 4, [200, 200, 100, 0]]
    assert {pixels.dtype for pixels in found} == {np.dtype("uint16" if kind == pa.uint16() else "uint8")}
    config = config_for(pixel_shape=[2, 2])
    dropping = image_loader(config.data, config.missing, pa.chunked_array([pa.array(rows, lists)]))
    assert dropping(1).ravel().tolist() == bright
    with pytest.raises(RejectedError, match="nan_pixels: 1 of 4 values are NaN or null"):
        dropping(2)
    limit = 65535 if kind == pa.uint16() else 255
    for value in (limit, limit + 1):  # what fills must not wrap around
        config = config_for(missing={"pixels": "fill", "pixel_value": value}, pixel_shape=[2, 2])
        filling = image_loader(config.data, config.missing, pa.chunked_array([pa.array(rows, lists)]))
        if value == limit:
            assert filling(2).ravel().tolist() == [1, limit, 1, 1]
        else:
            with pytest.raises(RejectedError, match=f"integers of 1 to {value}; expected 0 to {limit}"):
                filling(2)


def load_pixels(config: Config, values: list[int], kind: pa.DataType) -> Any:
    return image_loader(config.data, config.missing, pa.chunked_array([pa.array([values], pa.list_(kind))]))(0)


def test_integers_are_0_to_255() -> None:
    config = config_for(pixel_shape=[1, 2])
    assert load_pixels(config, [0, 255], pa.int64()).dtype == np.uint8
    assert load_pixels(config, [0, 65535], pa.uint16()).dtype == np.uint16
    with pytest.raises(RejectedError, match="undecodable: integers of -1 to 256; expected 0 to 255"):
        load_pixels(config, [-1, 256], pa.int64())
