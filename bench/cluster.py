"""A Spark standalone cluster of real processes: hosts are network namespaces of one machine, joined by a bridge.

    with Cluster(directory) as cluster:
        cluster.submit("jobs/train.py", "--set", "train.num_ranks=2")

The master and the drivers run on the first address of the network, in the machine's own namespace; each worker is
alone in a namespace of its own, and has the next address. Needs root and `ip`; leaves nothing behind.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import pyspark

ROOT = Path(__file__).resolve().parent.parent
SPARK_HOME = Path(pyspark.__file__).parent
START_SECONDS = 120
_REGISTERED = "Successfully registered with master"


def available() -> bool:
    """Whether namespaces can be made here."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"far{os.getpid()}t"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode == 0
    if made:
        subprocess.run(["ip", "netns", "del", name], check=True)
    return made


class Cluster:
    """A master and its workers, from __enter__ to __exit__."""

    def __init__(
        self,
        directory: Path,
        *,
        num_workers: int = 2,
        cores: int = 1,
        memory: str = "1500m",
        properties: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Args:
        directory: for the logs and the workers' files.
        num_workers: one in each namespace.
        cores: slots of each worker.
        memory: of each worker, for its executors' JVMs.
        properties: Spark properties of the daemons and the drivers, as in spark-defaults.conf.
        environment: variables of the workers, and so of the executors.
        """
        pid = os.getpid()
        self._directory, self._cores, self._memory = directory, cores, memory
        self._network = f"10.{200 + pid // 250 % 50}.{pid % 250}"
        self.bridge = f"far{pid}b"
        self.hosts = [f"far{pid}w{number}" for number in range(num_workers)]
        self.addresses = [f"{self._network}.{2 + number}" for number in range(num_workers)]
        self.driver_address = f"{self._network}.1"
        self._daemons: list[subprocess.Popen[str]] = []
        self._properties = dict(properties or {})
        self._environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("PYSPARK", "SPARK", "PYTHONPATH"))
            },
            "SPARK_CONF_DIR": str(directory / "conf"),
            "SPARK_DAEMON_MEMORY": "256m",
            **(environment or {}),
        }
        self.master = ""

    def __enter__(self) -> "Cluster":
        conf = self._directory / "conf"
        conf.mkdir(parents=True)
        defaults = conf / "spark-defaults.conf"
        defaults.touch(mode=0o600)  # it may hold the secret of spark.authenticate
        defaults.write_text("".join(f"{name} {value}\n" for name, value in self._properties.items()))
        try:
            self._make_network()
            self._start_master()
            workers = [self._launch_worker(number) for number in range(len(self.hosts))]
            for number, worker in enumerate(workers):
                self._wait_for(_REGISTERED, worker, f"worker-{number}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for number in range(len(self.hosts)):
            self.kill_host(number)
        for daemon in self._daemons:
            daemon.kill()
            daemon.wait()
        for host in self.hosts:
            subprocess.run(["ip", "netns", "del", host], stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "link", "del", self.bridge], stderr=subprocess.DEVNULL)

    def submit(
        self, program: str, *arguments: str, options: tuple[str, ...] = (), cwd: Path = ROOT
    ) -> subprocess.Popen[str]:
        """Starts spark-submit with this master, its output piped; options are those of spark-submit."""
        command = [str(SPARK_HOME / "bin/spark-submit"), "--master", self.master]
        command += ["--conf", f"spark.driver.host={self.driver_address}"]
        command += ["--conf", f"spark.driver.bindAddress={self.driver_address}", *options, program, *arguments]
        environment = {**self._environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        return subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def kill_host(self, number: int) -> None:
        """Kills everything that runs on a worker's host, as a power cut would."""
        found = subprocess.run(["ip", "netns", "pids", self.hosts[number]], capture_output=True, text=True)
        for pid in found.stdout.split():
            os.kill(int(pid), signal.SIGKILL)

    def cut_link(self, number: int) -> None:
        """Takes a worker's host off the network."""
        _ip("link", "set", self._link(number), "down")

    def join_link(self, number: int) -> None:
        _ip("link", "set", self._link(number), "up")

    def start_worker(self, number: int) -> None:
        """Starts the worker of a host that was killed; returns when the master knows it."""
        self._wait_for(_REGISTERED, self._launch_worker(number), f"worker-{number}-again")

    def _start_master(self) -> None:
        arguments = ["--host", self.driver_address, "--port", "0", "--webui-port", "0"]
        line = self._wait_for("Starting Spark master at ", self._start([], "master.Master", arguments), "master")
        self.master = line.rsplit(" ", 1)[1].strip()

    def _launch_worker(self, number: int) -> subprocess.Popen[str]:
        arguments = ["--host", self.addresses[number], "--webui-port", "0", "--cores", str(self._cores)]
        arguments += ["--memory", self._memory, "--work-dir", str(self._directory / f"worker-{number}"), self.master]
        return self._start(["ip", "netns", "exec", self.hosts[number]], "worker.Worker", arguments)

    def _start(self, prefix: list[str], kind: str, arguments: list[str]) -> subprocess.Popen[str]:
        command = [*prefix, str(SPARK_HOME / "bin/spark-class"), f"org.apache.spark.deploy.{kind}", *arguments]
        daemon = subprocess.Popen(
            command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._daemons.append(daemon)
        return daemon

    def _wait_for(self, words: str, process: subprocess.Popen[str], name: str) -> str:
        """The line of a daemon's log that has these words; the log goes on into a file."""
        watchdog = threading.Timer(START_SECONDS, process.kill)
        watchdog.start()
        log = (self._directory / f"{name}.log").open("w")
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            if words in line:
                watchdog.cancel()
                threading.Thread(target=_drain, args=(process.stdout, log), daemon=True).start()
                return line
        watchdog.cancel()
        log.close()
        raise RuntimeError(f"{name} did not start; its log is {log.name}")

    def _make_network(self) -> None:
        _ip("link", "add", self.bridge, "type", "bridge")
        _ip("addr", "add", f"{self.driver_address}/24", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")
        for number, (host, address) in enumerate(zip(self.hosts, self.addresses, strict=True)):
            _ip("netns", "add", host)
            _ip("link", "add", self._link(number), "type", "veth", "peer", "name", "eth0", "netns", host)
            _ip("link", "set", self._link(number), "master", self.bridge, "up")
            _ip("-n", host, "addr", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", host, "link", "set", "lo", "up")
            _ip("-n", host, "link", "set", "eth0", "up")

    def _link(self, number: int) -> str:
        return f"far{os.getpid()}v{number}"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _drain(source: IO[str], log: IO[str]) -> None:
    for line in source:
        log.write(line)
        log.flush()
    log.close()
