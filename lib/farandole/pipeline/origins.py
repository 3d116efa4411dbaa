"""What decides a version of a stage, as fingerprints: of settings, never of where something lies."""

from farandole.config.data import Data, Image, Inputs, Missing, Split
from farandole.config.layout import Balance, Layout
from farandole.core.dataset.schema import SCHEMA_VERSION
from farandole.core.fingerprint import fingerprint
from farandole.core.record.image import RULES_VERSION

_NOT_OF_RECORDS = {"path", "label_table", "max_quarantine_fraction"}
"""Of [data]: what the paths hold is in the listing, which has a fingerprint of its own; a gate changes no row."""
_NOT_OF_PIXELS = {*_NOT_OF_RECORDS, "label_column", "split_column", "keep_columns"}


def clean_settings(data: Data, image: Image, sample: Inputs, missing: Missing, split: Split) -> str:
    """Of all that preprocess uses, and no other stage."""
    tables = [
        data.model_dump(exclude=_NOT_OF_RECORDS),
        *(table.model_dump() for table in (image, sample, missing, split)),
    ]
    return fingerprint([*tables, RULES_VERSION, SCHEMA_VERSION])


def decode_settings(data: Data, image: Image, missing: Missing) -> str:
    """Of what decides the pixels of a picture: its label and its split do not."""
    tables = [
        data.model_dump(exclude=_NOT_OF_PIXELS),
        image.model_dump(),
        missing.model_dump(exclude={"label", "columns"}),
    ]
    return fingerprint([*tables, RULES_VERSION, SCHEMA_VERSION])


def balanced_settings(balance: Balance, layout: Layout) -> str:
    """Of all that rebalance uses."""
    return fingerprint([balance.model_dump(), layout.model_dump(), SCHEMA_VERSION])
