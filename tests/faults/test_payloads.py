"""Payloads planted wherever bytes come in from outside: none of them runs, and the refusal names where it lay."""

import contextlib
import io
import pickle
import socket
import urllib.request
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from balanced_data import write_balanced
from distributed.ranks import finish_ranks, start_ranks
from farandole.config.load import load_config, parse_config
from farandole.core.batches.reader import SplitFiles
from farandole.core.fingerprint import file_sha256
from farandole.core.plan.epoch_plan import plan_epoch, slice_for
from farandole.core.rank_spec import Place, Result, World
from farandole.errors import ConfigError, DataError
from farandole.train.horovod import distributed
from farandole.train.horovod.distributed import start_rendezvous
from farandole.train.input.petastorm_reader import read_with_petastorm
from farandole.train.run.checkpoint import Position, newest_checkpoint
from farandole.train.run.saved_model import load_model


class Payload:
    """Unpickling one makes its marker file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


@pytest.fixture
def marker(tmp_path):
    """The file that must never be there; the payload has been seen to make it."""
    path = tmp_path / "the payload ran"
    pickle.loads(pickle.dumps(Payload(path)))  # noqa: S301
    path.unlink()  # fails if it was not made
    yield path
    assert not path.exists()


@pytest.fixture
def bytes_of(marker):
    """Payloads by form."""
    plain = pickle.dumps(Payload(marker))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:  # as .keras, .npz and torch.save do
        file.writestr("data.pkl", plain)
        file.writestr("../../outside", plain)
    return {
        "pickle": plain,
        "zip": archive.getvalue(),
        "hdf5": b"\x89HDF\r\n\x1a\n" + plain,
        "huge header": (2**62).to_bytes(8, "little") + plain,
        "header that is a pickle": len(plain).to_bytes(8, "little") + plain,
    }


FORMS = ["pickle", "zip", "hdf5", "huge header", "header that is a pickle"]


@pytest.mark.parametrize("form", FORMS)
def test_a_checkpoint_with_the_right_hash_of_the_wrong_thing_is_skipped(tmp_path, bytes_of, form, capsys):
    weights = tmp_path / "step-000000007.safetensors"
    weights.write_bytes(bytes_of[form])
    position = Position(global_step=7, sha256=file_sha256(weights))
    weights.with_suffix(".json").write_text(position.model_dump_json())
    assert newest_checkpoint(tmp_path) is None
    assert "step-000000007.safetensors is damaged and skipped" in capsys.readouterr().err
    weights.with_suffix(".json").write_bytes(bytes_of[form])
    assert newest_checkpoint(tmp_path) is None


MODEL = """{"schema_version": 2, "name": "%s", "arguments": %s, "precision": "float32",
    "weights_sha256": "%s", "sample": {
    "features": {"image": {"dtype": "uint8", "shape": [2, 2, 1]}, "label": {"dtype": "int32"}},
    "inputs": ["image"], "targets": ["label"], "class_names": ["a", "b"]}}"""


@pytest.mark.parametrize("form", FORMS)
def test_weights_with_the_right_hash_of_the_wrong_thing_are_refused(tmp_path, bytes_of, form):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(bytes_of[form])
    (tmp_path / "model.json").write_text(MODEL % ("mlp", "{}", file_sha256(weights)))
    with pytest.raises(DataError, match=r"cannot read weights .*weights.safetensors: "):
        load_model(tmp_path)
    (tmp_path / "model.json").write_bytes(bytes_of[form])
    with pytest.raises(DataError, match=r"model.json cannot be read: "):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "setting",
    [
        "model.name=os.system",
        "model.name='!!python/object/apply:os.system [touch x]'",
        "train.run_name=../../etc",
        "train.run_name=/etc",
        "train.network='$(touch x)'",
        "train.__class__=x",
        "__class__.__init__=x",
    ],
)
def test_a_config_is_data(tmp_path, setting):
    (tmp_path / "a.toml").write_text("")
    with pytest.raises(ConfigError, match=setting.partition("=")[0].split(".")[0]):
        load_config(tmp_path / "a.toml", [setting])


@pytest.mark.parametrize("name", ["_common_metadata", "_metadata"])
def test_pickles_beside_parquet_files_stay_closed(tmp_path, marker, name):
    """As petastorm writes them: in the key-value part of a real Parquet footer."""
    root = tmp_path / "data"
    root.mkdir()
    manifest = write_balanced(root, train=[[5, 5]])
    files = SplitFiles(root, manifest, "train")
    schema = pq.read_schema(files.paths[0])
    payload = pickle.dumps(Payload(marker))
    keys = (b"dataset-toolkit.unischema.v1", b"dataset-toolkit.num_row_groups_per_file.v1")
    planted = schema.with_metadata(dict.fromkeys(keys, payload))
    pq.write_metadata(planted, files.paths[0].parent / name)
    own = slice_for(plan_epoch(manifest, epoch=0, seed=0, global_batch_size=5), 0, 1)
    with pytest.raises(DataError, match=rf"split=train has a {name}, which petastorm would unpickle; refused"):
        list(read_with_petastorm(files, own))


ATTACKS = [
    b"PUT /global/0 HTTP/1.1\r\nContent-Length: -1\r\n\r\n%s",
    b"PUT /global/0 HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n%s",
    b"PUT /global/0 HTTP/1.1\r\nContent-Length: x\r\n\r\n%s",
    b"HEAD / HTTP/1.1\r\n\r\n%s",
    b"POST /global/0 HTTP/1.1\r\nContent-Length: 5\r\n\r\n%s",
    b"%s\r\n\r\n",
]


def attack(port: int, request: bytes) -> bytes:
    """The whole answer. A server that closes before it has read everything resets the connection: that raises here."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        return read_all(client)


