"""Where the CPU time of a frame goes."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

KERNEL_ROUNDS, KERNEL_MATRICES, KERNEL_SIDE = 10, 32, 64
"""Small enough for a core's own caches, and below the size at which OpenBLAS takes more threads
(64 * 64 * 64 = 2^18 products)."""
KERNEL_GFLOP: Final = 2e-9 * KERNEL_ROUNDS * KERNEL_MATRICES * KERNEL_SIDE**3


@dataclass(slots=True)
class _Account:
    """What one thread spent; no other thread writes it."""

    cpu_ns: dict[str, int] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    within: list[int] = field(default_factory=list)


class Meter:
    """CPU time by stage; a stage within another counts for itself only.

    Each thread has its own account, so stages of two threads may overlap.
    """

    def __init__(self, clock_ns: Callable[[], int] = time.thread_time_ns) -> None:
        """Begin at nothing.

        Args:
            clock_ns: CPU time of the calling thread; or that of the process where networks have
                threads of their own and only one thread is measured.
        """
        self._clock_ns = clock_ns
        self._accounts: list[_Account] = []
        self._own = threading.local()

    @property
    def cpu_ns(self) -> dict[str, int]:
        """The CPU time of each stage, all threads together."""
        return self._sum([account.cpu_ns for account in self._accounts])

    @property
    def calls(self) -> dict[str, int]:
        """How often each stage was gone through."""
        return self._sum([account.calls for account in self._accounts])

    @staticmethod
    def _sum(parts: list[dict[str, int]]) -> dict[str, int]:
        total: dict[str, int] = {}
        for part in parts:
            for stage, number in part.items():
                total[stage] = total.get(stage, 0) + number
        return total

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the CPU time of the block to `stage`."""
        account = self._account()
        account.within.append(0)
        began = self._clock_ns()
        try:
            yield
        finally:
            spent = self._clock_ns() - began
            own = spent - account.within.pop()
            account.cpu_ns[stage] = account.cpu_ns.get(stage, 0) + own
            account.calls[stage] = account.calls.get(stage, 0) + 1
            if account.within:
                account.within[-1] += spent

    def _account(self) -> _Account:
        account: _Account | None = getattr(self._own, "account", None)
        if account is None:
            account = self._own.account = _Account()
            self._accounts.append(account)
        return account

    def per_frame_ms(self, frames: int) -> dict[str, float]:
        """Return CPU milliseconds a frame by stage."""
        return {stage: spent / 1e6 / max(frames, 1) for stage, spent in self.cpu_ns.items()}


class Kernel:
    """Fixed work that is done now and then beside the road: the yardstick of its CPU time.

    Another machine, another load of its memory and cores, or another clock rate changes the time
    of both; their ratio stays. Most of the road is the arithmetic of two networks, so the yardstick
    is arithmetic, too: products of small matrices, one thread.
    """

    def __init__(self) -> None:
        """Make the numbers to be multiplied."""
        rng = np.random.default_rng(1)
        shape = (KERNEL_MATRICES, KERNEL_SIDE, KERNEL_SIDE)
        self._left: NDArray[np.float32] = rng.standard_normal(shape, np.float32)
        self._right: NDArray[np.float32] = rng.standard_normal(shape, np.float32)
        self._out: NDArray[np.float32] = np.empty(shape, np.float32)
        self.spent_ns: list[int] = []

    def run(self) -> None:
        """Do the work once and note the CPU time of this thread."""
        began = time.thread_time_ns()
        for _ in range(KERNEL_ROUNDS):
            np.matmul(self._left, self._right, out=self._out)
        self.spent_ns.append(time.thread_time_ns() - began)

    @property
    def cpu_ms(self) -> float:
        """The mean, as that of the stages is, without the tenth that took longest; 0 = not run."""
        usual = np.sort(np.array(self.spent_ns, float))[: ceil(0.9 * len(self.spent_ns))]
        return float(usual.mean()) / 1e6 if len(usual) else 0.0

    @property
    def total_ns(self) -> int:
        """All of it together."""
        return sum(self.spent_ns)

    @property
    def gflop_per_s(self) -> float:
        """How fast this machine multiplies, one thread."""
        return KERNEL_GFLOP / self.cpu_ms * 1e3 if self.spent_ns else 0.0
