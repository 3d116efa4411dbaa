"""Trains on two hosts of a real cluster, one rank on each, and takes one host away in the middle.

    python bench/two_hosts.py --fault none|kill|cut --work DIR -- --config conf/cifar10.toml --set data.path=DIR ...

Needs root. What follows `--` is for jobs/train.py. The fault comes when the first checkpoint of the run is there: kill
ends all processes of a worker's host, and starts its worker again after --seconds; cut takes the host's link down for
so long. Prints what the job says, with the seconds since its start.
"""

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

from cluster import ROOT, Cluster

POLL_SECONDS = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault", choices=["none", "kill", "cut"], default="none")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--work", type=Path, required=True, help="paths.work of the job")
    parser.add_argument("--run", default="two-hosts", help="train.run_name of the job")
    parser.add_argument("arguments", nargs="*")
    options = parser.parse_args()
    checkpoints = options.work / "runs" / options.run / "checkpoints"
    settings = ["--set", f"paths.work={options.work}", "--set", f"train.run_name={options.run}"]
    with (
        tempfile.TemporaryDirectory() as directory,
        Cluster(Path(directory) / "cluster", environment={"PYTHONPATH": str(ROOT / "lib")}) as cluster,
    ):
        job = cluster.submit(
            "jobs/train.py", *options.arguments, *settings, options=("--properties-file", "conf/spark/cluster.conf")
        )
        started = time.monotonic()
        assert job.stderr is not None
        if options.fault != "none":
            arguments = (cluster, checkpoints, options, started)
            threading.Thread(target=_take_host_away, args=arguments, daemon=True).start()
        for line in job.stderr:
            _tell(started, line.rstrip())
        _tell(started, f"exit code {job.wait()}")
    sys.exit(job.returncode)


def _take_host_away(cluster: Cluster, checkpoints: Path, options: argparse.Namespace, started: float) -> None:
    while not list(checkpoints.glob("step-*.json")):
        time.sleep(POLL_SECONDS)
    _tell(started, f"--- {options.fault} {cluster.addresses[1]} ---")
    if options.fault == "kill":
        cluster.kill_host(1)
    else:
        cluster.cut_link(1)
    time.sleep(options.seconds)
    _tell(started, f"--- {cluster.addresses[1]} is back ---")
    if options.fault == "kill":
        cluster.start_worker(1)
    else:
        cluster.join_link(1)


def _tell(started: float, line: str) -> None:
    print(f"{time.monotonic() - started:6.1f} s  {line}", flush=True)


if __name__ == "__main__":
    main()
