"""What the sender carries besides frames: the policy from the city, the heartbeat to it."""

import logging
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

from agent import __version__
from agent.base.clock import Clock, to_ms
from agent.base.errors import ConfigError, CredentialError, UplinkError
from agent.base.files import read_handed, replace_unsynced
from agent.base.health import SendCounters
from agent.base.health_file import Health
from agent.base.unit_state import UnitState
from agent.pipeline.city import City
from agent.policy import BUNDLE_NAME, PolicyKeeper
from agent.trust.bundle_files import BUNDLE_LIMIT_BYTES
from agent.trust.entries import PolicySeen
from agent.trust.heartbeat import (
    HEARTBEAT_PATH,
    POLICY_PATH,
    Heartbeat,
    PolicyState,
    encode_heartbeat,
)

log = logging.getLogger(__name__)

JSON: Final = "application/json"
LOOK_INTERVAL_NS: Final = 1_000_000_000
"""How often the files are looked at that a technician may have replaced."""
JUDGE_SPAN_NS: Final = 10_000_000_000
"""A watcher that runs looks every second; one that is starting needs a few."""
_OK: Final = 200


class Errand(Protocol):
    """Something else than frames to carry between unit and city: policy, hotlist, heartbeat."""

    def work(self) -> None:
        """Do what is due, if anything is; asked several times a second.

        Raises:
            UplinkError: It did not succeed; frames go on meanwhile.
        """
        ...


def run_errands(errands: Sequence[Errand], counters: SendCounters) -> None:
    """Run each errand; one that fails does not hold up the others."""
    for errand in errands:
        try:
            errand.work()
        except (UplinkError, CredentialError) as error:  # frames are sent and deleted all the same
            counters.errands_failed += 1
            log.warning("errand failed", extra={"detail": str(error)})


class PolicyErrand:
    """Asks the city for its policy, hands it to the watcher, and takes it over.

    Args:
        city: Where policies come from.
        keeper: The sender's own judgement; the watcher judges by itself.
        exchange: Folder through which the watcher gets the bundle.
        note: Enters what became of a bundle into the log.
        clock: The unit's.
        interval_s: Between two questions to the city.
    """

    def __init__(
        self,
        city: City,
        keeper: PolicyKeeper,
        *,
        exchange: Path,
        note: Callable[[PolicySeen], None],
        clock: Clock,
        interval_s: float,
    ) -> None:
        self._city, self._keeper, self._note, self._clock = city, keeper, note, clock
        self._handed = exchange / BUNDLE_NAME
        self._interval_ns = round(interval_s * 1e9)
        self._begun_with = keeper.decision
        self._tag = keeper.decision.content_sha256.hex()
        """Of the last bundle that was taken over, or refused for good."""
        self._pulled = self._tag
        self._asked_ns: int | None = None
        self._looked_ns: int | None = None
        self._leave_until_ns = 0

    @property
    def changed(self) -> bool:
        """Whether another policy is in force than at the start: the sender begins anew with it."""
        return self._keeper.decision is not self._begun_with

    def work(self) -> None:
        """Ask when it is time, and look at what came; see `Errand.work`."""
        now_ns = self._clock.monotonic_ns()
        if self._asked_ns is None or now_ns - self._asked_ns >= self._interval_ns:
            self._asked_ns = now_ns
            try:
                self._offer(now_ns)
                self._pull(now_ns)
            finally:
                self._look(now_ns)
        elif self._looked_ns is None or now_ns - self._looked_ns >= LOOK_INTERVAL_NS:
            self._look(now_ns)

    def _offer(self, now_ns: int) -> None:
        """See to it that the watcher finds what is in force: after a start the folder is empty.

        What came last stays there long enough for the watcher to judge it by itself. What only
        stands in for a newer policy is not handed on.
        """
        if now_ns < self._leave_until_ns or self._keeper.is_behind:
            return
        try:
            lying = read_handed(self._handed, limit_bytes=BUNDLE_LIMIT_BYTES)
        except ConfigError:
            lying = None
        if lying != self._keeper.content:
            self._hand(self._keeper.content)

    def _pull(self, now_ns: int) -> None:
        """Fetch the city's bundle if it is another than the last that came."""
        headers = {"If-None-Match": f'"{self._tag}"', "Accept": JSON}
        answer = self._city.exchange(
            "GET", POLICY_PATH, headers=headers, limit_bytes=BUNDLE_LIMIT_BYTES
        )
        if answer.status == _OK and answer.content:
            self._pulled = sha256(answer.content).hexdigest()
            self._hand(answer.content)
            self._leave_until_ns = now_ns + JUDGE_SPAN_NS

    def _look(self, now_ns: int) -> None:
        self._looked_ns = now_ns
        for seen in self._keeper.look(self._clock.now()):
            self._note(seen)
        if self._keeper.is_settled(self._handed):  # else it is fetched again: a day may come
            self._tag = self._pulled

    def _hand(self, content: bytes) -> None:
        try:
            replace_unsynced(self._handed, content)
        except OSError as error:
            message = f"{self._handed}: cannot be written ({error.strerror}); the watcher waits"
            raise UplinkError(message) from error


class HeartbeatErrand:
    """Tells the city now and then how the unit is, and at once when a policy or a list was refused.

    Args:
        city: Who is told.
        keeper: Of the sender.
        facts: Certificate's end in ms, the sender's counters, the watcher's health.
        clock: The unit's.
        interval_s: Between two beats.
        look: Tells how the machine is.
    """

    def __init__(
        self,
        city: City,
        keeper: PolicyKeeper,
        *,
        facts: Callable[[], tuple[int, dict[str, int], Health | None]],
        clock: Clock,
        interval_s: float,
        look: Callable[[], UnitState | None] = lambda: None,
    ) -> None:
        self._city, self._keeper, self._facts, self._clock = city, keeper, facts, clock
        self._look = look
        self._interval_ns = round(interval_s * 1e9)
        self._beat_ns: int | None = None
        self._told: tuple[object, ...] = ()

    def work(self) -> None:
        """Send a beat when it is time or there is news; see `Errand.work`."""
        now_ns = self._clock.monotonic_ns()
        certificate_expires_ms, counters, watch = self._facts()
        watched = (watch.facts.policy_refusals, watch.facts.hotlist_refusals) if watch else ()
        news = (self._keeper.refusals, *watched)
        due = self._beat_ns is None or now_ns - self._beat_ns >= self._interval_ns
        if not due and news == self._told:
            return
        self._beat_ns, self._told = now_ns, news
        beat = Heartbeat(
            at_ms=to_ms(self._clock.now()),
            version=__version__,
            policy=describe_policy(self._keeper),
            certificate_expires_ms=certificate_expires_ms,
            send=counters,
            watch=watch,
            unit=self._look(),
        )
        headers = {"Content-Type": JSON}
        body = encode_heartbeat(beat)
        self._city.exchange("POST", HEARTBEAT_PATH, body, headers=headers, limit_bytes=0)


def describe_policy(keeper: PolicyKeeper) -> PolicyState:
    """Return what the city is told of the policy in force."""
    decision = keeper.decision
    return PolicyState(
        version=decision.version,
        hash=decision.policy_hash.hex(),
        root_version=decision.root_version,
        expires_ms=to_ms(decision.expires_at),
        refusals=keeper.refusals,
        last_refusal=keeper.last_refusal,
        refused_lately=keeper.lately,
    )
