"""What the services tell of themselves beside their counters."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.base.clock import SystemClock
from agent.base.health import WatchCounters
from agent.base.health_file import Facts, HealthFile, read_health
from agent.cli.lists import build_lists
from agent.cli.send import read_watcher
from agent.cli.unit import load_unit, refresh_policy
from agent.cli.vitals_send import HealthErrand
from agent.cli.vitals_watch import (
    LIST_EXPIRED,
    NO_LIST,
    judge_list,
    warn_at_end,
    watch_health,
)
from agent.cli.watch import build_keeping
from agent.gate import EMPTY_HOTLIST
from agent.pipeline.errands import HeartbeatErrand
from deploy.demo.city import found_city, publish_policy, settle_unit
from tests.fakes import FakeClock
from tests.lists import HOUR_MS, NOON_MS, make_list
from tests.pipeline.test_errands import FakeCity

FACTS = Facts(
    service="send",
    unit="unit-7",
    pid=7,
    version="1",
    boot="00",
    started_ms=0,
    policy_version=1,
    policy_hash="00",
    policy_expires_ms=1,
    mode="all",
)


@pytest.fixture(scope="module")
def hotlist():
    return make_list("7KXR482", life_ms=24 * HOUR_MS)


@pytest.mark.parametrize(
    ("later_ms", "mode", "trouble"),
    [(0, "hits-only", ""), (24 * HOUR_MS, "hits-only", LIST_EXPIRED), (0, "all", "")],
)
def test_a_list_in_use_is_trouble_once_it_has_expired(hotlist, later_ms, mode, trouble):
    assert judge_list(hotlist, mode=mode, now_ms=NOON_MS + later_ms) == trouble


def test_without_a_list_only_the_mode_hits_only_keeps_nothing():
    assert judge_list(EMPTY_HOTLIST, mode="all", now_ms=NOON_MS) == ""
    assert judge_list(EMPTY_HOTLIST, mode="hits-only", now_ms=NOON_MS) == NO_LIST


@pytest.mark.parametrize(
    ("counters", "mode", "has_list", "told"),
    [
        ({"frames": 300, "frames_shed": 120}, "all", True, ["120 of 300 frames were left out"]),
        ({"passages": 20, "unreadable": 19}, "all", True, ["19 of 20 vehicles were unreadable"]),
        ({"passages": 20, "reads_unreadable": 19}, "all", True, ["19 of 20 vehicles"]),
        ({"passages": 9, "unreadable": 9}, "all", True, []),
        ({"passages": 20, "unreadable": 12}, "hits-only", True, []),
        ({"passages": 20}, "hits-only", False, ["nothing was kept of 20 vehicles"]),
        (
            {"passages": 100, "passed_before_list": 6},
            "hits-only",
            True,
            ["6 of 100 vehicles had passed before the hotlist came"],
        ),
        ({"passages": 100, "passed_before_list": 5}, "hits-only", True, []),
        ({"passages": 100, "passed_before_list": 100}, "all", True, []),
        ({"hotlist_expired": 1}, "hits-only", True, ["the hotlist has expired"]),
        ({"frames": 300, "passages": 20}, "all", False, []),
        (
            {"frames": 9, "frames_shed": 1, "passages": 20, "unreadable": 20},
            "hits-only",
            False,
            ["frames_shed", "unreadable", "no hotlist came"],
        ),
    ],
)
def test_a_watch_ends_with_plain_words_on_what_was_lost(counters, mode, has_list, told):
    found = list(warn_at_end(WatchCounters(**counters), mode=mode, has_list=has_list))
    assert len(found) == len(told)
    assert all(words in line for words, line in zip(told, found, strict=True))


def test_the_sender_tells_of_itself_as_an_errand(tmp_path):
    health = HealthFile(tmp_path / "a", facts=lambda: FACTS, clock=FakeClock())
    HealthErrand(health, lambda: {"uploads": 3}).work()
    assert read_health(tmp_path / "a").counters == {"uploads": 3}


def test_what_the_watcher_refused_is_in_the_next_heartbeat_with_its_words(tmp_path):
    place, clock, endpoint = found_city(tmp_path), SystemClock(), FakeCity()
    publish_policy(place, port=9)
    settle_unit(place, source=tmp_path / "no.mp4", realtime=False)
    unit = load_unit(place.unit_settings, "watch")
    for name in ("policy.bundle", "hotlist.sealed"):
        unit.exchange.mkdir(exist_ok=True)
        (unit.exchange / name).write_bytes(b"no such thing")
    with ThreadPoolExecutor() as executor:
        keeping = build_keeping(unit, bytes(32), clock)
        lists = build_lists(unit, keeping.clock, executor)
        lists.look()
        executor.shutdown(wait=True)
        lists.look()
    refresh_policy(unit, clock)
    watch_health(unit, keeping, lists, clock, None).tell(keeping.counters.as_dict)
    keeping.close()
    HeartbeatErrand(
        endpoint,
        load_unit(place.unit_settings, "send").keeper,
        facts=lambda: (99, {}, read_watcher(unit.exchange)),
        clock=clock,
        interval_s=60,
    ).work()
    facts = endpoint.beats[0].watch.facts
    assert (facts.policy_refusals, facts.hotlist_refusals) == (1, 1)
    assert facts.last_refusal.startswith("format: policy.bundle: ")
    assert facts.refused_lately == (facts.last_refusal,)
    assert "not CBOR" in facts.hotlist_refusal
