"""A policy that comes while the watcher watches: no read is lost, and every frame names its own."""

from datetime import timedelta

import pytest

from agent.base.lanes import Lane
from agent.base.settings import SpoolSettings
from agent.gate import GateRules
from agent.pipeline.decisions import Renewal, Rules
from agent.pipeline.watch import Seeing, take_policy
from agent.spool import SpoolReader
from agent.trust.contents import decode_reads_text
from agent.trust.entries import Dropped, PolicySeen, Sealed
from agent.trust.envelope import open_sealed
from agent.trust.keys import generate_opener
from tests.fakes import NOON
from tests.pipeline.test_watch import BOOT, DAY_S, QUOTA, Unit
from tests.sealing import plate_read

OLD, NEW = bytes(32), bytes([7] * 32)
NEW_CITY = generate_opener()


class Ballots:
    """Remembers what it was told."""

    def __init__(self):
        self.followed = None

    def follow(self, **policy):
        self.followed = policy


class OnePolicy:
    """One policy that comes once."""

    def __init__(self, *, accepted=True, **rules):
        self.seen = (
            PolicySeen(
                at_ms=1,
                policy_hash=NEW,
                accepted=accepted,
                detail="version 2",
                version=2,
                root_version=1,
                flashed_root=bytes(32),
            ),
        )
        self.rules = {
            "gate": GateRules(mode="all", min_hit_confidence=0.9, min_hit_frames=2),
            "crops": "none",
            "retention_s": dict.fromkeys(Lane, DAY_S),
            "expires_at": NOON + timedelta(days=30),
            "commit_interval_s": 1.0,
        } | rules
        self.quota = QUOTA

    def look(self):
        seen, self.seen = self.seen, ()
        return seen

    def renewal(self):
        return Renewal(
            rules=Rules(**self.rules),
            city_key=NEW_CITY.public_key,
            policy_sha256=NEW,
            segments=SpoolSettings(),
            quota_bytes=self.quota,
            keep_crops=False,
            certain_looks=5,
        )


def change(unit, policies):
    """Let the policy come; return what the ballots were told."""
    ballots = Ballots()
    seeing = Seeing(detector=None, tracker=None, reader=None, ballots=ballots)
    take_policy(policies, seeing, unit.keeping)
    return ballots.followed


def see(unit, number, **fields):
    unit.keeping.take((plate_read(number, crop_jpeg=b"\xff\xd8" + bytes(300), **fields),))


def test_what_was_seen_before_is_sealed_under_the_policy_before(tmp_path):
    unit = Unit(tmp_path)
    see(unit, 1)
    assert change(unit, OnePolicy()) == {"keep_crops": False, "certain_looks": 5}
    see(unit, 2)
    unit.keeping.close()
    frames = unit.frames(Lane.READS)
    assert [frame.header.policy_sha256 for frame in frames] == [OLD, NEW]
    texts = [
        read.text
        for frame, key in zip(frames, (unit.city, NEW_CITY), strict=True)
        for read in decode_reads_text(open_sealed(frame, key))
    ]
    assert texts == ["TEST001", "TEST002"]
    assert len(unit.frames(Lane.CROPS)) == 1
    assert unit.entries(Dropped) == []


def test_boot_and_sequences_go_on_and_the_log_says_where(tmp_path):
    unit = Unit(tmp_path)
    see(unit, 1)
    change(unit, OnePolicy())
    see(unit, 2)
    unit.keeping.close()
    spans = [
        (entry.boot, entry.first) for entry in unit.entries(Sealed) if entry.lane is Lane.READS
    ]
    assert spans == [(BOOT, 0), (BOOT, 1)]
    kinds = [type(entry) for entry in unit.entries(Sealed, PolicySeen)]
    assert kinds.index(PolicySeen) == kinds.count(Sealed) - 1
    assert [frame.header.previous_sha256 == bytes(32) for frame in unit.frames(Lane.READS)] == [
        True,
        False,
    ]


def test_a_refused_policy_stands_in_the_log_and_changes_nothing(tmp_path):
    unit = Unit(tmp_path)
    see(unit, 1)
    assert change(unit, OnePolicy(accepted=False)) is None
    see(unit, 2)
    unit.keeping.close()
    assert {frame.header.policy_sha256 for frame in unit.frames(Lane.READS)} == {OLD}
    assert [entry.accepted for entry in unit.entries(PolicySeen)] == [False]


def test_from_then_on_the_new_end_counts(tmp_path):
    unit = Unit(tmp_path)
    change(unit, OnePolicy(expires_at=NOON - timedelta(days=1)))
    see(unit, 1)
    unit.keeping.close()
    assert [entry.reason for entry in unit.entries(Dropped)] == ["the policy has expired"]


def test_from_then_on_the_new_room_counts(tmp_path):
    unit = Unit(tmp_path)
    policies = OnePolicy()
    policies.quota = dict.fromkeys(Lane, 1)
    change(unit, policies)
    see(unit, 1)
    unit.keeping.close()
    assert [entry.reason for entry in unit.entries(Dropped)] == ["the spool refused"]


def gate(mode):
    return GateRules(mode=mode, min_hit_confidence=0.9, min_hit_frames=2)


@pytest.mark.parametrize(
    ("before", "after", "later_s", "kept"),
    [
        ("all", "hits-only", 0, 0),  # first seen before: both modes count
        ("all", "hits-only", 5, 0),
        ("hits-only", "all", 0, 0),
        ("hits-only", "all", 5, 1),
        ("all", "all", 0, 1),
    ],
)
def test_from_then_on_the_new_mode_counts_and_until_a_vehicle_is_gone_the_stricter(
    tmp_path, before, after, later_s, kept
):
    unit = Unit(tmp_path, mode=before)
    first_seen = unit.clock.now() + timedelta(seconds=later_s)
    unit.clock.advance(2)
    change(unit, OnePolicy(gate=gate(after)))
    see(unit, 1, first_seen=first_seen)
    unit.keeping.close()
    assert len(unit.frames(Lane.READS)) == kept
    assert (unit.keeping.counters.turned_away, unit.keeping.counters.reads) == (1 - kept, kept)


def test_hits_only_in_between_counts_for_whoever_was_in_view(tmp_path):
    unit = Unit(tmp_path)
    for mode in ("hits-only", "all", "all"):
        unit.clock.advance(2)
        change(unit, OnePolicy(gate=gate(mode)))
    for number in (1, 3, 5):
        see(unit, number, first_seen=NOON + timedelta(seconds=number))
    unit.keeping.close()
    assert unit.keeping.counters.turned_away == 2
    assert [len(unit.frames(lane)) for lane in (Lane.READS, Lane.HITS)] == [1, 0]


@pytest.mark.parametrize(("life_s", "broken"), [(DAY_S, False), (60, True)])
def test_a_shorter_retention_gives_the_sender_time_to_delete(tmp_path, life_s, broken):
    unit = Unit(tmp_path)
    see(unit, 1)
    unit.keeping.commit(everything=True)
    unit.clock.advance(7200)
    unit.keeping.commit(everything=True)
    change(unit, OnePolicy(retention_s=dict.fromkeys(Lane, life_s)))
    assert unit.keeping.reason_not_to_keep() == ""
    unit.clock.advance(61)
    assert bool(unit.keeping.reason_not_to_keep()) is broken
    assert SpoolReader(tmp_path / "spool").segments()
