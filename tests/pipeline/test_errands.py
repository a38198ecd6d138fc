"""What the sender carries besides frames: the policy from the city, the heartbeat to it."""

import json
from datetime import timedelta
from hashlib import sha256
from types import SimpleNamespace

import pytest

from agent.base.errors import CredentialError, RefusedError, UplinkError
from agent.base.health import SendCounters
from agent.base.health_file import Facts, Health
from agent.pipeline.errands import HeartbeatErrand, PolicyErrand, run_errands
from agent.policy import PolicyKeeper, PolicyPlaces
from agent.trust.answers import Answer
from agent.trust.bundle_files import BUNDLE_LIMIT_BYTES, encode_bundle
from agent.trust.heartbeat import decode_heartbeat
from agent.trust.policy_history import PolicyHistory
from tests.fakes import FakeClock
from tests.policies import NOW, UNIT, draft, first_root, take
from tests.trust.attacks import abandoned, honest, policy_3


class FakeCity:
    """The endpoint: serves a policy, takes heartbeats, fails when it is told to."""

    def __init__(self):
        self.policy, self.asked, self.beats, self.error = None, [], [], None

    def exchange(self, method, path, body=b"", *, headers=None, limit_bytes):
        if self.error:
            raise self.error
        if (method, path) == ("POST", "/v1/heartbeat"):
            self.beats.append(decode_heartbeat(body, place="beat"))
            return Answer(status=204, reason="", content=b"", headers={})
        assert (method, path, limit_bytes) == ("GET", "/v1/policy", BUNDLE_LIMIT_BYTES)
        self.asked.append(headers["If-None-Match"])
        if self.policy is None:
            return Answer(status=204, reason="", content=b"", headers={})
        if headers["If-None-Match"] == f'"{sha256(self.policy).hexdigest()}"':
            return Answer(status=304, reason="", content=b"", headers={})
        return Answer(status=200, reason="", content=self.policy, headers={})


class Sender:
    """A sender's errands, on real files."""

    def __init__(self, folder, *, interval_s=60, history=None):
        self.folder, self.city, self.clock = folder, FakeCity(), FakeClock(NOW)
        (folder / "run").mkdir()
        (folder / "root.json").write_bytes(first_root())
        (folder / "policy.bundle").write_bytes(encode_bundle(policy_3()))
        places = PolicyPlaces(
            root=folder / "root.json",
            flashed=folder / "policy.bundle",
            arriving=folder / "run/policy.bundle",
            memory=folder / "state/policy/send/current.bundle",
        )
        self.keeper = PolicyKeeper(places, unit=UNIT, models_sha256=None, history=history)
        self.log, self.watch = [], None
        self.policy = PolicyErrand(
            self.city,
            self.keeper,
            exchange=folder / "run",
            note=self.log.append,
            clock=self.clock,
            interval_s=interval_s,
        )
        self.heartbeat = HeartbeatErrand(
            self.city,
            self.keeper,
            facts=lambda: (99, {"uploads": 3}, self.watch),
            clock=self.clock,
            interval_s=60,
        )

    def work(self, seconds=60.0):
        self.clock.advance(seconds)
        self.policy.work()

    @property
    def handed(self):
        return (self.folder / "run/policy.bundle").read_bytes()


def watcher_that_refused(reason, **facts):
    facts = Facts(
        service="watch",
        unit=UNIT,
        pid=1,
        version="1",
        boot="00",
        started_ms=1,
        policy_version=3,
        policy_hash="ab",
        policy_expires_ms=9,
        mode="all",
        policy_refusals=1,
        last_refusal=reason,
        **facts,
    )
    return Health(at_ms=1, facts=facts, counters={}, lately={}, lately_s=0)


def test_a_sender_that_lost_its_policy_says_so_hands_nothing_on_and_takes_no_less(tmp_path):
    ours = take(honest())
    log = PolicyHistory(version=4, root_version=1, policy_hash=ours.policy_hash)
    sender = Sender(tmp_path, history=log)
    sender.work()
    sender.heartbeat.work()
    assert sender.city.beats[0].policy.last_refusal.startswith("memory: ")
    assert not (tmp_path / "run/policy.bundle").exists()
    sender.city.policy = encode_bundle(abandoned())
    sender.work()
    assert sender.keeper.is_behind
    sender.city.policy = encode_bundle(honest())
    sender.work()
    assert not sender.keeper.is_behind
    assert sender.policy.changed
    assert [entry.detail.partition(":")[0] for entry in sender.log] == [
        "memory",
        "fork",
        "version 4, root 1, signed by police, clerk",
    ]


@pytest.fixture
def sender(tmp_path):
    return Sender(tmp_path)


def test_the_city_is_asked_now_and_then_with_what_is_known(sender):
    for seconds in (0, 1, 30, 60):
        sender.work(seconds)
    assert sender.city.asked == [f'"{sender.keeper.decision.content_sha256.hex()}"'] * 2
    assert not sender.policy.changed


def test_after_a_start_the_watcher_finds_what_is_in_force(sender):
    sender.work()
    assert sender.handed == encode_bundle(policy_3())
    assert sender.log == []


