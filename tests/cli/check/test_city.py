"""What ties a unit to its city: policy, hotlist, route, certificate, receipts."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from agent.base.clock import to_ms
from agent.base.errors import HomeplateError
from agent.base.health_file import Facts, Health, health_path
from agent.cli.check.city import (
    judge_certificate,
    judge_hotlist,
    judge_lock,
    judge_policy,
    judge_receipt,
    judge_requests,
    judge_route,
    look_at_city,
    look_at_hotlist,
)
from agent.cli.check.disk import judge_room
from agent.cli.check.findings import Level, safely
from agent.cli.check.pace import judge_pace, look_at_pace
from agent.cli.check.subject import LogFacts, Subject, load_decision, read_logs
from agent.cli.machine import Machine
from agent.cli.unit import load_settings
from agent.trust.policy_history import PolicyHistory
from tests.audited import AuditedUnit
from tests.certificates import DAY, LAST_YEAR, SERVER_NAME, issue, make_authority
from tests.fakes import FakeClock
from tests.founded import found, unit_settings
from tests.tls_servers import Server, listening, plain_listener

UNIT = "unit-7"
HOTLIST = Facts(
    service="watch",
    unit=UNIT,
    pid=1,
    version="1",
    boot="",
    started_ms=0,
    policy_version=1,
    policy_hash="",
    policy_expires_ms=0,
    mode="hits-only",
)


class Town:
    """A city with an endpoint of its own making, and one unit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = make_authority()
        self.server = issue(self.authority, "endpoint", server_name=SERVER_NAME)
        self.spare = issue(self.authority, "spare", server_name=SERVER_NAME)
        self._city = found(folder)
        for name in ("etc/credentials", "state", "run"):
            (folder / "unit" / name).mkdir(parents=True)
        self.place = folder / "unit/unit.toml"
        self.place.write_text(unit_settings(folder / "unit", UNIT))
        self.enrol(issue(self.authority, UNIT))
        self.publish(port=9)

    def publish(self, *, port: int, **changes: object) -> None:
        """Give the unit a policy that names this town's endpoint."""
        endpoint = {
            "addresses": ["127.0.0.1"],
            "port": port,
            "server_name": SERVER_NAME,
            "ca_pem": self.authority.pem,
            "spki_pins": [self.server.pin, self.spare.pin],
        }
        self._city.publish(port, endpoint=endpoint, **changes)
        etc = self.folder / "unit/etc"
        (etc / "root.json").write_bytes(self._city.root.read_bytes())
        (etc / "policy.bundle").write_bytes(self._city.policy.read_bytes())

    def enrol(self, identity, folder: str = "etc/credentials") -> None:
        """Give the unit a client certificate."""
        place = self.folder / "unit" / folder
        place.mkdir(parents=True, exist_ok=True)
        identity.write(place, "tls")

    def subject(self, *, later: timedelta = timedelta(0), logs=LogFacts()) -> Subject:  # noqa: B008
        """Return the unit as the check sees it, some time after now."""
        settings = load_settings(self.place)
        return Subject(
            place=self.place,
            settings=settings,
            decision=load_decision(settings),
            logs=logs,
            machine=Machine(self.folder),
            clock=FakeClock(datetime.now(UTC) + later),
        )

    def serve(self, identity=None) -> Server:
        """Return the endpoint, or one that pretends to be it."""
        return Server(
            identity or self.server,
            client_authority=self.authority,
            handle=listening,
            folder=self.folder,
        )


@pytest.fixture
def town(tmp_path) -> Town:
    return Town(tmp_path)


@pytest.mark.parametrize(
    ("later", "level"),
    [(0, Level.GOOD), (22, Level.GOOD), (24, Level.DOUBT), (31, Level.BAD), (-1, Level.BAD)],
)
def test_a_policy_is_judged_by_its_signatures_and_its_end(town, later, level):
    subject = town.subject()
    now = subject.clock.now() + timedelta(days=later)
    finding = judge_policy(subject.decision, PolicyHistory(), now=now)
    assert finding.level is level
    assert "version 1 of Testville" in finding.found
    assert "signed by police, clerk" in finding.found


def test_a_policy_that_is_older_than_the_log_says_is_bad(town):
    subject = town.subject()
    finding = judge_policy(subject.decision, PolicyHistory(version=2), now=subject.clock.now())
    assert finding.level is Level.BAD
    assert "log says that 2 was taken over" in finding.found


def test_a_policy_that_was_changed_by_one_person_is_refused_with_the_reason(town):
    path = town.folder / "unit/etc/policy.bundle"
    path.write_bytes(path.read_bytes().replace(b"Zm", b"Zn", 1))
    finding = next(look_at_city(town.subject()))
    assert (finding.code, finding.level) == ("HP-301", Level.BAD)
    assert finding.exit_code in {65, 79}


def test_the_policy_that_the_watcher_took_over_counts(town):
    memory = town.folder / "unit/state/policy/watch/current.bundle"
    memory.parent.mkdir(parents=True)
    town.publish(port=9, version=4)
    memory.write_bytes((town.folder / "unit/etc/policy.bundle").read_bytes())
    (town.folder / "unit/etc/policy.bundle").write_bytes(b"older")
    assert town.subject().decision.version == 4
    assert sorted(path.name for path in memory.parent.iterdir()) == ["current.bundle"]


