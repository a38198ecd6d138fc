"""The audit: a hard life balances, every single change is found, a day takes few signatures."""

import pytest

from agent.base.lanes import Lane
from agent.trust import notes, receipts
from agent.trust.merkle import root_of
from agent.trust.notes import NO_NOTE, Checkpoint, note_hash, sign_checkpoint, split_notes
from tests.audited import AuditedUnit
from tests.custody_net.counts import count
from tests.custody_net.day import Day
from tests.custody_net.mutations import (
    AT_CITY,
    UNSIGNED,
    count_detected,
    crashed_life,
    hard_life,
    review,
)

pytestmark = pytest.mark.custody
STEP = 23
"""Every 23rd byte here; every byte by `python -m tests.custody_net.mutations`."""


def test_a_unit_that_lived_through_everything_balances(tmp_path):
    report = review(hard_life(tmp_path))
    assert report.passes
    reads = next(item for item in report.lanes if item.lane is Lane.READS)
    assert (reads.recorded, reads.uploaded, reads.expired, reads.dropped) == (22, 9, 2, 6)
    assert reads.present == 5
    assert reads.balances


def test_every_single_change_is_found(tmp_path):
    found, missed = count_detected(hard_life(tmp_path), step=STEP)
    assert missed == []
    assert len(found) == 11
    count("mutations of logs, heads, receipts and spool", found.total())


def test_on_a_unit_that_crashed_every_change_is_found_or_lies_in_the_unsigned_seconds(tmp_path):
    unit = crashed_life(tmp_path)
    report = review(unit)
    assert report.passes
    assert {finding.reason for finding in report.findings} == {"unsigned-tail"}
    found, missed = count_detected(unit, step=STEP, window=True)
    assert missed == []
    within, at_city = found.pop(UNSIGNED), found.pop(AT_CITY)
    assert within < found.total() / 5
    assert at_city < found.total() / 5
    count("mutations of a unit that crashed", found.total())
    count("… in the seconds that nobody signed", within)


def test_one_flipped_bit_is_told_with_its_place(tmp_path):
    unit = hard_life(tmp_path)
    path = unit.state / "audit/watch/entries"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    path.write_bytes(content)
    details = " ".join(finding.detail for finding in review(unit).findings)
    assert "homeplate/unit-a/watch" in details


def test_a_day_needs_one_signature_a_log_and_one_for_all_receipts(tmp_path, monkeypatch):
    verified = []

    def verify(key, message, signature):
        verified.append(message)
        return real(key, message, signature)

    real = notes.verify_signature
    monkeypatch.setattr(notes, "verify_signature", verify)
    monkeypatch.setattr(receipts, "verify_signature", verify)
    report = Day(tmp_path / "state", seconds=600).review()
    assert report.passes
    assert report.receipts > 80
    assert report.watch.checkpoints > 30
    assert len(verified) == 3  # the last note of each log, the last receipt
    count("entries of a long log audited", report.watch.size + report.send.size)


def rewrite(unit, change):
    """Let the holder of the log's key put other notes in place of the last three."""
    path = unit.state / "audit/watch/checkpoints"
    found = list(split_notes(path.read_text())[0])
    heads = [notes.peek_checkpoint(note) for note in found]
    path.write_text("".join(f"{note}\n" for note in change(found, heads, unit.watch_signer)))


def other_root(found, heads, signer):
    """A note of another log in the chain, signed by the unit: a fork that it shows to one."""
    previous = note_hash(found[-4])
    chain = found[:-3]
    for head, root in zip(heads[-3:], (root_of([bytes(32)]), None, None), strict=True):
        note = sign_checkpoint(
            signer,
            Checkpoint(
                origin=head.origin,
                size=head.size,
                root=root or head.root,
                number=head.number,
                previous=previous,
            ),
        )
        chain.append(note)
        previous = note_hash(note)
    return chain


def same_note_twice_signed(found, heads, signer):
    """An earlier note signed anew: true, but not the one that the next one names."""
    return [*found[:-3], sign_checkpoint(signer, heads[-3]), *found[-2:]]


def no_beginning(found, heads, signer):
    """The log's first note names one before it."""
    fields = {name: getattr(heads[-1], name) for name in Checkpoint.__struct_fields__}
    return [
        sign_checkpoint(
            signer, Checkpoint(**(fields | {"number": 1, "previous": bytes(31) + b"1"}))
        )
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(other_root, "checkpoint-root", id="a fork within the chain"),
        pytest.param(same_note_twice_signed, "checkpoint-chain", id="signed anew"),
        pytest.param(no_beginning, "checkpoint-missing", id="no beginning"),
    ],
)
def test_a_unit_that_forges_its_own_chain_is_found(tmp_path, change, reason):
    unit = hard_life(tmp_path)
    rewrite(unit, change)
    assert reason in {finding.reason for finding in review(unit).findings}
    count("mutations of logs, heads, receipts and spool")


def test_the_first_note_names_none_before_it(tmp_path):
    unit = AuditedUnit(tmp_path)
    unit.seal()
    unit.stop()
    text = (unit.state / "audit/watch/checkpoints").read_text()
    heads = [notes.peek_checkpoint(note) for note in split_notes(text)[0]]
    assert heads[0].previous == NO_NOTE
    assert heads[1].previous == note_hash(split_notes(text)[0][0])
