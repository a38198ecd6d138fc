"""The sender's part in an update: pieces, resumption, and what it hands over."""

import re
from hashlib import sha256

import msgspec
import pytest

from agent.base.application import ApplicationState, Slot, Step
from agent.base.errors import UplinkError
from agent.pipeline import fetching
from agent.pipeline.fetching import AGAIN_NS, PIECE_BYTES, Here, UpdateErrand
from agent.trust.answers import Answer
from tests.fakes import FakeClock
from tests.policies import NOW
from tests.updates import MACHINE, PYTHON, name_release

CONTENT = bytes(range(256)) * 4096 + b"the end"
RELEASE = name_release("1.1.0", CONTENT)


class FakeCity:
    """An endpoint with one archive: gives pieces, and fails when it is told to."""

    def __init__(self, content=CONTENT):
        self.content, self.asked, self.faults = content, [], []

    def exchange(self, method, path, body=b"", *, headers=None, limit_bytes):
        assert (method, body, limit_bytes) == ("GET", b"", PIECE_BYTES)
        assert path == f"/v1/application/homeplate-1.1.0-{MACHINE}-py{PYTHON}.tar.zst"
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", headers["Range"]).groups())
        self.asked.append((first, last))
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, Exception):
            raise fault
        size = len(self.content)
        content = self.content[first : last + 1]
        answer = {"content-range": f"bytes {first}-{last}/{size}"}
        if fault == "short":
            content = content[:-1]
        if fault == "other range":
            answer = {"content-range": f"bytes {first + 1}-{last + 1}/{size}"}
        if fault == "no range":
            return Answer(status=200, reason="", content=content, headers={})
        return Answer(status=206, reason="", content=content, headers=answer)


class Sender:
    """The errand on real files."""

    def __init__(self, folder, city=None):
        self.folder, self.slots = folder / "update", folder / "application"
        for path in (self.folder, self.slots):
            path.mkdir(exist_ok=True)
        self.city, self.clock, self.log = city or FakeCity(), FakeClock(NOW), []
        self.release = RELEASE
        self.start()

    def start(self):
        self.errand = UpdateErrand(
            self.city,
            lambda: self.release,
            folder=self.folder,
            slots=self.slots,
            note=self.log.append,
            clock=self.clock,
            here=Here(machine=MACHINE, python=PYTHON, version="1.0.0"),
        )

    def work(self, turns=1, *, apart_s=0.5):
        for _ in range(turns):
            self.clock.advance(apart_s)
            self.errand.work()

    def set_state(self, **facts):
        (self.slots / "state.json").write_bytes(msgspec.json.encode(ApplicationState(**facts)))

    @property
    def held(self):
        return {path.name: path.stat().st_size for path in self.folder.iterdir()}

    @property
    def steps(self):
        return [(entry.step, entry.detail.partition(":")[0]) for entry in self.log]


@pytest.fixture
def sender(tmp_path):
    return Sender(tmp_path)


def test_an_archive_comes_in_pieces_and_is_handed_over_when_it_is_whole(sender):
    sender.work(5)
    assert (sender.folder / "archive").read_bytes() == CONTENT
    assert [last - first < PIECE_BYTES for first, last in sender.city.asked] == [True] * 3
    assert sender.steps == [("fetched", f"{len(CONTENT)} bytes")]
    assert sender.log[0].archive == sha256(CONTENT).digest()
    sender.work(5, apart_s=61)
    assert len(sender.city.asked) == 3


def test_after_a_break_it_goes_on_where_it_was(sender):
    sender.work(2)
    sender.city.faults = [UplinkError("no route")]
    with pytest.raises(UplinkError):
        sender.work()
    sender.start()
    sender.work(5, apart_s=61)
    assert (sender.folder / "archive").read_bytes() == CONTENT
    assert [first for first, _ in sender.city.asked] == [0, PIECE_BYTES, *[2 * PIECE_BYTES] * 2]


def test_a_failure_is_not_tried_again_at_once(sender):
    sender.city.faults = [UplinkError("no route")]
    with pytest.raises(UplinkError):
        sender.work()
    sender.work(20)
    assert len(sender.city.asked) == 1