def test_without_a_policy_the_route_is_not_known(town):
    (town.folder / "unit/etc/policy.bundle").unlink()
    found = {item.code: item for item in look_at_city(town.subject())}
    assert list(found) == [f"HP-30{number}" for number in range(1, 6)]
    assert (found["HP-301"].exit_code, found["HP-303"].level) == (78, Level.UNKNOWN)


def greet(subject):
    return safely("HP-303", lambda: judge_route(subject, subject.decision.policy))


def certified(subject):
    now = subject.clock.now()
    return safely("HP-304", lambda: judge_certificate(subject, now=now))


def test_the_endpoint_with_the_pinned_key_is_greeted_without_a_byte(town):
    with town.serve() as server:
        town.publish(port=server.port)
        subject = town.subject()
        finding = greet(subject)
    assert (finding.level, finding.found.split()[0]) == (Level.GOOD, "127.0.0.1")
    assert (server.connections, server.received) == (1, b"")


def test_an_endpoint_with_another_key_is_wrong(town):
    other = issue(town.authority, "endpoint", server_name=SERVER_NAME)
    with town.serve(other) as server:
        town.publish(port=server.port)
        subject = town.subject()
        finding = greet(subject)
    assert (finding.level, finding.exit_code) == (Level.BAD, 75)
    assert "not pinned" in finding.found
    assert server.received == b""


def test_a_unit_whose_certificate_the_city_does_not_take_is_told(town):
    town.enrol(issue(make_authority("Another"), UNIT))
    with town.serve() as server:
        town.publish(port=server.port)
        subject = town.subject()
        finding = greet(subject)
    assert (finding.level, finding.exit_code) == (Level.BAD, 77)
    assert "does not accept this unit's certificate" in finding.found


def test_something_that_speaks_no_tls_and_nothing_at_all_are_wrong(town):
    with plain_listener() as (port, _):
        town.publish(port=port)
        subject = town.subject()
        assert greet(subject).exit_code == 75
    assert greet(subject).exit_code == 75


def test_the_certificate_is_judged_by_its_name_and_its_end(town):
    def level(later=0.0):
        subject = town.subject(later=timedelta(days=later))
        return judge_certificate(subject, now=subject.clock.now()).level

    assert (level(), level(24), level(31), level(-2)) == (
        Level.GOOD,
        Level.DOUBT,
        Level.BAD,
        Level.BAD,
    )
    town.enrol(issue(town.authority, UNIT, valid=LAST_YEAR))
    assert level() is Level.BAD
    town.enrol(issue(town.authority, UNIT, valid=(-DAY, 90 * DAY)), "state/identity")
    assert level(31) is Level.GOOD  # the renewed one counts


def test_a_certificate_of_another_unit_or_none_is_wrong(town):
    subject = town.subject()
    town.enrol(issue(town.authority, "unit-8"))
    assert (
        "of unit-8; the settings are those of unit-7"
        in judge_certificate(subject, now=subject.clock.now()).found
    )
    subject.certificate.write_text("no certificate")
    assert certified(subject).exit_code == 77
    subject.certificate.unlink()
    assert certified(subject).exit_code == 78


def listed(**changes):
    now_ms = to_ms(datetime.now(UTC))
    fields = {
        "hotlist_version": 3,
        "hotlist_entries": 7,
        "hotlist_issued_ms": now_ms,
        "hotlist_expires_ms": now_ms + 3_600_000,
    }
    return msgspec.structs.replace(HOTLIST, **(fields | changes))


@pytest.mark.parametrize(
    ("facts", "level"),
    [
        pytest.param(listed(), Level.GOOD, id="current"),
        pytest.param(listed(hotlist_expires_ms=1), Level.BAD, id="expired"),
        pytest.param(HOTLIST, Level.BAD, id="none-in-hits-only"),
        pytest.param(msgspec.structs.replace(HOTLIST, mode="all"), Level.DOUBT, id="none-in-all"),
    ],
)
def test_a_hotlist_is_judged_by_what_the_watcher_holds(facts, level):
    assert judge_hotlist(facts, now=datetime.now(UTC)).level is level


def test_without_a_watcher_nobody_knows_the_hotlist(town):
    subject = town.subject()
    assert look_at_hotlist(subject).level is Level.UNKNOWN
    path = health_path(subject.exchange, "watch")
    path.write_bytes(
        msgspec.json.encode(Health(at_ms=1, facts=listed(), counters={}, lately={}, lately_s=0))
    )
    assert look_at_hotlist(subject).level is Level.GOOD
    path.write_bytes(b"nonsense")
    finding = safely("HP-302", lambda: look_at_hotlist(subject))
    assert (finding.level, finding.exit_code) == (Level.BAD, 65)


def wait_since(town, age: timedelta) -> None:
    """Leave a sealed segment of that age."""
    lane = town.folder / "unit/state/spool/reads"
    lane.mkdir(parents=True)
    first_ms = to_ms(datetime.now(UTC) - age)
    (lane / f"{first_ms:013d}-00000000-000001.seg").write_bytes(bytes(100))


