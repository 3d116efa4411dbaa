"""A driver that never ends preprocess: python stuck_driver.py WORK, with a named pipe in $PIPE."""

import sys
from pathlib import Path

from farandole.pipeline.data_stages import ensure_clean
from farandole.spark.preprocess import clean
from farandole.spark.session import start_session
from faults.digits import digits_config, write_files_and_stay

clean.write_files = write_files_and_stay  # type: ignore[assignment]
LOCAL_CONF = Path(__file__).parents[2] / "conf" / "spark" / "local.conf"
with ensure_clean(lambda: start_session("stuck", LOCAL_CONF), digits_config(Path(sys.argv[1])), asked=True):
    pass