@pytest.mark.parametrize("fault", ["short", "other range", "no range"])
def test_a_piece_that_is_not_what_was_asked_for_is_not_kept(sender, fault):
    sender.city.faults = [fault]
    with pytest.raises(UplinkError, match="not the one that was signed"):
        sender.work()
    assert sender.held == {}


def test_an_archive_that_was_not_signed_is_thrown_away_and_waited_for(tmp_path):
    sender = Sender(tmp_path, FakeCity(CONTENT[:-1] + b"?"))
    sender.work(5)
    assert sender.held == {}
    assert sender.steps == [("refused", "hash")]
    asked = len(sender.city.asked)
    sender.work(10, apart_s=61)
    assert len(sender.city.asked) == asked
    sender.work(1, apart_s=AGAIN_NS / 1e9)
    assert len(sender.city.asked) == asked + 1


def test_a_longer_archive_under_the_name_is_not_taken(tmp_path):
    sender = Sender(tmp_path, FakeCity(CONTENT + b"more"))
    with pytest.raises(UplinkError):
        sender.work()
    assert sender.held == {}


def test_another_release_begins_anew(sender):
    sender.work(1)
    sender.city = FakeCity(CONTENT[::-1])
    sender.release = name_release("1.1.0", CONTENT[::-1])
    sender.start()
    sender.work(6)
    assert (sender.folder / "archive").read_bytes() == CONTENT[::-1]
    assert list(sender.held) == ["archive"]


@pytest.mark.parametrize(
    "facts",
    [
        {"good": Slot(name="a", version="1.1.0", sha256=sha256(CONTENT).hexdigest())},
        {"trial": Slot(name="a", version="1.0.5", sha256="00" * 32)},
        {"failed": (sha256(CONTENT).hexdigest(),)},
    ],
    ids=["runs", "another is on trial", "fell back"],
)
def test_what_is_not_wanted_is_not_brought(sender, facts):
    sender.set_state(**facts)
    (sender.folder / "archive").write_bytes(b"left")
    sender.work(3)
    assert (sender.city.asked, sender.held) == ([], {})


def test_an_older_release_is_not_even_asked_for(sender):
    sender.set_state(good=Slot(name="a", version="1.2.0", sha256="00" * 32))
    sender.work(3, apart_s=AGAIN_NS / 1e9 + 1)
    assert sender.city.asked == []
    assert sender.steps == [("refused", "downgrade")]


def test_what_root_refused_is_thrown_away_and_brought_again_a_day_later(sender):
    sender.work(5)
    step = Step(
        number=1, at_ms=1, name="refused", version="1.1.0", sha256=sha256(CONTENT).hexdigest(),
        detail="models: others",
    )  # fmt: skip
    sender.set_state(steps=(step,))
    sender.work(3, apart_s=61)
    assert [name for name in sender.held if name != "told"] == []
    assert sender.steps[-1] == ("refused", "models")
    asked = len(sender.city.asked)
    sender.work(5, apart_s=AGAIN_NS / 1e9 + 1)
    assert len(sender.city.asked) > asked


def test_what_root_did_is_entered_once_also_over_starts(sender):
    names = ("switched", "fallen-back")
    steps = tuple(
        Step(number=number, at_ms=1, name=name, version="1.1.0", sha256="11" * 32)
        for number, name in enumerate(names, 1)
    )
    sender.set_state(steps=steps, failed=(sha256(CONTENT).hexdigest(),))
    for _ in range(3):
        sender.start()
        sender.work(2, apart_s=61)
    assert [step for step, _ in sender.steps] == ["switched", "fallen-back"]


def test_on_a_disk_without_room_nothing_is_fetched(sender, monkeypatch):
    monkeypatch.setattr(fetching, "RESERVE_BYTES", 1 << 60)
    sender.work(3, apart_s=61)
    assert sender.city.asked == []


def test_a_damaged_state_is_told_and_brings_nothing(sender):
    (sender.slots / "state.json").write_text("[")
    with pytest.raises(UplinkError, match="install the package again"):
        sender.work()
    assert sender.city.asked == []


def test_without_a_release_nothing_is_kept(sender):
    sender.work(2)
    sender.release = None
    sender.work(2, apart_s=61)
    assert sender.held == {}
