"""`homeplate audit verify`: an honest unit passes, every mutant fails with a named reason."""

import json
import os

import pytest

from agent.audit import CHECKPOINTS, ENTRIES, RecordFile
from agent.base.lanes import Lane
from agent.cli import audit, main
from agent.trust.entries import (
    Deleted,
    DeleteIntent,
    IoFailure,
    Sealed,
    decode_entry,
)
from agent.trust.frames import frame_hash
from agent.trust.journal import encode_record
from agent.trust.keys import generate_signer
from agent.trust.notes import split_notes
from agent.trust.receipts import Receipt, sign_receipt
from tests.audited import UNIT, AuditedUnit, frame_bytes, spool_files, whole_story


def verify(unit, capsys):
    code = main([*unit.arguments(), "--json"])
    return code, json.loads(capsys.readouterr().out)


def reasons(unit, capsys):
    """Return the reasons of the findings; the exit code must agree with them."""
    code, report = verify(unit, capsys)
    assert code == (65 if report["findings"] else 0)
    assert report["result"] == ("fail" if report["findings"] else "pass")
    return {finding["reason"] for finding in report["findings"]}


def test_a_whole_story_passes_and_balances(tmp_path, capsys):
    code, report = verify(whole_story(tmp_path), capsys)
    assert code == 0
    reads = report["balance"]["reads"]
    assert reads == {
        "lane": "reads",
        "recorded": 17,
        "uploaded": 6,
        "present": 5,
        "expired": 2,
        "dropped": 4,
        "lost": 0,
        "balances": True,
    }
    assert report["balance"]["hits"]["present"] == 1
    assert report["receipts"] == {"uploads": 1, "verified": 1}
    assert report["deletions"] == {"receipt": 1, "expired": 1, "quota": 0, "retired": 0}
    assert report["notes"] == []


def test_the_table_is_for_people(tmp_path, capsys):
    assert main(whole_story(tmp_path).arguments()) == 0
    table = capsys.readouterr().out
    assert f"audit of {UNIT}" in table
    assert table.count("BALANCES") == 3
    assert "deletions    2 segments: 1 receipt, 1 expired, 0 quota" in table
    assert table.endswith("RESULT       PASS\n")


def test_a_failure_names_place_and_reason_in_one_line(tmp_path, capsys):
    unit = whole_story(tmp_path)
    spool_files(unit)[0].unlink()
    assert main(unit.arguments()) == 65
    captured = capsys.readouterr()
    assert captured.out.endswith("RESULT       FAIL: 1 missing-segment\n")
    assert "FOUND        missing-segment" in captured.out
    assert captured.err.startswith(f"homeplate: {unit.state}: missing-segment: ")
    assert captured.err.count("\n") == 1


def test_many_findings_of_one_reason_are_told_by_the_first_and_a_count(tmp_path, capsys):
    unit = whole_story(tmp_path)
    unit.watch_signer, unit.send_signer = generate_signer(), generate_signer()
    assert main(unit.arguments()) == 65
    short = capsys.readouterr().out
    told = [line for line in short.splitlines() if line.startswith("FOUND")]
    assert told[0].startswith(
        "FOUND        checkpoint-signature: homeplate/unit-a/watch: checkpoint"
    )
    assert len(told) <= 3 * len({line.split()[1] for line in told})
    assert "more of checkpoint-signature; --all tells them" in short
    assert main([*unit.arguments(), "--all"]) == 65
    everything = capsys.readouterr().out
    assert everything.count("FOUND ") > short.count("FOUND ")
    assert "--all" not in everything
    assert short.splitlines()[-1] == everything.splitlines()[-1]


def test_keys_that_were_given_the_wrong_way_round_are_one_line(tmp_path, capsys):
    unit = whole_story(tmp_path)
    unit.watch_signer, unit.send_signer = unit.send_signer, unit.watch_signer
    assert main(unit.arguments()) == 78
    told = capsys.readouterr()
    assert "--watch-key and --send-key are swapped" in told.err
    assert (told.out, told.err.count("\n")) == ("", 1)


@pytest.mark.parametrize("log", ["watch", "send"])
def test_a_log_that_the_other_process_has_signed_is_a_forgery(tmp_path, capsys, log):
    unit = whole_story(tmp_path)
    if log == "watch":
        unit.watch_signer = unit.send_signer
    else:
        unit.send_signer = unit.watch_signer
    assert "checkpoint-signature" in reasons(unit, capsys)