def test_a_newer_policy_is_handed_to_the_watcher_taken_over_and_logged(sender):
    sender.city.policy = encode_bundle(honest())
    sender.work()
    assert sender.handed == sender.city.policy
    assert [seen.accepted for seen in sender.log] == [True]
    assert sender.policy.changed


def test_a_refused_policy_lies_long_enough_for_the_watcher_to_judge_it_too(tmp_path):
    sender = Sender(tmp_path, interval_s=1)
    sender.city.policy = encode_bundle(draft(4).signed("police"))
    lying = []
    for _ in range(14):
        sender.work(1)
        lying.append(sender.handed == sender.city.policy)
    assert lying == [True] * 10 + [False] * 4
    assert sender.handed == encode_bundle(policy_3())


def test_a_refused_hotlist_is_told_at_once(sender):
    sender.watch = watcher_that_refused("")
    sender.heartbeat.work()
    sender.clock.advance(1)
    sender.heartbeat.work()
    before = len(sender.city.beats)
    sender.watch = watcher_that_refused("", hotlist_refusals=1, hotlist_refusal="expired")
    sender.heartbeat.work()
    assert len(sender.city.beats) == before + 1


def test_a_refused_policy_is_logged_once_fetched_once_and_taken_out_again(sender):
    sender.city.policy = encode_bundle(draft(4).signed("police"))
    sender.work()
    assert sender.handed == sender.city.policy
    assert [seen.accepted for seen in sender.log] == [False]
    sender.city.policy = None
    sender.work()
    assert sender.handed == encode_bundle(policy_3())
    assert len(sender.log) == 1
    assert sender.city.asked[1] != sender.city.asked[0]
    assert not sender.policy.changed


def test_a_policy_that_came_before_its_day_is_taken_when_the_clock_is_right(sender):
    day_s = 86_400
    issued = (NOW + timedelta(days=1)).isoformat()
    sender.city.policy = encode_bundle(draft(4, issued_at=issued).signed())
    for _ in range(3):
        sender.work()
    assert [seen.accepted for seen in sender.log] == [False]
    assert not sender.policy.changed
    sender.work(2 * day_s)
    assert [seen.accepted for seen in sender.log] == [False, True]
    assert sender.policy.changed


def test_a_policy_on_a_stick_is_taken_while_the_city_is_away(sender):
    sender.city.error = UplinkError("not reached")
    with pytest.raises(UplinkError):
        sender.work()
    (sender.folder / "policy.bundle").write_bytes(encode_bundle(honest()))
    sender.work(2)
    assert sender.policy.changed


def test_a_folder_that_is_gone_is_an_errand_that_failed(sender):
    (sender.folder / "run").rmdir()
    with pytest.raises(UplinkError, match="the watcher waits"):
        sender.work()


def test_a_heartbeat_says_which_policy_is_in_force(sender):
    sender.heartbeat.work()
    (beat,) = sender.city.beats
    assert (beat.policy.version, beat.policy.root_version) == (3, 1)
    assert beat.policy.hash == sender.keeper.decision.policy_hash.hex()
    assert (beat.certificate_expires_ms, beat.send, beat.watch) == (99, {"uploads": 3}, None)


def test_a_heartbeat_comes_now_and_then_and_at_once_after_a_refusal(sender):
    for _ in range(5):
        sender.heartbeat.work()
    assert len(sender.city.beats) == 1
    sender.city.policy = encode_bundle(draft(2).signed())
    sender.work(1)
    sender.heartbeat.work()
    assert len(sender.city.beats) == 2
    assert sender.city.beats[1].policy.refusals == 1
    assert sender.city.beats[1].policy.last_refusal.startswith("rollback: ")
    sender.clock.advance(60)
    sender.heartbeat.work()
    assert len(sender.city.beats) == 3


def test_two_refusals_between_two_heartbeats_are_both_told(sender):
    sender.heartbeat.work()
    (sender.folder / "policy.bundle").write_bytes(encode_bundle(draft(2).signed()))
    sender.city.policy = b"x"
    sender.work(1)
    sender.heartbeat.work()
    told = sender.city.beats[1].policy
    assert [text.partition(":")[0] for text in told.refused_lately] == ["rollback", "format"]
    assert (told.refusals, told.last_refusal) == (2, told.refused_lately[-1])
    for number in range(20):
        sender.city.policy = b"x%d" % number
        sender.work(60)
    sender.heartbeat.work()
    assert len(sender.city.beats[-1].policy.refused_lately) == 8


def test_a_heartbeat_comes_at_once_after_the_watcher_refused(sender):
    sender.heartbeat.work()
    sender.watch = watcher_that_refused("models: others")
    for _ in range(3):
        sender.heartbeat.work()
    assert len(sender.city.beats) == 2
    assert sender.city.beats[1].watch == sender.watch


@pytest.mark.parametrize("error", [UplinkError("x"), RefusedError("x"), CredentialError("x")])
def test_an_errand_that_fails_holds_up_no_other(error, caplog):
    done, counters = [], SendCounters()

    def fail():
        raise error

    errands = (SimpleNamespace(work=fail), SimpleNamespace(work=lambda: done.append(1)))
    run_errands(errands, counters)
    assert done == [1]
    assert counters.errands_failed == 1
    assert [record.message for record in caplog.records] == ["errand failed"]
    assert json.dumps(counters.as_dict())
