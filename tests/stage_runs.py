"""Data stages by themselves: each writes one directory, work/clean or work/balanced, in place of a version's."""

import shutil

from pyspark.sql import SparkSession

from farandole.config.load import Config
from farandole.core.dataset.manifest import Manifest
from farandole.core.dataset.versions import Origin, Version
from farandole.pipeline.origins import decode_settings
from farandole.spark.preprocess import clean
from farandole.spark.rebalance.rebalance import rebalance
from farandole.spark.source import records


def run_preprocess(spark: SparkSession, config: Config, *, decoding: str = "") -> Manifest:
    """Writes work/clean; one that is there becomes work/older, from which pictures are taken over.

    Args:
        decoding: the decode_fingerprint; of the config, if it is empty.
    """
    listing = records.list_source(config.data, config.missing)
    parent = records.source_fingerprint(config.data, listing)
    target, older = config.work / "clean", config.work / "older"
    if target.exists():
        shutil.rmtree(older, ignore_errors=True)
        target.rename(older)
    origin = Origin("c" * 64, parent, decoding or decode_settings(config.data, config.image, config.missing))
    return clean.preprocess(spark, config, listing, target, origin)


def run_rebalance(spark: SparkSession, config: Config, manifest: Manifest) -> Manifest:
    """Writes work/balanced anew from work/clean, whose manifest this is."""
    target = config.work / "balanced"
    shutil.rmtree(target, ignore_errors=True)
    return rebalance(
        spark, config.balance, config.layout, Version(config.work / "clean", manifest), target, Origin("cf", "p")
    )
