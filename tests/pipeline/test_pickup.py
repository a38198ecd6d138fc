"""The watcher takes the newest list that holds, says so in its log, and keeps it off every disk."""

import os
import resource
import signal
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256

import pytest

from agent.base.errors import IntegrityError
from agent.gate import EMPTY_HOTLIST
from agent.pipeline.pickup import HotlistPickup, ListRules, Wish
from agent.trust.hotlist import seal_hotlist
from agent.trust.keys import generate_signer
from tests.fakes import FakeClock
from tests.lists import CITY_SIGNER, NOON_MS, entry, make_request, sign_list

WATCHER = generate_signer()
RULES = ListRules(keys=(("PD", CITY_SIGNER.public_key),), purposes=("stolen-vehicle",), entries=2)


class DelayedExecutor(Executor):
    """Runs a job when it is told to."""

    def __init__(self):
        self.waiting = []

    def submit(self, job, *args):
        future = Future()
        self.waiting.append((future, job, args))
        return future

    def run(self):
        for future, job, args in self.waiting:
            try:
                future.set_result(job(*args))
            except Exception as error:  # noqa: BLE001 -- as executors do
                future.set_exception(error)
        self.waiting = []


class Unit:
    """A watcher's folders, its request, and a sender that brings whatever it is given."""

    def __init__(self, folder):
        self.exchange, self.memory = folder / "run", folder / "memory"
        self.exchange.mkdir()
        self.clock, self.executor = FakeClock(), DelayedExecutor()
        self.start()

    def start(self, rules=RULES, *, logged_version=0):
        self.request, self.opener = make_request(WATCHER)
        self.pickup = HotlistPickup(
            wish=Wish(request=self.request, key=self.opener),
            rules=rules,
            exchange=self.exchange,
            memory=self.memory,
            clock=self.clock,
            executor=self.executor,
            logged_version=logged_version,
        )

    def bring(self, content, *, request=None, opener=None):
        sealed = seal_hotlist(content, request or self.request, (opener or self.opener).public_key)
        path = self.exchange / "hotlist.sealed"
        path.with_suffix(".new").write_bytes(sealed)
        path.with_suffix(".new").replace(path)

    def look(self):
        """Let the watcher look until all that came is judged; return the log entries."""
        told = ()
        for _ in range(3):
            self.clock.advance(1)
            told += self.pickup.look()
            self.executor.run()
        return told


@pytest.fixture
def unit(tmp_path):
    return Unit(tmp_path)


def test_a_list_that_comes_is_in_use_and_in_the_log(unit):
    assert unit.look() == ()
    assert unit.pickup.hotlist is EMPTY_HOTLIST
    unit.bring(sign_list("7KXR482"))
    (seen,) = unit.look()
    assert (seen.accepted, seen.version, seen.count, seen.detail) == (True, 1, 1, "signed by PD")
    assert unit.pickup.hotlist.find("7KXR482", now_ms=NOON_MS)
    assert unit.look() == ()


def test_the_request_lies_where_the_sender_looks_for_it_also_after_the_folder_was_emptied(unit):
    path = unit.exchange / "hotlist.request"
    unit.look()
    assert path.read_bytes() == unit.request
    assert path.stat().st_mode & 0o777 == 0o640
    path.unlink()
    unit.look()
    assert path.read_bytes() == unit.request


def test_a_folder_that_is_not_there_stops_nothing(unit):
    unit.exchange.rmdir()
    assert unit.look() == ()


def test_a_list_is_opened_beside_the_road(unit):
    unit.bring(sign_list("7KXR482"))
    unit.clock.advance(1)
    assert unit.pickup.look() == unit.pickup.look() == ()
    assert len(unit.executor.waiting) == 1
    unit.executor.run()
    assert unit.pickup.hotlist is EMPTY_HOTLIST
    assert len(unit.pickup.look()) == 1


def test_a_newer_list_replaces_the_one_in_use(unit):
    for version, plate in ((1, "7KXR482"), (2, "3CEH915")):
        unit.bring(sign_list(plate, version=version))
        unit.look()
    assert unit.pickup.hotlist.version == 2
    assert not unit.pickup.hotlist.find("7KXR482", now_ms=NOON_MS)


REFUSED = [
    pytest.param(lambda: sign_list("8ABC123", version=1), "was replaced by 3", id="rolled back"),
    pytest.param(
        lambda: sign_list("8ABC123", version=4, signer=generate_signer()),
        "which the policy does not name",
        id="other signer",
    ),
    pytest.param(
        lambda: sign_list("8ABC123", version=4, issued_ms=NOON_MS - 90_000_000),
        "has expired",
        id="expired",
    ),
    pytest.param(
        lambda: sign_list("8ABC123", version=4, life_ms=864_000_000), "another life", id="for ever"
    ),
    pytest.param(
        lambda: sign_list(entry("8ABC123", purpose="traffic"), version=4),
        "the purpose traffic is not in the policy",
        id="strange purpose",
    ),
    pytest.param(lambda: b"nothing of it", "not CBOR", id="no list"),
]


