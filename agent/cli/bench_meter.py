"""Where the CPU time of a frame goes."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Account:
    """What one thread spent; no other thread writes it."""

    cpu_ns: dict[str, int] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    within: list[int] = field(default_factory=list)


class _Span:
    """One block of a stage; a generator would take three times as long, and count as the stage."""

    __slots__ = ("_account", "_began", "_clock_ns", "_stage")

    def __init__(self, stage: str, account: _Account, clock_ns: Callable[[], int]) -> None:
        self._stage, self._account, self._clock_ns = stage, account, clock_ns

    def __enter__(self) -> None:
        self._account.within.append(0)
        self._began = self._clock_ns()

    def __exit__(self, *_: object) -> None:
        spent = self._clock_ns() - self._began
        account, stage = self._account, self._stage
        own = spent - account.within.pop()
        account.cpu_ns[stage] = account.cpu_ns.get(stage, 0) + own
        account.calls[stage] = account.calls.get(stage, 0) + 1
        if account.within:
            account.within[-1] += spent


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

    def measure(self, stage: str) -> "_Span":
        """Return what adds the CPU time of a `with` block to `stage`."""
        account: _Account | None = getattr(self._own, "account", None)
        if account is None:
            account = self._own.account = _Account()
            self._accounts.append(account)
        return _Span(stage, account, self._clock_ns)

    def per_frame_ms(self, frames: int) -> dict[str, float]:
        """Return CPU milliseconds a frame by stage."""
        return {stage: spent / 1e6 / max(frames, 1) for stage, spent in self.cpu_ns.items()}
