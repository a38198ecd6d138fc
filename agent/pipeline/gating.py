"""The gate at work: one alert a passage, made in view; what becomes of every passage, counted."""

import logging
from bisect import bisect_left
from dataclasses import dataclass, replace
from typing import Final

from agent.base.clock import to_ms
from agent.base.health import LIFETIMES, WatchCounters
from agent.base.hits import Hit, HitEnd, Match
from agent.base.lanes import Lane
from agent.base.records import PlateRead
from agent.gate import (
    EMPTY_HOTLIST,
    GateRules,
    Hotlist,
    OpenAlert,
    OpenAlerts,
    admit,
    find_matches,
    is_sure,
)

log = logging.getLogger(__name__)

_LIMITS_MS: Final = tuple(limit_s * 1000 for limit_s, _ in LIFETIMES)
_NAMES: Final = (*(name for _, name in LIFETIMES), "forgotten_later")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is kept of a passage that is over."""

    hits: tuple[Hit | HitEnd, ...] = ()
    """For the lane hits, in order."""
    read: PlateRead | None = None
    """For the lane reads."""


class Gating:
    """Holds reads against the hotlist while their vehicles are in view, and when they are gone."""

    def __init__(self, rules: GateRules, counters: WatchCounters) -> None:
        """Begin without a hotlist: no alerts until one is there."""
        self._rules, self._counters = rules, counters
        self._alerts = OpenAlerts()
        self._hotlist = EMPTY_HOTLIST
        self._told_expired = False
        self._hits_only_until_ms: int | None = None
        """When the mode hits-only ended last."""

    @property
    def hotlist(self) -> Hotlist:
        """The list in use; one that has expired matches nothing."""
        return self._hotlist

    def follow(self, rules: GateRules, *, now_ms: int) -> None:
        """Hold to other rules from now on; alerts that were made stay made.

        A vehicle that was in view under hits-only was promised to be forgotten unless it is a hit:
        whoever was first seen before now stays under that mode.
        """
        if self._rules.mode == "hits-only":
            self._hits_only_until_ms = now_ms
        self._rules = rules

    def use(self, hotlist: Hotlist) -> None:
        """Take another list from now on."""
        self._hotlist, self._told_expired = hotlist, False
        self._counters.hotlist_expired = 0

    def look_at_age(self, now_ms: int) -> None:
        """Tell once that the list has expired: from then on there are no alerts."""
        if not self._told_expired and self._hotlist.is_expired(now_ms=now_ms):
            self._told_expired = True
            self._counters.hotlist_expired = 1
            log.warning("hotlist expired: no alerts")

    def is_lead(self, read: PlateRead, *, now_ms: int) -> bool:
        """Tell whether a read so far is a hit that no alert was made for yet."""
        matches = find_matches(read, rules=self._rules, hotlist=self._hotlist, now_ms=now_ms)
        return bool(matches) and not self._alerts.covers(read.tracks, read.text.characters)

    def raise_alert(self, read: PlateRead, *, now_ms: int, sequence: int) -> Hit:
        """Return the alert for a read so far, of which `is_lead` holds.

        Args:
            read: Of a passage that goes on.
            now_ms: As `is_lead` was asked.
            sequence: That the alert will have in the lane hits.
        """
        matches = find_matches(read, rules=self._rules, hotlist=self._hotlist, now_ms=now_ms)
        self._alerts.add(read.tracks, OpenAlert(sequence=sequence, text=read.text.characters))
        self._counters.alerts += 1
        return self._hit(read, matches, now_ms=now_ms, complete=False)

    def settle(self, read: PlateRead, *, now_ms: int, forgotten_ms: int) -> Verdict:
        """Return what is kept of a passage that is over.

        An alert that was made for it is ended: confirmed where the vote over the whole passage
        says the same, as surely as the policy asks, withdrawn where not. Only a hit that no alert
        was made for makes one now.

        Args:
            read: Of the whole passage.
            now_ms: By a clock that never runs back.
            forgotten_ms: Time of the frame with which the passage was over, for its lifetime.
        """
        rules = self._rules_for(read)
        lane, matches = admit(read, rules=rules, hotlist=self._hotlist, now_ms=now_ms)
        ends = tuple(self._end(alert, read) for alert in self._alerts.close(read.tracks))
        self._counters.ends += len(ends)
        self._counters.withdrawn += sum(not end.confirmed for end in ends)
        if any(end.confirmed for end in ends):
            self._count(read, Lane.HITS, forgotten_ms)
            return Verdict(hits=ends)
        withdrawn = ends and lane is None  # its alert left memory: the passage was not forgotten
        self._count(read, Lane.HITS if withdrawn else lane, forgotten_ms)
        if lane is Lane.HITS:
            self._counters.alerts += 1
            return Verdict(hits=(*ends, self._hit(read, matches, now_ms=now_ms, complete=True)))
        return Verdict(hits=ends, read=read if lane is Lane.READS else None)

    def note_lost(self, items: tuple[Hit | HitEnd, ...]) -> None:
        """Take note of alerts that could not be kept: their passages make them anew at the end."""
        for item in items:
            if isinstance(item, Hit):
                self._alerts.lose(item.read.text.characters)

    def _rules_for(self, read: PlateRead) -> GateRules:
        """Return the rules in force, with the stricter mode of those since a vehicle came."""
        until_ms = self._hits_only_until_ms
        if until_ms is None or to_ms(read.first_seen) >= until_ms:
            return self._rules
        return replace(self._rules, mode="hits-only")

    def _end(self, alert: OpenAlert, read: PlateRead) -> HitEnd:
        same = read.text.characters == alert.text
        confirmed = same and is_sure(read, rules=self._rules)
        return HitEnd(alert_sequence=alert.sequence, confirmed=confirmed, read=read)

    def _hit(
        self, read: PlateRead, matches: tuple[Match, ...], *, now_ms: int, complete: bool
    ) -> Hit:
        return Hit(
            read=read,
            matches=matches,
            list_version=self._hotlist.version,
            list_issued_ms=self._hotlist.issued_ms,
            matched_ms=now_ms,
            complete=complete,
        )

    def _count(self, read: PlateRead, lane: Lane | None, forgotten_ms: int) -> None:
        counters = self._counters
        counters.passages += 1
        counters.passed_before_list += not self._hotlist.version
        counters.hits += lane is Lane.HITS
        counters.reads += lane is Lane.READS
        counters.reads_unreadable += lane is Lane.READS and read.abstained
        if lane is None:
            counters.unreadable += read.abstained
            counters.turned_away += not read.abstained
            name = name_lifetime(forgotten_ms - to_ms(read.first_seen))
            setattr(counters, name, getattr(counters, name) + 1)


def name_lifetime(lived_ms: int) -> str:
    """Return the counter for a read that was forgotten after so long."""
    return _NAMES[bisect_left(_LIMITS_MS, lived_ms)]