def test_a_damaged_entry_is_told_with_its_number_and_its_byte(tmp_path, capsys):
    unit = whole_story(tmp_path)
    path = unit.state / "audit/watch" / ENTRIES
    begin = sum(len(encode_record(content)) for content in records(unit, "watch")[:3])
    content = bytearray(path.read_bytes())
    content[begin + 9] ^= 1
    path.write_bytes(content)
    assert main(unit.arguments()) == 65
    place = f"entry 3 at byte {begin} of the entries is not whole"
    assert f"entry-damaged: homeplate/unit-a/watch: {place}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"unit": "unit-b"}, "foreign-frame", id="another unit"),
        pytest.param({"boot": bytes(16)}, "unknown-start", id="a start that is not logged"),
    ],
)
def test_a_frame_from_elsewhere_in_an_open_segment_fails(tmp_path, capsys, changes, reason):
    unit = whole_story(tmp_path)
    name = "1780315200000-00000000-000009.open"
    (unit.state / "spool/reads" / name).write_bytes(frame_bytes(first=0, last=3, **changes))
    assert reasons(unit, capsys) == {reason}


def test_a_unit_at_work_passes_with_notes(tmp_path, capsys):
    unit = AuditedUnit(tmp_path)
    unit.seal()
    unit.spool.put(Lane.READS, frame_bytes(first=3, last=3), unit.clock.now())
    unit.watch.append(IoFailure(at_ms=0, place="spool", detail="slow"))
    code, report = verify(unit, capsys)
    assert code == 0
    assert "1 frames are stored and not yet logged" in report["notes"]
    found = report["findings"][0]
    assert (found["reason"], found["severity"]) == ("unsigned-tail", "warning")
    assert found["detail"].startswith("homeplate/unit-a/watch: the last 1 entries, from 1970-01-01")


def test_a_unit_whose_sender_never_ran_passes_with_a_note(tmp_path, capsys):
    unit = AuditedUnit(tmp_path)
    unit.seal()
    unit.stop()
    for name in (ENTRIES, CHECKPOINTS):
        (unit.state / "audit/send" / name).unlink()
    code, report = verify(unit, capsys)
    assert (code, report["notes"]) == (0, ["the sender has not run"])


def test_a_log_cut_by_a_power_loss_passes_with_a_note(tmp_path, capsys):
    unit = AuditedUnit(tmp_path)
    unit.seal()
    unit.crash()
    with (unit.state / "audit/watch" / ENTRIES).open("ab") as file:
        file.write(b"\x70\0\0\0torn")
    with (unit.state / "audit/watch" / CHECKPOINTS).open("ab") as file:
        file.write(b"homeplate/unit-a/wa")
    code, report = verify(unit, capsys)
    assert code == 0
    assert "8 bytes of an unfinished entry end the watch log" in report["notes"]


def test_reads_lost_to_a_damaged_card_balance_with_a_note(tmp_path, capsys):
    unit = AuditedUnit(tmp_path)
    segment = unit.seal()
    lost = unit.seal(reads=2)
    assert lost == segment
    unit.hashes[segment] = unit.hashes[segment][:1]
    unit.next_segment()
    unit.upload(segment, reads=3)
    unit.delete(segment, "receipt", damaged_bytes=200)
    unit.stop()
    code, report = verify(unit, capsys)
    assert code == 0
    assert report["balance"]["reads"]["lost"] == 2
    assert report["notes"] == ["2 reads were lost to damage of the card"]


@pytest.mark.parametrize("log", ["watch", "send"])
def test_any_changed_byte_of_the_entries_fails(tmp_path, capsys, log):
    unit = whole_story(tmp_path)
    path = unit.state / "audit" / log / ENTRIES
    content = path.read_bytes()
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        assert reasons(unit, capsys) & {"entry-damaged", "log-truncated"}


@pytest.mark.parametrize("log", ["watch", "send"])
def test_any_changed_byte_of_the_checkpoints_fails(tmp_path, capsys, log):
    unit = whole_story(tmp_path)
    path = unit.state / "audit" / log / CHECKPOINTS
    content = path.read_bytes()
    expected = {"checkpoint-damaged", "checkpoint-signature", "unsigned-end", "checkpoint-missing"}
    for at in range(0, len(content), 13):
        path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        assert reasons(unit, capsys) & expected, at


@pytest.mark.parametrize("log", ["watch", "send"])
def test_any_truncation_of_the_entries_fails(tmp_path, capsys, log):
    unit = whole_story(tmp_path)
    path = unit.state / "audit" / log / ENTRIES
    content = path.read_bytes()
    for length in range(0, len(content), 11):
        path.write_bytes(content[:length])
        assert reasons(unit, capsys) & {"log-truncated", "entry-damaged"}


def records(unit, log):
    return [*RecordFile(unit.state / "audit" / log / ENTRIES).follow()]