@pytest.mark.parametrize(
    ("receipt", "waits", "level"),
    [
        (None, None, Level.GOOD),
        (timedelta(days=30), None, Level.GOOD),
        (timedelta(minutes=1), timedelta(days=2), Level.GOOD),
        (timedelta(days=2), timedelta(hours=1), Level.GOOD),
        (timedelta(days=2), timedelta(days=2), Level.DOUBT),
        (None, timedelta(days=8), Level.BAD),
    ],
)
def test_only_what_waits_for_a_receipt_makes_its_age_a_trouble(town, receipt, waits, level):
    if waits is not None:
        wait_since(town, waits)
    now = datetime.now(UTC)
    logs = LogFacts(receipt_ms=to_ms(now - receipt) if receipt else 0)
    assert judge_receipt(town.subject(logs=logs), logs).level is level


def test_logs_that_cannot_be_read_are_told_once_and_stop_nothing(town):
    folder = town.folder / "unit/state/audit/send"
    folder.mkdir(parents=True)
    (folder / "entries").mkdir()
    broken = read_logs(town.folder / "unit/state")
    assert isinstance(broken, HomeplateError)
    found = {item.code: item for item in look_at_city(town.subject(logs=broken))}
    assert found["HP-305"].level is Level.UNKNOWN


def test_the_logs_tell_the_latest_time_and_the_last_receipt(tmp_path):
    unit = AuditedUnit(tmp_path)
    assert read_logs(unit.state) == LogFacts(latest_ms=unit.now_ms())
    segment = unit.seal(reads=3)
    unit.clock.advance(60)
    unit.upload(segment, reads=3)
    facts = read_logs(unit.state)
    assert facts.latest_ms == unit.now_ms()
    assert 0 < facts.receipt_ms <= unit.now_ms()
    assert read_logs(tmp_path / "nowhere") == LogFacts()


def test_the_room_is_held_against_the_quotas(town):
    decision = town.subject().decision
    assert judge_room(town.folder, decision).level is Level.GOOD
    quota = {"hits_bytes": 1 << 40, "reads_bytes": 1 << 40, "crops_bytes": 1 << 40}
    town.publish(port=9, quota=quota)
    finding = judge_room(town.folder, town.subject().decision)
    assert finding.level is Level.DOUBT
    assert "may still take 3.0 TiB" in finding.found


@pytest.mark.parametrize(
    ("failures", "errands_failed", "level"),
    [(0, 0, Level.GOOD), (1, 0, Level.BAD), (0, 1, Level.BAD)],
    ids=["answers", "frames fail", "errands fail"],
)
def test_on_a_locked_unit_the_sender_tells_of_the_route(failures, errands_failed, level):
    health = Health(
        at_ms=0,
        facts=msgspec.structs.replace(HOTLIST, service="send", locked=True),
        counters={},
        lately={"failures": failures, "errands_failed": errands_failed},
        lately_s=60,
    )
    assert judge_requests(health).level is level


def test_on_a_locked_unit_nobody_else_tries_the_route(town):
    facts = msgspec.structs.replace(HOTLIST, service="send", locked=True)
    lately = {"failures": 0, "errands_failed": 0}
    subject = town.subject()
    told = Health(
        at_ms=to_ms(subject.clock.now()), facts=facts, counters={}, lately=lately, lately_s=60
    )
    path = health_path(town.folder / "unit/run", "send")
    path.write_bytes(msgspec.json.encode(told))
    assert greet(subject).level is Level.GOOD  # there is no endpoint


@pytest.mark.parametrize(
    ("locked", "level"), [(True, Level.GOOD), (False, Level.DOUBT)], ids=["locked", "by hand"]
)
def test_a_sender_that_runs_locked_is_proof_that_nothing_else_gets_out(locked, level):
    facts = msgspec.structs.replace(HOTLIST, service="send", locked=locked)
    health = Health(at_ms=0, facts=facts, counters={}, lately={}, lately_s=0.0)
    assert judge_lock(health).level is level


def test_without_a_sender_nobody_knows_whether_anything_gets_out():
    assert judge_lock(None).level is Level.UNKNOWN


@pytest.mark.parametrize(
    ("shed", "level"),
    [(0, Level.GOOD), (10, Level.GOOD), (11, Level.DOUBT), (100, Level.DOUBT), (101, Level.BAD)],
)
def test_a_watcher_that_does_not_keep_up_is_told(shed, level):
    lately = {"frames": 1000, "frames_shed": shed}
    health = Health(
        at_ms=0, facts=listed(), counters={"frames_shed": 170}, lately=lately, lately_s=60.0
    )
    found = judge_pace(health)
    assert (found.code, found.level) == ("HP-208", level)
    assert f"{shed} of 1000 frames left out in the last 60 s" in found.found
    assert "170 since the start" in found.found


def test_without_a_watcher_its_pace_is_not_known(town):
    assert [found.level for found in look_at_pace(town.subject())] == [Level.UNKNOWN]
