"""What is in memory stays there: no core file, no reading by other processes of the same user."""

import ctypes
import resource
from typing import Final

_PR_SET_DUMPABLE: Final = 4


def forbid_dumps() -> None:
    """Let no core of this process be written, whatever limit it was started with.

    The limit keeps the kernel from writing a core file; the flag also keeps it from handing a
    core to a collecting program, where a limit of 0 does not count, and keeps other processes of
    the same user from attaching (prctl(2), core(5)). Cores are not inherited back: programs that
    are started by this one begin with the limit, not with the flag.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
