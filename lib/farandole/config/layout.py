"""Config tables of rebalance: [balance] and [layout]."""

from typing import Literal

from pydantic import Field

from farandole.config.section import Section


class Balance(Section):
    strategy: Literal["none", "oversample", "undersample", "weights"] = "none"
    """none: as it is. oversample: repeat rare classes up to the largest. undersample: cut all to the rarest.
    weights: rows as they are, class weights in the loss."""
    max_repeats: int = Field(default=10, ge=1)
    """With oversample: no image is repeated more often than this."""
    seed: int = Field(default=0, ge=0)


class Layout(Section):
    rows_per_row_group: int = Field(default=256, ge=1)
    """Upper bound, and of large pictures no more than 3 MB; the row groups of a file differ by at most one row."""
    num_files: int = Field(default=0, ge=0)
    """Files of the train split; val and test get the same rows per file, but no more files than train unless these
    would hold more than 64 MB. 0: as many as give files of about 64 MB."""
    rewrite: Literal["always", "auto"] = "always"
    """always: equal files in a global shuffle. auto: the files of clean/ stay as they are where no row is added or
    dropped, they are even within 25% and large enough, and their labels are mixed; it says what it does and why."""