def read_all(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(4096), b""))


def test_the_rendezvous_takes_nothing_but_addresses_and_goes_on(marker, capfd):
    port = start_rendezvous("127.0.0.1", PLACES)
    for pattern in ATTACKS:
        answer = attack(port, pattern % pickle.dumps(Payload(marker)))
        assert b" 200 " not in answer, pattern
    request = urllib.request.Request(f"http://127.0.0.1:{port}/global/1", data=b"an address", method="PUT")
    assert urllib.request.urlopen(request, timeout=10).status == 200
    assert urllib.request.urlopen(f"http://127.0.0.1:{port}/global/1", timeout=10).read() == b"an address"


PLACES = [Place("a", World(0, 2, 0, 1, 0, 2)), Place("b", World(1, 2, 0, 1, 1, 2))]


def test_the_rendezvous_holds_no_more_than_addresses_need(capfd):
    port = start_rendezvous("127.0.0.1", PLACES)
    answers = [
        attack(port, b"PUT /x/%d HTTP/1.1\r\nContent-Length: 9999\r\n\r\n%s" % (i, bytes(9999))).split()[1]
        for i in range(9)
    ]
    assert answers == [b"200"] * 7 + [b"413"] * 2  # 7 x 10 kB
    empty = [attack(port, b"PUT /x/%d HTTP/1.1\r\nContent-Length: 0\r\n\r\n" % i).split()[1] for i in range(100, 140)]
    assert set(empty) == {b"200", b"413"}  # names cost memory as well


def test_a_client_that_is_refused_may_send_the_rest_of_its_request(capfd):
    port = start_rendezvous("127.0.0.1", PLACES)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(b"PUT /x/0 HTTP/1.1\r\nContent-Length: 99999\r\n\r\n")
        assert b" 413 " in read_all(client)
        for _ in range(9):
            client.sendall(bytes(1111))  # fails after a reset


def test_the_rendezvous_answers_few_at_a_time(monkeypatch, capfd):
    monkeypatch.setattr(distributed, "MAX_REQUESTS", -6)  # and 4 for each of two ranks
    port = start_rendezvous("127.0.0.1", PLACES)
    silent = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(2)]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as third:
        assert third.recv(1) == b""  # hung up on, at once
    for client in silent:
        assert client.recv(1) == b""  # after 3 seconds without a word
        client.close()
    answer = b""
    while b" 200 " not in answer:  # until the server's threads have ended as well
        with contextlib.suppress(OSError):  # hung up on
            answer = attack(port, b"PUT /global/1 HTTP/1.1\r\nContent-Length: 1\r\n\r\nx")


def test_ranks_meet_in_spite_of_hostile_bytes(tmp_path, marker):
    root = tmp_path / "data"
    root.mkdir()
    write_balanced(root, train=[[10] * 2])
    config = parse_config(
        {
            "paths": {"work": str(tmp_path / "work")},
            "model": {"name": "mlp"},
            "train": {"num_ranks": 2, "epochs": 1, "run_name": "run"},
        }
    )
    (tmp_path / "work/runs/run").mkdir(parents=True)

    def meet(port: int) -> None:
        for pattern in ATTACKS:
            attack(port, pattern % pickle.dumps(Payload(marker)))

    children = start_ranks(config, root, tmp_path / "logs", before_meeting=meet)
    messages = finish_ranks(children)
    assert all(isinstance(message, Result) for message in messages), messages
