"""Where a report has its pictures from: the driver reads them with the code of the stages and of training."""

from functools import partial

from farandole.config.data import Data, Image
from farandole.config.train import Augment
from farandole.core.dataset.versions import Version
from farandole.report.from_run import DataOrigin
from farandole.spark.source.look_again import describe_source, record_loader
from farandole.train.input.augment import augment


def origin_of(
    data: Data,
    image: Image,
    augmentation: Augment | None,
    balanced: Version,
    *,
    seed: int = 0,
) -> DataOrigin:
    """What a report asks of the data that a run was trained on, or evaluated on.

    Args:
        data: the source.
        image: the rules that judged its pictures.
        augmentation: of the training; None in an evaluation.
        balanced: the version of balanced/.
        seed: train.seed.
    """
    fill = balanced.manifest.stats["image"].mean
    return DataOrigin(
        balanced=balanced.directory,
        clean=balanced.parent,
        source=describe_source(data),
        load=record_loader(data, image),
        image=image,
        augmentation=augmentation,
        augment=partial(augment, rules=augmentation or Augment(), seed=seed, epoch=0, fill=fill),
    )
