"""What Horovod's C++ takes for this host's name: the address that the launcher chose.

Horovod 0.28.1 forgets HOROVOD_GLOO_IFACE where it connects its process sets, through which all sums go: gloo then
listens at whatever gethostname leads to. That is 127.0.1.1 on many a Debian host, which no other host reaches, and in a
container an address that others do reach, even when all ranks are on one host. There is no setting for it, so the call
is redirected, in Horovod's library alone.
"""

import ctypes

from farandole.train.horovod.libc_calls import redirect

_Gethostname = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)


def answer_gethostname(library: ctypes.CDLL, address: str) -> int:
    """Makes gethostname return `address` to this shared library; returns how many pointers were redirected.

    Args:
        library: loaded, of 64 bits.
        address: IPv4; getaddrinfo takes it as it is.

    Raises:
        RankError: as libc_calls.redirect.
    """
    name = address.encode() + b"\0"

    def gethostname(buffer: int, size: int) -> int:
        if size < len(name):
            return -1
        ctypes.memmove(buffer, name, len(name))
        return 0

    return redirect(library, "gethostname", _Gethostname(gethostname))
