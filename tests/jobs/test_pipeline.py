"""The jobs as a user runs them: through spark-submit, on real digits and on a folder with everything wrong in it."""

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import zlib
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent.parent
QUICK = ["train.epochs=3", "train.run_name=quick", "model.name=mlp", "model.arguments={hidden_units=[64]}"]


def environment_of_a_user(more: dict[str, str] | None = None) -> dict[str, str]:
    """Without what pytest needs; more comes on top."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**inherited, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **(more or {})}


def start(job: str, *settings: str, more: dict[str, str] | None = None, **options) -> subprocess.Popen:
    environment = environment_of_a_user(more)
    arguments = [argument for setting in settings for argument in ("--set", setting)]
    return subprocess.Popen(
        ["spark-submit", str(ROOT / "jobs" / f"{job}.py"), *arguments],
        env=environment, cwd=ROOT, text=True, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )  # fmt: skip


def submit(job: str, *settings: str, more: dict[str, str] | None = None) -> tuple[int, list[str]]:
    """The exit code and the lines on stderr."""
    process = start(job, *settings, more=more)
    _, errors = process.communicate(timeout=240)
    return process.returncode, errors.splitlines()


def submit_on_terminal(job: str, *settings: str) -> tuple[int, str]:
    """The exit code and all that a terminal of 80 columns was sent."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = start(job, *settings, more={"TERM": "xterm"}, stdout=theirs, stderr=theirs)
    os.close(theirs)
    sent = b""
    with contextlib.suppress(OSError):  # which says that the last process is gone
        while part := os.read(ours, 2**16):
            sent += part
    os.close(ours)
    return process.wait(timeout=240), sent.decode()


def everything_in(directory: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(directory)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in directory.rglob("*")
        if path.is_file()
    }


def only(stage: Path, name: str) -> Path:
    """The file of the only version of a stage."""
    (path,) = stage.glob(f"*/{name}")
    return path


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    """The work directory of a pipeline on digits that has run once, and what the terminal was sent."""
    work = tmp_path_factory.mktemp("pipeline")
    code, sent = submit_on_terminal("train", f"paths.work={work}", *QUICK)
    assert code == 0, sent[-3000:]
    return work, sent


@pytest.fixture(scope="module")
def work(first_run):
    """A pipeline on digits that has run once."""
    return first_run[0]


def test_a_person_sees_a_bar_that_moves_and_last_of_all_the_report(first_run):
    work, sent = first_run
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", sent)  # without colours
    frames = re.findall(r"train [━╸╺]+ +\d+/126 steps, [^\r\n]*", text)
    assert len(frames) >= 10
    assert "[Stage " not in text[text.index("train \u2501") :]  # Spark's bar is gone before ours
    assert re.search(r"126/126 steps, epoch 3/3, loss \d\.\d{4}, \d+ images/s +0:00:00$", frames[-1])
    assert text.split()[-2:] == ["report:", f"{work}/runs/quick/report.html"]


def test_all_that_a_run_promises_is_there(work):
    clean, balanced = (json.loads(only(work / stage, "manifest.json").read_text()) for stage in ("clean", "balanced"))
    kept = sum(split["num_rows"] for split in clean["splits"].values())
    assert clean["input_rows"] == 1797 == kept + sum(clean["quarantine"].values()) + clean["deduplicated_rows"]
    train = balanced["splits"]["train"]
    assert len(set(train["class_counts"].values())) == 1  # oversampled
    sizes = [file["num_rows"] for file in train["files"]]
    assert max(sizes) - min(sizes) <= 1
    run = work / "runs/quick"
    receipts = [json.loads(line) for line in (run / "receipts.jsonl").read_text().splitlines()]
    assert [line["rows_trained"] for line in receipts] == [train["num_rows"]] * 3
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["num_rows"] == clean["splits"]["test"]["num_rows"]
    assert metrics["test"]["accuracy"] > 0.8
    assert sum(map(sum, metrics["test"]["confusion"])) == metrics["test"]["num_rows"]
    for name in ("config.toml", "metrics.jsonl", "report.html", "model/model.json", "model/weights.safetensors"):
        assert (run / name).stat().st_size > 0
    assert list((run / "tensorboard").glob("events.*"))
    assert list((run / "checkpoints").glob("*.json"))


