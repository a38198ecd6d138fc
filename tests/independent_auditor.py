"""An auditor written from formats.md alone: a second implementation, plain and slow.

It takes nothing for granted: every signature is verified, every root made anew from all leaves.
It is for a unit that ended in good order; anything that is wrong is an AssertionError.
"""

import re
from base64 import b64decode
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tests.independent_msgpack import read_value, write_value

LANES = ("hits", "reads", "crops")
NAME = re.compile(r"[0-9]{13}-[0-9a-f]{8}-[0-9]{6}\.seg")


@dataclass
class Found:
    """What the auditor tells."""

    sizes: dict[str, int] = field(default_factory=dict)
    roots: dict[str, str] = field(default_factory=dict)
    checkpoints: dict[str, int] = field(default_factory=dict)
    receipts: int = 0
    balance: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


def audit(state: Path, watch_key: bytes, send_key: bytes, city_key: bytes) -> Found:
    """Return what a unit's state says; the keys are DER SubjectPublicKeyInfo."""
    found = Found()
    logs = {}
    for name, key in (("watch", watch_key), ("send", send_key)):
        logs[name] = read_records((state / "audit" / name / "entries").read_bytes())
        check_notes(state / "audit" / name / "checkpoints", logs[name], key, name, found)
        found.sizes[name], found.roots[name] = len(logs[name]), root_of(logs[name]).hex()
    watch, send = ([read_value(entry) for entry in logs[name]] for name in ("watch", "send"))
    assert [write_value(value) for value in (*watch, *send)] == [*logs["watch"], *logs["send"]]
    assert watch[-1][0] == send[-1][0] == "stop"
    receipted = read_receipts(send, logs["watch"], city_key, found)
    present = read_spool(state / "spool", {entry[6] for entry in watch if entry[0] == "sealed"})
    check_sequences(watch)
    add_up(watch, send, receipted, present, found)
    return found


def read_records(content: bytes) -> list[bytes]:
    """Return the entries of a log: chapter 6."""
    entries, at = [], 0
    while at < len(content):
        end = at + 4 + int.from_bytes(content[at : at + 4], "little")
        assert int.from_bytes(content[end : end + 4], "little") == crc32c(content[at:end])
        entries.append(content[at + 4 : end])
        at = end + 4
    return entries


def crc32c(content: bytes) -> int:
    """Return the CRC-32C, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def root_of(entries: list[bytes]) -> bytes:
    """Return the root as RFC 6962, section 2.1, defines it."""
    if not entries:
        return sha256().digest()
    if len(entries) == 1:
        return sha256(b"\0" + entries[0]).digest()
    half = 1 << (len(entries) - 1).bit_length() - 1
    return sha256(b"\1" + root_of(entries[:half]) + root_of(entries[half:])).digest()


def verify(key: bytes, message: bytes, signature: bytes) -> None:
    """Verify one signature."""
    try:
        load_der_public_key(key).verify(signature, message, ec.ECDSA(SHA256()))
    except InvalidSignature as error:
        raise AssertionError from error


def check_notes(path: Path, entries: list[bytes], key: bytes, name: str, found: Found) -> None:
    """Check all checkpoints of a log: chapter 7."""
    notes = path.read_bytes().split(b"\n\nhomeplate/")
    notes = [notes[0], *(b"homeplate/" + note for note in notes[1:])]
    assert notes[-1].endswith(b"\n\n")
    notes[-1] = notes[-1][:-1]
    notes[:-1] = [note + b"\n" for note in notes[:-1]]
    before = bytes(32)
    for number, note in enumerate(notes, 1):
        text, signed = note.split("\n\n— ".encode())
        origin, size, root, counted, previous = text.decode().split("\n")
        assert re.fullmatch(rf"homeplate/[a-z0-9-]+/{name}", origin)
        assert counted == f"number {number}"
        assert b64decode(previous.removeprefix("previous ")) == before
        assert b64decode(root) == root_of(entries[: int(size)])
        signer, blob = signed.decode().removesuffix("\n").split(" ")
        content = b64decode(blob, validate=True)
        assert signer == origin
        assert content[:4] == sha256(key).digest()[:4]
        verify(key, text + b"\n", content[4:])
        before = sha256(note).digest()
    assert int(size) == len(entries)
    found.checkpoints[name] = len(notes)


def read_receipts(send: list, watched: list[bytes], key: bytes, found: Found) -> set[bytes]:
    """Return the hashes of the frames that the city has signed for: chapter 8."""
    frames: set[bytes] = set()
    for entry in send:
        if entry[0] == "uploaded":
            payload, key_id, signature = cbor2.loads(entry[5])
            assert key_id == sha256(key).digest()[:8]
            verify(key, b"homeplate receipt v1\n" + payload, signature)
            receipt = cbor2.loads(payload)
            assert receipt[4] == root_of(watched[: receipt[3]])
            frames.update(receipt[2])
            found.receipts += 1
    return frames


def read_spool(spool: Path, logged: set[bytes]) -> set[bytes]:
    """Return the hashes of the frames that are there: chapter 1."""
    frames = set()
    for path in (path for lane in LANES for path in (spool / lane).iterdir()):
        assert NAME.fullmatch(path.name)
        content, at = path.read_bytes(), 0
        while at < len(content):
            assert content[at : at + 6] == b"\x89HPF\1\0"
            head = at + 12 + int.from_bytes(content[at + 6 : at + 8], "little")
            end = head + 4 + int.from_bytes(content[at + 8 : at + 12], "little")
            for begin, stop in ((at, head), (head + 4, end)):
                told = int.from_bytes(content[stop : stop + 4], "little")
                assert told == crc32c(content[begin:stop])
            frames.add(sha256(content[at : end + 4]).digest())
            at = end + 4
    assert frames <= logged
    return frames


def check_sequences(watch: list) -> None:
    """Each sequence of a start and lane stands in exactly one entry."""
    spans = defaultdict(list)
    for entry in watch:
        if entry[0] == "sealed":
            spans[entry[3], entry[2]].append((entry[4], entry[5] + 1))
        if entry[0] == "dropped" and entry[4] is not None:
            spans[entry[3], entry[2]].append((entry[4], entry[4] + entry[5]))
    for found in map(sorted, spans.values()):
        assert found[0][0] == 0
        assert all(one[1] == other[0] for one, other in pairwise(found))


def add_up(watch: list, send: list, receipted: set, present: set, found: Found) -> None:
    """Say of each read what became of it."""
    intents = {(entry[2], entry[3]): entry for entry in send if entry[0] == "delete-intent"}
    for entry in watch:
        if entry[0] not in {"sealed", "dropped"}:
            continue
        count = entry[5] - entry[4] + 1 if entry[0] == "sealed" else entry[5]
        fate = "dropped"
        if entry[0] == "sealed" and entry[6] in receipted:
            fate = "uploaded"
        elif entry[0] == "sealed" and entry[6] in present:
            fate = "present"
        elif entry[0] == "sealed":
            reason, damaged = intents[entry[2], entry[8]][4:6]
            assert reason != "receipt" or damaged
            fate = {"receipt": "lost", "expired": "expired"}.get(reason, "dropped")
        found.balance[LANES[entry[2]]].update({"recorded": count, fate: count})
    for entry in send:
        if entry[0] == "deleted":
            assert (entry[2], entry[3]) in intents
