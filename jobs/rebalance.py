"""clean/ -> balanced/: even out the classes of the train split, and write equal files, globally shuffled."""

from functools import cache
from pathlib import Path

from farandole.cli import run_job
from farandole.config.load import Config
from farandole.spark.session import own_stderr, quiet_jvm, start_session
from farandole.spark.stages import ensure_balanced

LOCAL_CONF = Path(__file__).resolve().parent.parent / "conf" / "spark" / "local.conf"


def rebalance(config: Config) -> None:
    ensure_balanced(cache(lambda: start_session("farandole rebalance", LOCAL_CONF)), config, asked=True)


if __name__ == "__main__":
    own_stderr()
    run_job("rebalance", __doc__ or "", rebalance, quiet=quiet_jvm)
