"""The files of conf/ as part of the package: lib/farandole/conf is a link to them, and wheels and archives hold them.

So a job needs no checkout beside it: a cluster's driver may have the package and one file alone.
"""

from importlib.resources import files
from importlib.resources.abc import Traversable


def shipped(*names: str) -> Traversable:
    """A file of conf/, such as `shipped("spark", "local.conf")`; readable in an archive, too."""
    return files("farandole").joinpath("conf", *names)
