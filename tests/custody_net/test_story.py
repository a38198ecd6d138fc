"""A unit that lived through everything, audited by the real command; `-s` shows what it prints."""

import json
import os
import random
import re
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from agent.base.lanes import Lane
from agent.cli import main
from agent.trust.entries import Deleted, Gap, Recovered
from tests.audited import AuditedUnit
from tests.custody.sim_disk import Fate, SimDisk, image_of
from tests.custody.world import DAY_S, RECEIPTS, SEND, STATE, WATCH, World
from tests.fakes import FakeClock
from tests.independent_auditor import Found, audit

pytestmark = pytest.mark.custody
RNG = random.Random(5)


def live() -> World:
    """Return a unit after a good morning, a power cut, an outage, an expiry and a quota drop."""
    world = World(SimDisk(), clock=FakeClock())
    world.prepare()
    world.start_watcher()
    world.start_sender()
    world.read(5, crop_bytes=300)
    world.clock.advance(60)
    world.send()
    world = cut_power(world)
    world.city.reachable = False
    world.read(3, crop_bytes=300)
    world.clock.advance(3 * DAY_S)
    world.read(4)
    world.send()
    assert any(entry.reason == "expired" for entry in world.entries("send", Deleted))
    drop_for_quota(world)
    world.city.reachable = True
    world.clock.advance(60)
    world.read(2)
    world.send()
    world.city.reachable = False
    world.read(7)
    world.stop_watcher()
    world.stop_sender()
    return world


def cut_power(world: World) -> World:
    """Cut the power in the midst of a write to the log; return the unit after its next start."""
    world.read(2)
    tail = bytes.fromhex("70000000") + b"torn by a power cut"
    log = world.disk.open(STATE / "audit/watch/entries", os.O_WRONLY | os.O_APPEND)
    world.disk.write(log, memoryview(tail))
    world.kill_watcher()
    world.kill_sender()
    after = world.after_power_cut(image_of(world.disk, lambda _: Fate.ALL, RNG))
    after.start_watcher()
    after.start_sender()
    assert after.entries("watch", Gap)
    assert after.entries("watch", Recovered)
    return after


def drop_for_quota(world: World) -> None:
    """Let reads wait until the oldest have to make room."""
    usual = dict(world.quota)
    world.quota[Lane.READS] = 16_384
    for _ in range(40):
        world.read(60)
        world.clock.advance(31)
        with suppress(Exception):
            world.send()
    world.quota.update(usual)
    assert any(entry.reason == "quota" for entry in world.entries("send", Deleted))


def lay_down(world: World, folder: Path) -> tuple[Path, list[str]]:
    """Write the unit's state into a folder; return it and the arguments that audit it."""
    for name, content in image_of(world.disk, lambda _: Fate.ALL, RNG):
        path = folder / Path(name).relative_to("/")
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
    (folder / "city").mkdir()
    keys = AuditedUnit(
        folder / "city", watch_signer=WATCH, send_signer=SEND, receipt_signer=RECEIPTS
    )
    audit, verify, _, *files = keys.arguments()
    state = folder / STATE.relative_to("/")
    return state, [audit, verify, str(state), *files]


@pytest.fixture(scope="module")
def unit(tmp_path_factory):
    return lay_down(live(), tmp_path_factory.mktemp("unit"))


def test_the_unit_balances_and_passes(unit, capsys):
    _, arguments = unit
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    reads = report["balance"]["reads"]
    assert reads["balances"]
    assert min(reads[name] for name in ("uploaded", "present", "expired", "dropped")) > 0
    assert report["logs"]["watch"]["kinds"]["gap"] == 1
    assert report["deletions"]["expired"]
    assert report["deletions"]["quota"]
    show(arguments, capsys)


def test_after_one_flipped_bit_it_fails_with_the_place(unit, capsys):
    state, arguments = unit
    path = state / "audit/watch/entries"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 8
    path.write_bytes(flipped)
    try:
        assert main(arguments) == 65
        out, error = capsys.readouterr()
        assert re.search(r"FOUND +entry-damaged: homeplate/u/watch: entry \d+ at byte \d+", out)
        assert error.count("\n") == 1
        assert "entry-damaged" in error
        show(arguments, capsys)
    finally:
        path.write_bytes(whole)


def ask_both(state: Path, arguments: list[str], capsys) -> tuple[dict, Found | None]:
    """Return what the command says, and the second auditor: None where it refuses."""
    main([*arguments, "--json"])
    told = json.loads(capsys.readouterr().out)
    keys = (WATCH.public_spki, SEND.public_spki, RECEIPTS.public_spki)
    try:
        return told, audit(state, *keys)
    except (AssertionError, LookupError, ValueError):
        return told, None


def test_a_second_auditor_who_knows_the_formats_alone_agrees(unit, capsys):
    told, found = ask_both(*unit, capsys)
    assert told["result"] == "pass"
    assert found is not None
    for name, log in told["logs"].items():
        assert log["entries"] == found.sizes[name]
        assert log["root"] == found.roots[name]
        assert log["checkpoints"] == found.checkpoints[name]
    assert told["receipts"] == {"uploads": found.receipts, "verified": found.receipts}
    for lane, balance in told["balance"].items():
        for fate in ("recorded", "uploaded", "present", "expired", "dropped", "lost"):
            assert balance[fate] == found.balance[lane][fate]


@pytest.mark.parametrize("name", ["audit/watch", "audit/send"])
def test_both_auditors_refuse_the_same_flipped_bits(unit, capsys, name):
    state, _ = unit
    files = sorted(path for path in (state / name).rglob("*") if path.is_file())
    for _ in range(12):
        path = RNG.choice([path for path in files if path.stat().st_size])
        whole = path.read_bytes()
        at = RNG.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << RNG.randrange(8)]) + whole[at + 1 :])
        told, found = ask_both(*unit, capsys)
        path.write_bytes(whole)
        assert told["result"] == "fail"
        assert found is None


def show(arguments: list[str], capsys) -> None:
    """Print what an auditor sees, where pytest is asked to with -s."""
    with capsys.disabled():
        if sys.stdout.isatty() or "-s" in sys.argv:
            print("\n$ homeplate audit verify STATE …")
            main(arguments)