def write_records(unit, log, contents):
    path = unit.state / "audit" / log / ENTRIES
    path.write_bytes(b"".join(encode_record(content) for content in contents))


@pytest.mark.parametrize("log", ["watch", "send"])
def test_a_dropped_entry_fails(tmp_path, capsys, log):
    unit = whole_story(tmp_path)
    contents = records(unit, log)
    for at in range(len(contents)):
        write_records(unit, log, contents[:at] + contents[at + 1 :])
        assert "log-truncated" in reasons(unit, capsys)


@pytest.mark.parametrize("log", ["watch", "send"])
def test_entries_in_another_order_fail(tmp_path, capsys, log):
    unit = whole_story(tmp_path)
    contents = records(unit, log)
    for at in range(len(contents) - 1):
        swapped = [*contents[:at], contents[at + 1], contents[at], *contents[at + 2 :]]
        write_records(unit, log, swapped)
        assert "checkpoint-root" in reasons(unit, capsys)


def test_an_entry_added_after_the_end_fails(tmp_path, capsys):
    unit = whole_story(tmp_path)
    contents = records(unit, "watch")
    write_records(unit, "watch", [*contents, b"\x00", contents[-1]])
    assert {"entry-malformed", "unsigned-end"} <= reasons(unit, capsys)


@pytest.mark.parametrize("log", ["watch", "send"])
def test_dropped_and_reordered_checkpoints_fail(tmp_path, capsys, log):
    unit = whole_story(tmp_path)
    path = unit.state / "audit" / log / CHECKPOINTS
    notes, _ = split_notes(path.read_text())
    mutants = [notes[:at] + notes[at + 1 :] for at in range(len(notes))]
    mutants += [
        (*notes[:at], notes[at + 1], notes[at], *notes[at + 2 :]) for at in range(len(notes) - 1)
    ]
    for mutant in mutants:
        path.write_text("".join(f"{note}\n" for note in mutant))
        assert reasons(unit, capsys) & {"checkpoint-missing", "unsigned-end"}


def test_a_log_signed_by_another_key_fails(tmp_path, capsys):
    unit = whole_story(tmp_path)
    unit.watch_signer = generate_signer()
    assert "checkpoint-signature" in reasons(unit, capsys)


@pytest.mark.parametrize("at", range(2))
def test_a_segment_removed_without_an_entry_fails(tmp_path, capsys, at):
    unit = whole_story(tmp_path)
    spool_files(unit)[at].unlink()
    assert reasons(unit, capsys) == {"missing-segment"}


def test_any_changed_byte_of_a_segment_fails(tmp_path, capsys):
    unit = whole_story(tmp_path)
    path = spool_files(unit)[0]
    content = path.read_bytes()
    for at in range(0, len(content), 17):
        path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        assert reasons(unit, capsys) & {"damaged-frame", "unlogged-frame"}


def test_a_frame_that_the_log_does_not_know_fails(tmp_path, capsys):
    unit = whole_story(tmp_path)
    with spool_files(unit)[0].open("ab") as file:
        file.write(frame_bytes(first=99, last=99))
    assert reasons(unit, capsys) == {"unlogged-frame"}


def test_a_file_that_is_no_segment_fails(tmp_path, capsys):
    unit = whole_story(tmp_path)
    (unit.state / "spool/reads/notes.txt").write_text("hello")
    assert reasons(unit, capsys) == {"unknown-file"}


def forged(by, frames, **changes):
    """Return a receipt that is wrong in one way, logged by a unit that lies."""
    fields = {
        "unit": UNIT,
        "frames": frames,
        "log_size": by.watch.size,
        "log_root": by.watch.root(),
        "time_ms": 0,
    }
    return Receipt(**(fields | changes))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(
            lambda unit, frames: sign_receipt(generate_signer(), forged(unit, frames)),
            "receipt-signature",
            id="another key",
        ),
        pytest.param(
            lambda unit, frames: sign_receipt(
                unit.receipt_signer, forged(unit, frames, unit="unit-b")
            ),
            "receipt-unit",
            id="another unit",
        ),
        pytest.param(
            lambda unit, frames: sign_receipt(
                unit.receipt_signer, forged(unit, frames, log_root=bytes(32))
            ),
            "receipt-head",
            id="another log",
        ),
        pytest.param(
            lambda unit, frames: sign_receipt(
                unit.receipt_signer, forged(unit, frames, log_size=99)
            ),
            "log-truncated",
            id="a longer log",
        ),
        pytest.param(
            lambda unit, frames: sign_receipt(
                unit.receipt_signer, forged(unit, (*frames, bytes(32)))
            ),
            "upload-unlogged",
            id="a frame never sealed",
        ),
        pytest.param(lambda *_: b"no receipt", "receipt-malformed", id="no receipt"),
    ],
)
def test_a_unit_that_lies_about_receipts_fails(tmp_path, capsys, make, reason):
    unit = AuditedUnit(tmp_path)
    segment = unit.seal()
    unit.next_segment()
    unit.upload(segment, reads=3, receipt=make(unit, tuple(unit.hashes[segment])))
    unit.delete(segment, "receipt")
    unit.stop()
    assert reason in reasons(unit, capsys)