def test_a_second_run_says_up_to_date_and_writes_nothing(work):
    before = everything_in(work)
    code, lines = submit("train", f"paths.work={work}", *QUICK)
    assert code == 0
    stages = {"preprocess": work / "clean", "rebalance": work / "balanced"}
    assert [line for line in lines if "up to date" in line] == [
        *(f"{stage}: up to date, {only(path, 'manifest.json').parent}" for stage, path in stages.items()),
        "train: up to date",
    ]
    assert everything_in(work) == before


def test_evaluate_agrees_with_train_is_done_once_and_never_trains(work):
    settings = (f"paths.work={work}", *QUICK)
    code, lines = submit("evaluate", *settings)
    assert code == 0, "\n".join(lines[-30:])
    trained = json.loads((work / "runs/quick/metrics.json").read_text())
    (evaluation,) = (work / "runs/quick/evaluation").iterdir()
    evaluated = json.loads((evaluation / "metrics.json").read_text())
    assert evaluated["test"] == trained["test"]
    assert f"test: accuracy {trained['test']['accuracy']:.4f}" in "\n".join(lines)
    before = everything_in(work)
    code, lines = submit("evaluate", *settings, "evaluate.min_test_accuracy=0.01")
    assert (code, "evaluate: up to date" in lines) == (0, True)
    assert everything_in(work) == before
    # Other settings, of the same run, whatever else the config says: beside the first one.
    code, lines = submit(
        "evaluate", f"paths.work={work}", "evaluate.run=quick", "evaluate.name=mirrored", "evaluate.views=mirrored",
        "evaluate.batch_size=7", "train.learning_rate=0.5",
    )  # fmt: skip
    assert code == 0, "\n".join(lines[-30:])
    assert json.loads((work / "runs/quick/evaluation/mirrored/metrics.json").read_text())["test"]["num_rows"] == 365
    assert json.loads((evaluation / "metrics.json").read_text()) == evaluated
    assert [path.name for path in (work / "runs").iterdir()] == ["quick"]
    code, lines = submit("evaluate", f"paths.work={work}", "train.learning_rate=0.5")
    assert code == 2
    assert re.match(
        r"error\[2\]: .*/runs/simple_cnn-\w+ is no finished run, and evaluate does not train; run spark-submit "
        r"jobs/train.py with the same --config and --set, or set evaluate.run to one of quick$", lines[-1]
    )  # fmt: skip
    code, lines = submit("evaluate", f"paths.work={work}", "evaluate.run=other")
    assert (code, lines[-1].partition("; ")[2]) == (2, "set evaluate.run to one of quick")


def test_stale_stages_run_again_and_a_gate_that_is_not_met_is_5(work, tmp_path):
    copy = shutil.copytree(work, tmp_path / "work")
    code, lines = submit("rebalance", f"paths.work={copy}", "balance.strategy=none")
    assert code == 0
    assert "rebalance: running, because its configuration changed" in lines
    settings = (f"paths.work={work}", *QUICK, "evaluate.min_test_accuracy=0.9999")
    code, lines = submit("train", *settings)
    assert code == 5
    assert lines[-1].startswith("error[5]: test accuracy 0.")


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        (["train.epoch=3"], 2, "error[2]: unknown key 'train.epoch'; did you mean train.epochs?"),
        (["data.source=folder", "data.path=/no/such"], 2, "error[2]: data.path '/no/such' does not exist; give"),
        (["train.num_ranks=64"], 4, "error[4]: train.num_ranks needs 64 slots, the cluster offers"),
        (["pipeline.run_missing_stages=false"], 2, "error[2]: preprocess has to run first, because"),
    ],
)
def test_refusals_end_with_one_line_and_their_exit_code(tmp_path, settings, code, message):
    found, lines = submit("train", f"paths.work={tmp_path}/work", *settings)
    assert (found, lines[-1][: len(message)]) == (code, message)
    assert not list(tmp_path.glob("work/clean/*"))


