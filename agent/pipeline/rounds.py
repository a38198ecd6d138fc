"""The sender's rounds: work, pause, tidy in the pauses, back off, until told to stop."""

import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from agent.base.errors import SpoolFullError, UplinkError
from agent.pipeline.errands import Errand, run_errands
from agent.pipeline.send import Sending
from agent.pipeline.turns import back_off_s

log = logging.getLogger(__name__)

LOOK_INTERVAL_S: Final = 0.5
"""How often a pause asks whether to end."""
TIDY_INTERVAL_NS: Final = 10_000_000_000
"""How often age and quota are enforced in a long pause: `nh-3min` does not wait for the city."""


def send_forever(
    sending: Sending,
    *,
    stop: Callable[[], bool],
    drain: bool,
    poll_interval_s: float,
    max_back_off_s: float,
    errands: Sequence[Errand] = (),
) -> None:
    """Carry sealed frames to the city and delete what it has receipted, until `stop` says so.

    On a disk without room for the log nothing is deleted, because nothing goes without account;
    it is tried again until somebody has made room.

    Args:
        sending: The stages; is closed here.
        stop: Asked between rounds.
        drain: Also end when the watcher has signed off and nothing is left to send.
        poll_interval_s: Pause after a round.
        max_back_off_s: Longest pause after failures.
        errands: Run between rounds and in pauses.

    Raises:
        HomeplateError: A log is damaged, the disk failed, or it has no room for the last entry.
    """
    failures = 0

    def see_to_errands() -> None:
        run_errands(errands, sending.counters)

    while not stop():
        pause_s = poll_interval_s
        try:
            see_to_errands()
            if not sending.work():
                pause_s = 0.0
            failures = 0
        except (UplinkError, SpoolFullError) as error:
            failures += 1
            sending.counters.failures += 1
            log.warning("delivery failed", extra={"detail": str(error), "failures": failures})
            pause_s = back_off_s(failures, limit_s=max_back_off_s, share=random.random())  # noqa: S311
        if drain and not failures and sending.is_drained():
            break
        rest(sending, pause_s, stop=stop, meanwhile=see_to_errands)
    sending.close()


def rest(
    sending: Sending,
    seconds: float,
    *,
    stop: Callable[[], bool],
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Let `seconds` pass, less once `stop` says so; age and quota hold meanwhile.

    In short steps, because a signal does not cut a sleep short.
    """
    clock = sending.clock
    tidied_ns = clock.monotonic_ns()
    until_ns = tidied_ns + round(seconds * 1e9)
    while not stop() and (left_ns := until_ns - clock.monotonic_ns()) > 0:
        clock.wait_s(min(left_ns / 1e9, LOOK_INTERVAL_S))
        with suppress(SpoolFullError):  # the next round tells
            meanwhile()
            sending.sign_when_due()
            if clock.monotonic_ns() - tidied_ns >= TIDY_INTERVAL_NS:
                tidied_ns = clock.monotonic_ns()
                sending.tidy()
