"""What a process tells of itself: seldom, whole, with rates of the last minute."""

import pytest
from msgspec.structs import replace

from agent.base.errors import IntegrityError
from agent.base.health_file import Facts, HealthFile, health_path, read_health
from agent.base.unit_state import UnitState
from tests.fakes import FakeClock

FACTS = Facts(
    service="watch",
    unit="unit-7",
    pid=7,
    version="1",
    boot="00" * 16,
    started_ms=0,
    policy_version=3,
    policy_hash="ab" * 32,
    policy_expires_ms=9,
    mode="all",
)


@pytest.fixture
def clock():
    return FakeClock()


def tell(path, clock, **options):
    return HealthFile(path, facts=lambda: FACTS, clock=clock, **options)


def test_what_was_told_is_read_back(tmp_path, clock):
    path = health_path(tmp_path, "watch")
    tell(path, clock, look=lambda: UnitState(celsius=48.5)).tell(lambda: {"frames": 30})
    health = read_health(path)
    assert (health.facts, health.counters, health.cpu_celsius) == (FACTS, {"frames": 30}, 48.5)
    assert [found.name for found in tmp_path.iterdir()] == ["watch.health"]


def test_the_counters_are_asked_for_only_when_it_is_time(tmp_path, clock):
    asked = []
    health = tell(tmp_path / "a", clock)
    for _ in range(12):
        health.tell(lambda: asked.append(1) or {})
        clock.advance(1)
    assert len(asked) == 3


def test_what_happened_lately_is_what_happened_in_the_last_minute(tmp_path, clock):
    health = tell(tmp_path / "a", clock)
    for second in range(0, 200, 5):
        health.tell(lambda second=second: {"frames": 30 * second if second < 100 else 3000})
        clock.advance(5)
    assert read_health(tmp_path / "a").lately == {"frames": 0}
    health.tell(lambda: {"frames": 3000 + 100, "hits": 2})
    told = read_health(tmp_path / "a")
    assert (told.lately, told.lately_s) == ({"frames": 100, "hits": 2}, 60.0)


def test_what_is_told_soon_after_the_start_is_not_blown_up_to_a_minute(tmp_path, clock):
    health = tell(tmp_path / "a", clock)
    for frames in (0, 150):
        health.tell(lambda frames=frames: {"frames": frames})
        clock.advance(5)
    told = read_health(tmp_path / "a")
    assert (told.lately, told.lately_s) == ({"frames": 150}, 5.0)


def test_a_missing_folder_is_no_ones_loss(tmp_path, clock):
    health = tell(tmp_path / "none" / "a", clock)
    health.tell(dict)
    health.remove()
    assert read_health(tmp_path / "none" / "a") is None


def test_who_ends_in_good_order_leaves_nothing(tmp_path, clock):
    health = tell(tmp_path / "a", clock)
    health.tell(dict)
    health.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[" * 70_000, b"null"])
def test_something_else_is_refused_with_its_place(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"a: .*expected the health"):
        read_health(tmp_path / "a")


def test_a_folder_in_its_place_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(IntegrityError, match="expected the health"):
        read_health(tmp_path / "a")


def test_what_another_process_left_in_the_way_is_not_followed(tmp_path, clock):
    elsewhere = tmp_path / "precious"
    elsewhere.write_text("precious")
    (tmp_path / ".a.new").symlink_to(elsewhere)
    tell(tmp_path / "a", clock).tell(dict)
    assert elsewhere.read_text() == "precious"
    assert read_health(tmp_path / "a").facts == FACTS
    (tmp_path / "a").unlink()
    (tmp_path / "a").symlink_to(elsewhere)
    with pytest.raises(IntegrityError):
        read_health(tmp_path / "a")


def test_facts_may_change_while_it_runs(tmp_path, clock):
    facts = [FACTS]
    health = HealthFile(tmp_path / "a", facts=lambda: facts[0], clock=clock)
    health.tell(dict)
    facts[0] = replace(FACTS, policy_version=4)
    clock.advance(5)
    health.tell(dict)
    assert read_health(tmp_path / "a").facts.policy_version == 4
