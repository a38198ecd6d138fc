"""What is in memory stays there, and no more is held than is used."""

import ctypes
import resource
from typing import Final

_PR_SET_DUMPABLE: Final = 4


def wipe(buffer: bytearray) -> None:
    """Overwrite a secret with zeros where it lies."""
    buffer[:] = bytes(len(buffer))


def forbid_dumps() -> None:
    """Let no core of this process be written, whatever limit it was started with.

    The limit keeps the kernel from writing a core file; the flag also keeps it from handing a
    core to a collecting program, where a limit of 0 does not count, and keeps other processes of
    the same user from attaching (prctl(2), core(5)). Cores are not inherited back: programs that
    are started by this one begin with the limit, not with the flag.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def return_freed() -> None:
    """Give freed memory back to the system; glibc keeps much of what large buffers leave.

    Other C libraries do without: there is nothing to call.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
