"""What all tables of a config have in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of all tables: frozen, no unknown keys, no silent conversions, documented by docstrings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )
