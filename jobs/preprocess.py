"""Raw images -> clean/: decode, validate, deduplicate, split, resize, encode; rejected records go to quarantine."""

from functools import cache
from pathlib import Path

from farandole.cli import run_job
from farandole.config.load import Config
from farandole.spark.session import own_stderr, quiet_jvm, start_session
from farandole.spark.stages import ensure_clean

LOCAL_CONF = Path(__file__).resolve().parent.parent / "conf" / "spark" / "local.conf"


def preprocess(config: Config) -> None:
    ensure_clean(cache(lambda: start_session("farandole preprocess", LOCAL_CONF)), config, asked=True)


if __name__ == "__main__":
    own_stderr()
    run_job("preprocess", __doc__ or "", preprocess, quiet=quiet_jvm)
