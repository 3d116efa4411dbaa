"""Partitioned Parquet tables as a source: their files, columns, rows and values."""
