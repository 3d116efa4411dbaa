"""Spark prepares and balances image data sets, Horovod trains CNNs on them, every image counted exactly once."""

__version__ = "0.1.0"