@pytest.mark.parametrize(("make", "words"), REFUSED)
def test_a_list_that_does_not_hold_is_refused_once_and_the_one_in_use_stays(
    unit, make, words, caplog
):
    unit.bring(sign_list("7KXR482", version=3))
    unit.look()
    content = make()
    unit.bring(content)
    (seen,) = unit.look()
    assert (seen.accepted, seen.version, seen.count) == (False, 0, 0)
    assert words in seen.detail
    assert (unit.pickup.refusals, unit.pickup.refused) == (1, seen.detail)
    unit.bring(content)
    assert unit.look() == ()
    assert unit.pickup.refusals == 1
    assert unit.pickup.hotlist.version == 3
    unit.bring(sign_list("7KXR482", version=5))
    unit.look()
    assert (unit.pickup.refusals, unit.pickup.refused) == (1, "")
    assert "8ABC123" not in "".join(str(vars(record)) for record in caplog.records)


@pytest.mark.parametrize("content", [b"", b"\xa3", bytes(100)], ids=["empty", "cut", "zeros"])
def test_a_file_that_is_no_sealed_list_is_refused(unit, content):
    (unit.exchange / "hotlist.sealed").write_bytes(content)
    (seen,) = unit.look()
    assert not seen.accepted


def test_a_link_in_the_files_place_is_not_followed(unit, tmp_path):
    (tmp_path / "elsewhere").write_bytes(
        seal_hotlist(sign_list(), unit.request, unit.opener.public_key)
    )
    (unit.exchange / "hotlist.sealed").symlink_to(tmp_path / "elsewhere")
    (seen,) = unit.look()
    assert not seen.accepted


def test_the_answer_to_an_earlier_start_is_waited_over_in_silence(unit):
    before = (unit.request, unit.opener)
    unit.start()
    unit.bring(sign_list("7KXR482"), request=before[0], opener=before[1])
    assert unit.look() == ()
    assert unit.pickup.hotlist is EMPTY_HOTLIST


def test_no_older_list_is_taken_after_a_restart_and_only_its_mark_is_remembered(unit):
    content = sign_list("7KXR482", version=9)
    unit.bring(content)
    unit.look()
    (kept,) = unit.memory.iterdir()
    version, digest = kept.read_text().split()
    assert (version, digest) == ("9", sha256(content).hexdigest())
    unit.start()
    unit.bring(sign_list("7KXR482", version=8))
    (seen,) = unit.look()
    assert not seen.accepted
    unit.bring(content)
    assert [one.accepted for one in unit.look()] == [True]


def test_another_list_with_the_same_version_is_refused_also_after_a_restart(unit):
    first, other = sign_list("7KXR482", version=9), sign_list("8ABC123", version=9)
    unit.bring(first)
    unit.look()
    for start in (lambda: None, unit.start):
        start()
        unit.bring(other)
        (seen,) = unit.look()
        assert not seen.accepted
        assert "a fork" in seen.detail
        assert not unit.pickup.hotlist.find("8ABC123", now_ms=NOON_MS)
    unit.bring(first)
    assert [one.accepted for one in unit.look()] == [True]


@pytest.mark.parametrize("name", [".hotlist.request.new", "hotlist.request"])
def test_a_link_of_the_senders_makes_the_watcher_write_nowhere_else(unit, tmp_path, name):
    log = tmp_path / "entries.log"
    log.write_bytes(b"the watcher's log")
    (unit.exchange / name).symlink_to(log)
    unit.look()
    assert log.read_bytes() == b"the watcher's log"
    request = unit.exchange / "hotlist.request"
    assert (request.is_symlink(), request.read_bytes()) == (False, unit.request)


@pytest.mark.parametrize(
    "lay",
    [
        pytest.param(os.mkfifo, id="pipe"),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), id="endless"),
        pytest.param(lambda path: path.write_bytes(bytes(1 << 20)), id="large"),
    ],
)
def test_whatever_lies_in_the_requests_place_is_replaced_and_holds_up_nothing(unit, lay):
    path = unit.exchange / "hotlist.request"
    lay(path)
    with deadline():
        unit.look()
    assert path.read_bytes() == unit.request


@contextmanager
def deadline():
    """End a look that hangs, and before it has eaten the machine's memory."""

    def give_up(*_):
        pytest.fail("hangs")  # no OSError: the watcher may pass those over

    before = signal.signal(signal.SIGALRM, give_up)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, limits[1]))
    signal.alarm(20)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_without_the_mark_the_log_says_what_no_list_may_fall_below(unit):
    unit.start(logged_version=5)
    (lost,) = unit.look()
    assert lost.detail == "memory: hotlist-version is gone or older; no list below 5"
    assert (lost.accepted, unit.pickup.refusals, unit.pickup.refused) == (False, 1, lost.detail)
    unit.bring(sign_list("7KXR482", version=4))
    (seen,) = unit.look()
    assert (seen.accepted, seen.detail) == (False, "hotlist: version 4 was replaced by 5 before")
    unit.bring(sign_list("7KXR482", version=5))
    assert [one.accepted for one in unit.look()] == [True]
    assert unit.pickup.refused == ""
    unit.bring(sign_list("3CEH915", version=5))
    (seen,) = unit.look()
    assert "(a fork)" in seen.detail


