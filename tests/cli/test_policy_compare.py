"""What an office reads before it signs: compared only with what the offices have published."""

import json
from datetime import timedelta

import pytest

from agent.cli.policy_book import CURRENT, PENDING, ROOT, Book
from agent.cli.policy_compare import compare
from agent.cli.policy_words import LABELS
from agent.trust.bundle_files import Bundle, encode_bundle
from tests.cli.test_policy import Office
from tests.policies import NOW, draft, first_root, make_root, policy_fields, sign

THIEVES = ("police:thief", "city-manager:thief", "clerk:thief")
EVIL = {"addresses": ["192.0.2.66"], "port": 4444, "server_name": "reads.thief.example"}
NOTHING = "nothing to compare with"


def endpoint():
    return {"endpoint": {**policy_fields()["endpoint"], **EVIL}}


def pending() -> Bundle:
    """Policy 2: another endpoint, and every plate is kept for longer."""
    longer = {"hits": "30d", "reads": "30d", "crops": "24h"}
    return draft(2, **endpoint(), retention=longer).bundle()


def forged(**changes: object) -> Bundle:
    """Policy 1 as a thief would have it: the endpoint stands in it already."""
    return draft(1, **endpoint()).but(**changes).bundle()


def thieves_root() -> bytes:
    held_by = ("police", *THIEVES[1:])
    return sign(forged(roots=(make_root(held_by=held_by),)), *THIEVES[1:]).roots[0]


@pytest.fixture
def book(tmp_path):
    book = Book(tmp_path)
    book.write(ROOT, first_root())
    book.write(PENDING, encode_bundle(pending()))
    return book


def compared(book, before, **words):
    book.write(CURRENT, encode_bundle(before))
    return compare(book.folder / PENDING, pending(), **words)


FORGERIES = {
    "nobody's": forged,
    "one office's": lambda: sign(forged(), "police"),
    "one office's twice": lambda: sign(sign(forged(), "police"), "police"),
    "thieves'": lambda: sign(forged(roots=(thieves_root(),)), *THIEVES[1:]),
    "another policy in signed wrapping": lambda: Bundle(
        roots=draft().signed().roots,
        timestamp=draft().signed().timestamp,
        snapshot=draft().signed().snapshot,
        targets=draft().signed().targets,
        files=forged().files,
    ),
}


@pytest.mark.parametrize("make", FORGERIES.values(), ids=list(FORGERIES))
def test_with_a_forged_policy_nothing_is_compared_and_everything_is_shown(book, make):
    found = compared(book, make())
    assert found.basis.startswith(f"{NOTHING}: ")
    assert [change.path for change in found.changes] == list(LABELS)
    assert not any(change.before for change in found.changes)
    assert "192.0.2.66" in found.tell()


def test_where_a_later_policy_has_none_before_it_that_is_said(book):
    found = compare(book.folder / PENDING, pending())
    assert found.basis.startswith(f"{NOTHING}: ")
    assert "is not there, although this is policy 2" in found.basis
    assert found.shows_all


def test_what_the_offices_published_is_compared(book):
    found = compared(book, draft().signed())
    assert "signed by police, clerk" in found.basis
    assert not found.shows_all
    paths = {change.path for change in found.changes}
    assert paths >= {"endpoint.addresses", "endpoint.port", "retention.reads"}
    assert "mode" not in paths


def test_a_policy_that_has_expired_is_still_what_was_published(book):
    old = {
        "issued_at": (NOW - timedelta(days=90)).isoformat(),
        "expires_at": (NOW - timedelta(days=30)).isoformat(),
    }
    before = draft(1, **old).but(expires_at=NOW - timedelta(days=30)).signed()
    assert compared(book, before).basis.startswith("compared with ")


def test_the_offices_own_root_finds_a_folder_that_is_forged_whole(book, tmp_path):
    before = sign(forged(roots=(thieves_root(),)), *THIEVES[1:])
    book.write(ROOT, thieves_root())
    own = tmp_path / "own-root.json"
    own.write_bytes(first_root())
    assert "is another than the one that is trusted" in compared(book, before, root=own).basis


def test_a_policy_under_other_roots_does_not_follow(book):
    book.write(CURRENT, encode_bundle(draft().signed()))
    strange = sign(forged(roots=(thieves_root(),)), *THIEVES[1:])
    found = compare(book.folder / PENDING, strange)
    assert found.basis.startswith(NOTHING)
    assert "does not follow" in found.basis


@pytest.mark.parametrize(
    ("name", "content"),
    [(ROOT, None), (ROOT, b"{}"), (CURRENT, b"{}"), (CURRENT, b'{"x\\u001b[2J": 1}')],
    ids=["no_root", "no_such_root", "no_bundle", "an_escape"],
)
def test_what_cannot_be_read_is_not_compared(book, name, content):
    book.write(CURRENT, encode_bundle(draft().signed()))
    (book.folder / name).unlink()
    if content is not None:
        book.write(name, content)
    found = compare(book.folder / PENDING, pending())
    assert found.basis.startswith(NOTHING)
    assert "\x1b" not in found.tell()
    assert len(found.changes) == len(LABELS)


@pytest.fixture
def office(tmp_path, capsys, monkeypatch):
    return Office(tmp_path, capsys, monkeypatch)


def test_a_forged_policy_before_hides_nothing_from_who_signs(office):
    office.publish_first()
    office.do("edit", office.book.folder, "--set=retention.reads=30d", '--set=units=["unit-evil"]')
    waiting = office.book.bundle(PENDING)
    office.book.write(CURRENT, encode_bundle(waiting))
    diff = json.loads(office.do("diff", office.book.folder, "--json"))
    assert diff["basis"].startswith(NOTHING)
    told = office.sign("police", "--yes")
    assert NOTHING in told
    assert "nothing changes" not in told
    assert "units that the policy is for: unit-evil" in told
    assert "retention of reads on the unit: 30 days" in told


def test_before_each_signature_the_facts_are_told_though_they_do_not_change(office):
    office.publish_first()
    office.do("edit", office.book.folder, "--set=min_hit_frames=7")
    own = office.folder / "own-root.json"
    own.write_bytes((office.book.folder / ROOT).read_bytes())
    told = office.sign("police", "--yes", "--root", own)
    assert f"under {own}" in told
    facts = told.partition("this is what you sign:")[2]
    for line in (
        "addresses of the city's endpoint: 192.0.2.7",
        "port of the city's endpoint: 8443",
        "name of the city's endpoint: reads.testville.example",
        "what is kept: only hits",
        "retention of hits on the unit: 30 days",
        "retention of reads on the unit: 24 hours",
        "retention of pictures of reads on the unit: 24 hours",
        "units that the policy is for: all units of the city",
        "city key that reads are sealed to: key ",
    ):
        assert line in facts
