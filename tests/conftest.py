"""One Spark session for all tests that need one, and a place where the host's name leads nowhere."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """local[2] on the loopback address, without a UI."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]  # where ranks find distributed.faulty_rank
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    session = (
        SparkSession.builder.master("local[2]")
        .appName("farandole tests")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.memory", "1g")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


@pytest.fixture(scope="session")
def nowhere() -> list[str]:
    """What a command is put behind, to run where this host's name leads nowhere."""
    can = subprocess.run(["unshare", "--uts", "hostname", "no-such-host"], check=False, capture_output=True, text=True)
    if can.returncode:
        pytest.skip(f"this system allows no host name of the test's own: {can.stderr.strip()}")
    return ["unshare", "--uts", "sh", "-c", 'hostname no-such-host && exec "$@"', "sh"]