@pytest.mark.parametrize("content", ["many", "9", "9 " + "g" * 64, "9 " + "0" * 63, "9 0 0"])
def test_a_mark_that_is_none_stops_the_start(unit, content):
    unit.memory.mkdir()
    (unit.memory / "hotlist-version").write_text(content)
    with pytest.raises(IntegrityError, match="holds no version"):
        unit.start()


def test_a_disk_that_refuses_the_version_does_not_take_the_list_away(unit, caplog):
    unit.memory.write_text("a file where the folder should be")
    unit.bring(sign_list("7KXR482"))
    assert [one.accepted for one in unit.look()] == [True]
    assert "hotlist version not kept" in [record.message for record in caplog.records]


def test_another_policy_checks_the_list_anew(unit):
    unit.bring(sign_list("7KXR482"))
    unit.look()
    unit.pickup.follow(ListRules(keys=RULES.keys, purposes=("missing-person",), entries=2))
    assert unit.pickup.hotlist is EMPTY_HOTLIST
    (seen,) = unit.look()
    assert not seen.accepted
    unit.pickup.follow(RULES)
    assert [one.accepted for one in unit.look()] == [True]
    assert unit.pickup.hotlist.version == 1


@pytest.mark.parametrize("purposes", [("stolen-vehicle",), ("stolen-vehicle", "amber-alert")])
def test_a_list_that_another_policy_allows_too_stays_in_use_without_a_gap(unit, purposes):
    unit.bring(sign_list("7KXR482"))
    unit.look()
    unit.bring(sign_list(entry("3CEH915", purpose="amber-alert"), version=2))
    assert [one.accepted for one in unit.look()] == [False]
    unit.pickup.follow(ListRules(keys=RULES.keys, purposes=purposes, entries=2))
    assert unit.pickup.hotlist.find("7KXR482", now_ms=NOON_MS)
    accepted = [one.accepted for one in unit.look()]
    assert accepted == ([True] if "amber-alert" in purposes else [])
    assert unit.pickup.hotlist.version == (2 if "amber-alert" in purposes else 1)


def test_a_list_with_more_entries_than_the_policy_allows_is_refused_and_logged(unit):
    unit.bring(sign_list("7KXR482", "3CEH915", "8TNP036"))
    (seen,) = unit.look()
    assert not seen.accepted
    assert "3 entries; the policy allows 2" in seen.detail
    assert unit.pickup.hotlist is EMPTY_HOTLIST
    assert not unit.look()
    unit.pickup.follow(replace(RULES, entries=3))
    assert [one.accepted for one in unit.look()] == [True]
    unit.pickup.follow(RULES)
    assert unit.pickup.hotlist is EMPTY_HOTLIST


def test_a_list_whose_signer_the_next_policy_does_not_name_is_used_no_more(unit):
    unit.bring(sign_list("7KXR482"))
    unit.look()
    others = (("PD", generate_signer().public_key),)
    unit.pickup.follow(ListRules(keys=others, purposes=RULES.purposes, entries=2))
    assert unit.pickup.hotlist is EMPTY_HOTLIST


def test_no_plate_is_in_any_file_of_the_unit(unit, tmp_path):
    unit.bring(sign_list("7KXR482"))
    unit.look()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 3
    assert not any(b"7KXR482" in path.read_bytes() for path in files)


def test_lists_for_another_start_that_nobody_replaces_are_told_once(unit):
    request, opener = make_request(WATCHER)
    unit.bring(sign_list("7KXR482"), request=request, opener=opener)
    assert unit.look() == ()
    unit.clock.advance(590)
    assert (unit.look(), unit.pickup.refusals) == ((), 0)
    unit.clock.advance(10)
    (seen,) = unit.look()
    assert (seen.accepted, seen.version) == (False, 0)
    assert "sealed for another start" in seen.detail
    for _ in range(3):
        unit.bring(sign_list("7KXR482"), request=request, opener=opener)
        unit.clock.advance(3600)
        assert unit.look() == ()
    assert (unit.pickup.refusals, unit.pickup.refused) == (1, seen.detail)
    unit.bring(sign_list("7KXR482"))
    assert [seen.accepted for seen in unit.look()] == [True]


def test_an_older_starts_list_that_is_soon_replaced_is_no_refusal(unit):
    request, opener = make_request(WATCHER)
    unit.bring(sign_list("7KXR482"), request=request, opener=opener)
    unit.look()
    unit.bring(sign_list("7KXR482"))
    assert [seen.accepted for seen in unit.look()] == [True]
    unit.clock.advance(3600)
    assert (unit.look(), unit.pickup.refusals) == ((), 0)