def test_another_count_of_reads_fails(tmp_path, capsys):
    unit = AuditedUnit(tmp_path)
    segment = unit.seal()
    unit.upload(segment, reads=4)
    unit.stop()
    assert reasons(unit, capsys) == {"upload-count"}


def test_a_deletion_without_an_upload_fails(tmp_path, capsys):
    unit = AuditedUnit(tmp_path)
    segment = unit.seal()
    unit.next_segment()
    unit.delete(segment, "receipt")
    unit.stop()
    assert reasons(unit, capsys) == {"deleted-without-receipt"}


def test_a_deletion_never_announced_fails(tmp_path, capsys):
    unit = AuditedUnit(tmp_path)
    segment = unit.seal()
    unit.next_segment()
    unit.upload(segment, reads=3)
    spool_files(unit)[0].unlink()
    unit.note_send(Deleted(at_ms=0, lane=Lane.READS, segment=segment, reason="receipt"))
    unit.stop()
    assert reasons(unit, capsys) == {"deletion-without-intent"}


def test_a_deletion_cut_off_by_a_power_loss_passes_with_a_note(tmp_path, capsys):
    unit = AuditedUnit(tmp_path)
    segment = unit.seal()
    unit.next_segment()
    intent = DeleteIntent(
        at_ms=0, lane=Lane.READS, segment=segment, reason="quota", damaged_bytes=0
    )
    unit.note_send(intent)
    spool_files(unit)[0].unlink()
    unit.stop()
    code, report = verify(unit, capsys)
    assert code == 0
    assert report["balance"]["reads"]["dropped"] == 3
    assert report["notes"] == ["1 deletions were announced and not reported done"]


def log_sealed(unit, *, first, last):
    content = frame_bytes(first=first, last=last)
    segment = unit.spool.put(Lane.READS, content, unit.clock.now())
    entry = next(
        item for item in map(decode_entry, records(unit, "watch")) if isinstance(item, Sealed)
    )
    changed = {name: getattr(entry, name) for name in entry.__struct_fields__}
    changed |= {"first": first, "last": last, "frame": frame_hash(content), "segment": segment}
    unit.note_watch(Sealed(**changed))


@pytest.mark.parametrize(
    ("first", "last", "reason"),
    [
        pytest.param(5, 6, "sequence-gap", id="a hole"),
        pytest.param(1, 2, "sequence-twice", id="used twice"),
    ],
)
def test_sequences_with_a_hole_or_used_twice_fail(tmp_path, capsys, first, last, reason):
    unit = AuditedUnit(tmp_path)
    unit.seal()
    log_sealed(unit, first=first, last=last)
    unit.stop()
    assert reasons(unit, capsys) == {reason}


def test_a_state_without_logs_is_a_matter_of_the_operator(tmp_path, capsys):
    unit = AuditedUnit(tmp_path)
    arguments = unit.arguments()
    arguments[2] = str(tmp_path / "none")
    assert main(arguments) == 78
    assert "no checkpoint of a unit's log" in capsys.readouterr().err


def test_a_key_of_the_wrong_kind_is_a_matter_of_provisioning(tmp_path, capsys):
    unit = whole_story(tmp_path)
    arguments = unit.arguments()
    (unit.folder / "watch-key").write_bytes(os.urandom(91))
    assert main(arguments) == 77
    assert "watch-key" in capsys.readouterr().err


def test_entries_written_during_the_audit_are_known_but_not_counted(tmp_path, capsys, monkeypatch):
    unit = AuditedUnit(tmp_path)
    unit.seal()
    looked = []

    def look_while_the_unit_works(root, disk):
        found = read_spool(root, disk)
        looked.append(unit.seal())
        return found

    read_spool = audit._read_spool
    monkeypatch.setattr(audit, "_read_spool", look_while_the_unit_works)
    code, report = verify(unit, capsys)
    assert (code, len(looked)) == (0, 1)
    assert report["balance"]["reads"]["recorded"] == 3
    assert "1 frames were sealed during this audit and are not counted" in report["notes"]