def _bomb() -> bytes:
    """A PNG whose header claims 20,000 x 20,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def test_a_messy_folder_is_converted_or_quarantined_by_reason(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for number in range(30):
            pixels = rng.integers(0, 256, (16, 20, 3), np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.jpg", quality=90)
    picture = Image.fromarray(rng.integers(0, 256, (16, 20, 3), np.uint8))
    (folder / "cat" / "text.jpg").write_text("this is no picture")
    (folder / "cat" / "empty.jpg").write_bytes(b"")
    whole = (folder / "cat" / "0.jpg").read_bytes()
    (folder / "cat" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "cat" / "bomb.png").write_bytes(_bomb())
    picture.convert("CMYK").save(folder / "dog" / "cmyk.jpg")
    Image.fromarray(rng.integers(0, 65536, (16, 20), np.uint16)).save(folder / "dog" / "deep.png")
    picture.quantize(16).save(folder / "dog" / "palette.png")
    alpha = picture.rotate(90, expand=True)
    alpha.putalpha(128)
    alpha.save(folder / "dog" / "alpha.png")
    shutil.copy(folder / "dog" / "1.jpg", folder / "dog" / "ünïcode copy.jpg")
    settings = ["data.source=folder", f"data.path={folder}", f"paths.work={tmp_path}/work"]
    code, lines = submit("preprocess", *settings, "image.height=16", "image.width=16", "image.channels=3")
    assert code == 0, "\n".join(lines[-20:])
    manifest_file = only(tmp_path / "work/clean", "manifest.json")
    clean, manifest = manifest_file.parent, json.loads(manifest_file.read_text())
    reasons = {"not_an_image": 1, "missing_image": 1, "truncated": 1, "too_large": 1}
    assert manifest["quarantine"] == reasons
    assert (manifest["input_rows"], manifest["deduplicated_rows"]) == (69, 1)
    assert sum(split["num_rows"] for split in manifest["splits"].values()) == 64
    rejected = pq.read_table(clean / "quarantine").to_pylist()
    assert {row["id"].split("/")[-1]: row["reason"] for row in rejected} == {
        "text.jpg": "not_an_image", "empty.jpg": "missing_image", "cut.jpg": "truncated", "bomb.png": "too_large",
    }  # fmt: skip


def _is_rank(process: psutil.Process) -> bool:
    try:
        return "farandole.train.rank" in process.cmdline()
    except (psutil.ZombieProcess, psutil.NoSuchProcess):
        return False


def _listening(family: list[psutil.Process]) -> set[int]:
    """Ports on which a process of the family waits for connections."""
    pids = {process.pid for process in family}
    return {c.laddr.port for c in psutil.net_connections("inet") if c.pid in pids and c.status == psutil.CONN_LISTEN}


def _interrupted_after(line: str, number: signal.Signals, settings: list[str], temporary: Path) -> tuple[int, str]:
    """Trains until stderr has this line, then sends the signal, to the whole foreground group if it is Ctrl-C.

    The exit code and the last line on stderr. No process, port, shared memory or, unless killed, file may be left.
    """
    temporary.mkdir()
    shared_memory = set(os.listdir("/dev/shm"))
    jvm = {"SPARK_LOCAL_DIRS": str(temporary), "SPARK_SUBMIT_OPTS": f"-Djava.io.tmpdir={temporary}"}
    process = start("train", *settings, more={"TMPDIR": str(temporary), **jvm}, start_new_session=True)
    assert process.stderr is not None
    assert any(line in told for told in process.stderr)  # stops at this line
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    assert sum(map(_is_rank, family)) == 2
    ports = _listening(family)
    assert ports
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        os.kill(process.pid, number)
    _, errors = process.communicate(timeout=60)
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []
    assert set(os.listdir("/dev/shm")) <= shared_memory
    if number == signal.SIGINT:  # who is killed cannot clean up
        assert list(temporary.iterdir()) == []
    assert not ports & {c.laddr.port for c in psutil.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    return process.returncode, errors.splitlines()[-1] if errors else ""


def test_a_killed_driver_and_ctrl_c_leave_nothing_and_the_same_command_resumes(work, tmp_path):
    copy = shutil.copytree(work, tmp_path / "work")
    settings = [
        f"paths.work={copy}",
        *QUICK,
        "train.run_name=long",
        "train.epochs=150",
        "train.checkpoint_every_steps=50",
    ]
    # Once a step was logged, a checkpoint is on its way.
    _interrupted_after("train: epoch 4 of 150 done", signal.SIGKILL, settings, tmp_path / "killed")
    code, last = _interrupted_after("train: epoch 31 of 150 done", signal.SIGINT, settings, tmp_path / "interrupted")
    assert (code, last) == (130, "error[130]: interrupted; run the same command again to continue")
    code, lines = submit("train", *settings, "train.log_every_steps=1000")
    assert code == 0, "\n".join(lines[-20:])
    assert any("from epoch" in line for line in lines)
    assert not [*copy.glob("runs/long/**/.*.partial"), *copy.glob("runs/long/logs/launch-*")]
    receipts = [json.loads(line) for line in (copy / "runs/long/receipts.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in receipts] == list(range(150))


def test_a_report_that_cannot_be_drawn_is_a_warning_and_the_next_call_draws_it(work, tmp_path):
    copy = shutil.copytree(work, tmp_path / "work")
    run = copy / "runs/quick"
    (run / "report.html").unlink()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "matplotlib.py").write_text("raise ImportError('no matplotlib')")
    code, lines = submit("train", f"paths.work={copy}", *QUICK, more={"PYTHONPATH": str(broken)})
    warned = [line for line in lines if line.startswith("warning: ")]
    assert code == 0, lines
    assert len(warned) == 1
    assert warned[0].startswith("warning: the report cannot be drawn: ImportError: no matplotlib; the figures are in")
    assert not (run / "report.html").exists()
    code, lines = submit("train", f"paths.work={copy}", *QUICK)
    assert (code, lines[-1]) == (0, f"report: {run}/report.html")
    assert (run / "report.html").read_bytes() == (work / "runs/quick/report.html").read_bytes()


def test_executors_with_directories_of_their_own_write_where_the_job_says(work, tmp_path):
    settings = ["paths.work=work", *QUICK]
    arguments = [argument for setting in settings for argument in ("--set", setting)]
    environment = environment_of_a_user({"SPARK_CONF_DIR": str(ROOT / "conf/spark")})
    done = subprocess.run(
        ["spark-submit", "--master", "local-cluster[2,1,1024]", ROOT / "jobs/train.py", *arguments],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    run = tmp_path / "work/runs/quick"
    assert done.stderr.splitlines()[-1] == f"report: {run}/report.html"
    assert (run / "model/weights.safetensors").read_bytes() == (
        work / "runs/quick/model/weights.safetensors"
    ).read_bytes()
    assert (run / "receipts.jsonl").read_bytes() == (work / "runs/quick/receipts.jsonl").read_bytes()
    assert list((run / "checkpoints").glob("*.json"))


def test_a_job_is_one_file_and_the_package(work, tmp_path):
    alone = shutil.copy(ROOT / "jobs/evaluate.py", tmp_path)
    done = subprocess.run(
        ["spark-submit", alone, "--set", f"paths.work={work}", *(f"--set={setting}" for setting in QUICK)],
        cwd=tmp_path, env=environment_of_a_user(), capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "evaluate: up to date" in done.stderr.splitlines()


def test_an_archive_of_the_package_holds_the_default_config(tmp_path):
    archive = str(tmp_path / "farandole.zip")
    subprocess.run([sys.executable, "-m", "zipfile", "-c", archive, "farandole"], cwd=ROOT / "lib", check=True)
    program = "import farandole.cli; from farandole.config.load import load_config as l; from farandole.config.shipped "
    program += "import shipped as s; c = l(s('digits.toml')); print(farandole.__file__, c.data.source)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment_of_a_user({"PYTHONPATH": archive}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == f"{archive}/farandole/__init__.py digits\n", done.stderr[-3000:]
