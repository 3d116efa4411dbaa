"""Calls that one loaded library makes to libc, answered by a function of ours instead.

The loader resolves such a call to a pointer in the calling library's own table
(https://refspecs.linuxfoundation.org/elf/elf.pdf, "Global Offset Table"). Only that library's pointers are changed.
"""

import ctypes
import mmap
import platform
import sys
from collections.abc import Iterator
from typing import Any

from farandole.errors import RankError

_NEEDED = {"strings": 5, "symbols": 6, "rela": 7, "rela_size": 8, "plt_size": 2, "plt_rela": 23}  # DT_* of elf.h
_SYSTEMS = [("Linux", "glibc", "x86_64"), ("Linux", "glibc", "aarch64")]
_RELA_BYTES, _SYMBOL_BYTES = 24, 24
_kept: list[object] = []  # C calls it until the process ends


class _LinkMap(ctypes.Structure):
    """The head of glibc's struct link_map, which is what a handle of dlopen points to."""

    _fields_ = (("base", ctypes.c_uint64), ("name", ctypes.c_char_p), ("dynamic", ctypes.c_uint64))


def redirect(library: ctypes.CDLL, name: str, function: Any) -> int:
    """Makes a library call `function` where it calls libc's `name`; returns how many pointers were changed.

    Args:
        library: loaded, of 64 bits.
        name: of a function in libc.
        function: made by ctypes.CFUNCTYPE; it is kept until the process ends.

    Raises:
        RankError: on a system whose loader was not tried or keeps its tables otherwise.
    """
    system = (platform.system(), platform.libc_ver()[0], platform.machine())
    if system not in _SYSTEMS or sys.maxsize < 2**32:
        raise RankError(f"ranks need one of {_SYSTEMS} with 64 bits; this host is {system}")
    _kept.append(function)
    slots = list(_slots_of(name.encode(), library))
    for slot in slots:
        # The loader makes these pages read-only after it has filled them.
        page = slot & -mmap.PAGESIZE
        if ctypes.CDLL(None, use_errno=True).mprotect(
            ctypes.c_void_p(page), mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE
        ):
            raise OSError(ctypes.get_errno(), f"the page of {name} in {library._name} cannot be made writable")
        ctypes.c_uint64.from_address(slot).value = ctypes.cast(function, ctypes.c_void_p).value or 0
    return len(slots)


def _slots_of(name: bytes, library: ctypes.CDLL) -> Iterator[int]:
    """Addresses of the pointers through which a loaded library calls a function of another."""
    link_map = _LinkMap.from_address(library._handle)
    table = _dynamic_section(link_map.dynamic)
    where = {key: table.get(tag, 0) for key, tag in _NEEDED.items()}
    for start, size in ((where["plt_rela"], where["plt_size"]), (where["rela"], where["rela_size"])):
        for entry in range(start, start + size, _RELA_BYTES):
            offset, info = (ctypes.c_uint64.from_address(entry + 8 * i).value for i in range(2))
            symbol = where["symbols"] + (info >> 32) * _SYMBOL_BYTES
            if ctypes.string_at(where["strings"] + ctypes.c_uint32.from_address(symbol).value) == name:
                yield link_map.base + offset


def _dynamic_section(address: int) -> dict[int, int]:
    found: dict[int, int] = {}
    while tag := ctypes.c_int64.from_address(address).value:
        found[tag] = ctypes.c_uint64.from_address(address + 8).value
        address += 16
    return found
