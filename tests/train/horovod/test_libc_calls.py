"""gethostname, redirected in one shared library and nowhere else."""

import _socket
import ctypes
import gc
import os
import subprocess
import sys
import weakref

import pytest

from farandole.core.rank_spec import Place, World
from farandole.errors import RankError
from farandole.train.horovod import distributed
from farandole.train.horovod.host_name import answer_gethostname
from farandole.train.horovod.libc_calls import redirect

PROGRAM = """
import _socket, ctypes, socket
from farandole.train.horovod.host_name import answer_gethostname
before = socket.gethostname()
redirected = answer_gethostname(ctypes.CDLL(_socket.__file__), "10.1.2.3")
name = ctypes.create_string_buffer(256)
ctypes.CDLL(None).gethostname(name, 256)
print(redirected, socket.gethostname(), name.value.decode() == before)
"""


@pytest.mark.skipif(not hasattr(_socket, "__file__"), reason="this Python has its sockets built in")
def test_only_the_library_that_was_named_gets_the_answer() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("1 10.1.2.3 True\n", "")


def test_a_function_that_c_calls_is_kept() -> None:
    function = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 1)
    reference = weakref.ref(function)
    redirect(ctypes.CDLL("libm.so.6"), "gethostname", function)
    del function
    gc.collect()
    assert reference() is not None


def test_a_library_that_does_not_ask_is_told_nothing() -> None:
    assert answer_gethostname(ctypes.CDLL("libm.so.6"), "10.1.2.3") == 0


def test_a_horovod_that_does_not_ask_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "answer_gethostname", lambda library, address: 0)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    place = Place("a", World(0, 1, 0, 1, 0, 1))
    with pytest.raises(RankError, match=r"mpi_lib.*\.so does not call gethostname; install horovod 0.28.1"):
        distributed.join_world(place, address="127.0.0.1", interface="lo", rendezvous=("127.0.0.1", 1), stall_seconds=1)


def test_a_system_whose_loader_was_not_tried_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(RankError, match=r"ranks need one of .*x86_64.*; this host is \('Linux', 'glibc', 'riscv64'\)"):
        answer_gethostname(ctypes.CDLL("libm.so.6"), "10.1.2.3")
