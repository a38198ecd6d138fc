"""Every parser against bytes that nobody meant: anything but its documented error is a bug.

`python -m tests.custody_net.fuzz --seconds 3600` is the long run (`--target NAME` for one of
them); it prints how many inputs each parser met, and for a bug the input in hex.
"""

import argparse
import json
import random
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import cbor2
import msgspec
import zstandard

from agent.base.errors import (
    ConfigError,
    HomeplateError,
    InputError,
    IntegrityError,
    PolicyError,
    UpdateError,
)
from agent.base.health_file import Facts, Health, parse_health
from agent.base.hits import Match
from agent.base.settings import parse_settings
from agent.cli.hotlist_table import read_table
from agent.cli.update_archive import unpack
from agent.gate import Hotlist, index_hotlist
from agent.seal import encode_hits
from agent.trust.alerts import decode_hits_text
from agent.trust.bundle import open_bundle, trust_root
from agent.trust.bundle_files import encode_bundle
from agent.trust.cbor import decode_cbor, encode_cbor
from agent.trust.contents import decode_crops_text, decode_reads_text
from agent.trust.entries import Boot, Dropped, Gap, Stop, Uploaded, decode_entry, encode_entry
from agent.trust.frames import encode_frame, parse_frame, scan_frames
from agent.trust.header import encode_header, parse_header
from agent.trust.heartbeat import Heartbeat, PolicyState, decode_heartbeat, encode_heartbeat
from agent.trust.hotlist import (
    COLUMN_BYTES,
    Columns,
    open_hotlist,
    open_request,
    peek_hotlist,
    seal_hotlist,
    unpack_columns,
    unseal_hotlist,
)
from agent.trust.journal import encode_record, take_record
from agent.trust.keys import Signer, generate_signer, load_opener
from agent.trust.notes import NO_NOTE, Checkpoint, peek_checkpoint, sign_checkpoint, split_notes
from agent.trust.policy import parse_policy
from agent.trust.receipts import Receipt, open_receipt, peek_receipt, sign_receipt
from agent.trust.release import parse_release
from agent.trust.signatures import load_public_file
from agent.trust.uploads import Upload, decode_upload, encode_upload
from tests.lists import entry, make_request, sign_list
from tests.policies import NOW, draft, first_root, flashed, make_root, policy_fields
from tests.sealing import NOON, plate_hit
from tests.trust.attacks import rotated
from tests.updates import build, release_file, tar_of

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy" / "unit.example.toml"
VECTORS = ROOT / "tests" / "vectors"
TOKENS = (
    b"", b"\0", b"\xff" * 8, b"\x89HPF", b"\x1b" + b"\xff" * 8, b"\xbf", b"\x9f", b"\xff", b"\xa0",
    b"\xc0", b"\xc2\x49" + b"\xff" * 9, b"\xd9\x01\x02", b"\xf9\x7e\x00", b"\xfb" + b"\0" * 8,
    b"\x80" * 300, b"\x81" * 2000, b"\n", b"\r\n", b"previous ", b"number 0\n", b"{", b"[" * 3000,
    b"1e400", b"-0", b"NaN", b"\xed\xa0\x80", b"\xef\xbb\xbf", b'"version": 1,', b"\x28\xb5\x2f",
)  # fmt: skip
"""Pieces that parsers of these formats have stumbled over elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A parser, what it may raise, and where mutation begins."""

    parse: Callable[[bytes], object]
    error: type[HomeplateError]
    seeds: tuple[bytes, ...]


def vector(folder: str, field: str, name: str) -> tuple[bytes, ...]:
    """Return the bytes in a field of the vectors of a format."""
    found = []
    for path in sorted((VECTORS / folder).glob(name)):
        found += [
            bytes.fromhex(line.removeprefix(f"{field}: "))
            for line in path.read_text(errors="replace").splitlines()
            if line.startswith(f"{field}: ")
        ]
    assert found, (folder, field)
    return tuple(found)


def same(decode: Callable[[bytes], object], encode: Callable[..., bytes]) -> Callable:
    """Return a parser that also demands that what parses encodes to the same bytes."""

    def parse(content: bytes) -> object:
        value = decode(content)
        assert encode(value) == content, "what parses must encode to the same bytes"
        return value

    return parse


def scan_whole(content: bytes) -> None:
    """Scan a buffer; what comes back covers it without gaps."""
    place = 0
    for item in scan_frames(content):
        assert item.offset == place, "no byte twice, none left out"
        place += item.length
    assert place == len(content), "the scan ends where the buffer does"


def make_targets() -> dict[str, Target]:
    """Return all parsers of bytes that come from a disk, a wire or a person."""
    signer = generate_signer()
    receipt = sign_receipt(
        signer, Receipt(unit="u", frames=(bytes(32),), log_size=1, log_root=bytes(32), time_ms=1)
    )
    head = Checkpoint(
        origin="homeplate/u/watch", size=9, root=bytes(32), number=4, previous=NO_NOTE
    )
    note = sign_checkpoint(signer, head)
    return (
        stored_targets()
        | log_targets(note, tuple(map(encode_entry, _entries(receipt))))
        | wire_targets(signer, note, receipt)
        | file_targets()
        | policy_targets()
        | hotlist_targets(signer)
        | update_targets()
        | key_targets(signer)
    )


def stored_targets() -> dict[str, Target]:
    """Return the parsers of what the spool holds, sealed and opened."""
    frames = vector("frames", "frame", "*.txt")
    reads, crops = (vector("frames", "plaintext", f"*{what}*.txt") for what in ("read", "crop"))
    return {
        "frame": strict(same(parse_frame, encode_frame), *frames),
        "frames in a buffer": strict(scan_whole, b"".join(frames[:5]), *frames),
        "header": strict(same(parse_header, encode_header), header_bytes()),
        "reads": strict(decode_reads_text, *reads),
        "crops": strict(decode_crops_text, *crops),
        "CBOR": strict(same(decode_cbor, encode_cbor), header_bytes()),
    }


def log_targets(note: str, entries: tuple[bytes, ...]) -> dict[str, Target]:
    """Return the parsers of what a log's files hold."""
    return {
        "checkpoint": strict(
            lambda content: peek_checkpoint(content.decode(errors="replace")), note.encode()
        ),
        "file of checkpoints": strict(
            lambda content: split_notes(content.decode(errors="replace")),
            f"{note}\n{note}\n".encode(),
        ),
        "audit entry": strict(same(decode_entry, encode_entry), *entries),
        "audit record": strict(
            lambda content: take_record(content, 0), *map(encode_record, entries)
        ),
    }


def wire_targets(signer: Signer, note: str, receipt: bytes) -> dict[str, Target]:
    """Return the parsers of what passes between unit and city."""
    upload = Upload(
        frames=vector("frames", "frame", "*.txt")[:2],
        checkpoint=note,
        previous_size=3,
        proof=(bytes(32),),
        segment="1780000000000-00000000-000000",
        places=((4, 5), (6, 7)),
        membership=(bytes(32),),
    )
    return {
        "receipt": strict(
            lambda content: open_receipt(content, (signer.public_key,)),
            receipt,
            *vector("receipts", "receipt", "*.txt"),
        ),
        "receipt, unverified": strict(peek_receipt, receipt),
        "upload": strict(same(decode_upload, encode_upload), encode_upload(upload)),
    }


def file_targets() -> dict[str, Target]:
    """Return the parsers of what the city and the operator write, and of a process's health."""
    return {
        "policy": Target(
            parse=lambda content: parse_policy(content, place="policy"),
            error=ConfigError,
            seeds=(json.dumps(policy_fields(3)).encode(),),
        ),
        "settings": Target(
            parse=lambda content: parse_settings(content, place="settings"),
            error=ConfigError,
            seeds=(
                EXAMPLE.read_bytes(),
                re.sub(rb"(?m)^#(?=\w+ = |\[)", b"", EXAMPLE.read_bytes()),
            ),
        ),
        "health of a process": Target(
            parse=lambda content: parse_health(content, place="health"),
            error=IntegrityError,
            seeds=(_health(),),
        ),
        "hotlist table": Target(
            parse=lambda content: read_table(content, purposes=("stolen",), now=NOON, place="list"),
            error=InputError,
            seeds=(
                b"plate,state,purpose,agency,case,expires\n7ABC123,CA,stolen,PD,24-1,2030-01-01\n",
                b'plate,case,expires,purpose,agency,state\n"A-1",2,2030-01-01,stolen,"PD, B",\n',
            ),
        ),
    }


def policy_targets() -> dict[str, Target]:
    """Return the parsers of what the city signs, and of what a unit tells about it."""
    return {
        "policy bundle": Target(
            parse=lambda content: open_bundle(
                content, trusted=flashed(), now=NOW, place="bundle", unit="unit-0001"
            ),
            error=PolicyError,
            seeds=(encode_bundle(draft(3).signed()), encode_bundle(rotated())),
        ),
        "root": Target(
            parse=lambda content: trust_root(content, place="root"),
            error=PolicyError,
            seeds=(first_root(), make_root(2)),
        ),
        "heartbeat": Target(
            parse=lambda content: decode_heartbeat(content, place="heartbeat"),
            error=IntegrityError,
            seeds=(encode_heartbeat(_beat()),),
        ),
    }


def update_targets() -> dict[str, Target]:
    """Return the parsers of what an update is."""
    plain = tar_of([("release.json", msgspec.json.encode(build("1.0.0"))), ("lib/x", bytes(99))])
    return {
        "release": Target(
            parse=lambda content: parse_release(content, place="application.json"),
            error=IntegrityError,
            seeds=(release_file("1.0.0", b"x"),),
        ),
        "archive": Target(parse=unpack_all, error=UpdateError, seeds=(zstandard.compress(plain),)),
        "archive's tar": Target(
            parse=lambda content: unpack_all(zstandard.compress(content)),
            error=UpdateError,
            seeds=(plain,),
        ),
    }


def unpack_all(content: bytes) -> None:
    """Unpack an archive; nothing of it lands beside its folder."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  each file is synced
    with TemporaryDirectory(dir=memory) as outside:
        folder = Path(outside) / "inside"
        try:
            unpack(BytesIO(content), folder, build=build("1.0.0"))
        finally:
            assert [path.name for path in Path(outside).iterdir()] in ([], ["inside"])


def hotlist_targets(signer: Signer) -> dict[str, Target]:
    """Return the parsers on the way of a hotlist and of its alerts."""
    hotlist = sign_list("7ABC123", entry("9XYZ999", state="", case="26-2"), signer=signer)
    request, opener = make_request(signer)
    return {
        "hotlist": Target(
            parse=lambda content: open_hotlist(content, (signer.public_key,)),
            error=IntegrityError,
            seeds=(hotlist,),
        ),
        "hotlist's payload": Target(
            parse=lambda payload: open_payload(payload, signer),
            error=IntegrityError,
            seeds=(cbor2.loads(hotlist)[0],),
        ),
        "hotlist's columns": Target(
            parse=lambda content: index_columns(content, hotlist),
            error=IntegrityError,
            seeds=(join_columns(unpack_columns(peek_hotlist(hotlist))),),
        ),
        "hotlist request": Target(
            parse=lambda content: open_request(content, signer.public_key),
            error=IntegrityError,
            seeds=(request,),
        ),
        "sealed hotlist": Target(
            parse=lambda content: unseal_hotlist(content, request, opener),
            error=HomeplateError,
            seeds=(seal_hotlist(hotlist, request, opener.public_key),),
        ),
        "alerts": Target(
            parse=decode_hits_text,
            error=IntegrityError,
            seeds=vector("frames", "plaintext", "alert*.txt"),
        ),
    }


def key_targets(signer: Signer) -> dict[str, Target]:
    """Return the parsers of key files."""
    return {
        "private key": Target(
            parse=lambda content: load_opener(bytearray(content), place="key"),
            error=HomeplateError,
            seeds=(b"-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n",),
        ),
        "public key": Target(
            parse=lambda content: load_public_file(content, place="key"),
            error=HomeplateError,
            seeds=(signer.public_spki, b"-----BEGIN PUBLIC KEY-----\nMFkw\n"),
        ),
    }


def open_payload(payload: bytes, signer: Signer) -> Hotlist:
    """Open a list that the right key signed whatever it says, down to its index."""
    signature = signer.sign(b"homeplate hotlist v1\n" + payload)
    head = open_hotlist(encode_cbor([payload, signer.key_id, signature]), (signer.public_key,))
    return index_hotlist(head, unpack_columns(head))


def join_columns(columns: Columns) -> bytes:
    """Return the columns one after the other."""
    return b"".join(getattr(columns, name) for name in (*COLUMN_BYTES, "cases"))


def index_columns(content: bytes, hotlist: bytes) -> None:
    """Index columns of whatever bytes, of the right length; what it holds can be looked up."""
    head, place, parts = peek_hotlist(hotlist), 0, {}
    for name, size in COLUMN_BYTES.items():
        length = size * head.count
        parts[name] = content[place : place + length].ljust(length, b"\0")
        place += length
    found = index_hotlist(head, Columns(**parts, cases=content[place:]))
    for plate in set(found.plates.tolist()):
        for match in found.find(plate.decode(), now_ms=0):
            assert min(len(match.case), len(match.purpose)) > 0, "an entry that says nothing"
    encode_hits([(1, plate_hit(1, hit={"matches": match_some(found)}))])


def match_some(found: Hotlist) -> tuple[Match, ...]:
    """Return what the first plate matches; any alert that is made can be sealed."""
    return found.find(found.plates[0].decode(), now_ms=0) or plate_hit(1).matches


def strict(parse: Callable[[bytes], object], *seeds: bytes) -> Target:
    """Return a parser of our own formats: it may say that the bytes are not whole, no more."""
    return Target(parse=parse, error=IntegrityError, seeds=seeds)


def header_bytes() -> bytes:
    """Return the header of a frame of the vectors."""
    return encode_header(parse_frame(vector("frames", "frame", "one_read.txt")[0]).header)


def _entries(receipt: bytes):
    yield Boot(at_ms=1, boot=bytes(16), version="1", policy_hash=bytes(32))
    yield Dropped(at_ms=1, lane=1, boot=bytes(16), first=None, count=3, reason="quota")
    yield Gap(at_ms=1, cut_bytes=7, kept=2, unsigned=3)
    yield Stop(at_ms=1, counters={"reads": 3, "hits": 1})
    segment = "1780000000000-00000000-000000"
    yield Uploaded(at_ms=1, lane=1, segment=segment, reads=3, receipt=receipt)


def _beat() -> Heartbeat:
    policy = PolicyState(
        version=3, hash="0" * 64, root_version=1, expires_ms=9, refusals=1, last_refusal="size: x"
    )
    return Heartbeat(
        at_ms=1,
        version="1",
        policy=policy,
        certificate_expires_ms=2,
        send={"uploads": 1},
        watch=msgspec.json.decode(_health(), type=Health),
    )


def _health() -> bytes:
    facts = Facts(
        service="watch",
        unit="unit-7",
        pid=7,
        version="1",
        boot="00",
        started_ms=1,
        policy_version=1,
        policy_hash="00",
        policy_expires_ms=1,
        mode="all",
        hotlist_version=2,
        last_receipt_ms=3,
    )
    told = Health(at_ms=1, facts=facts, counters={"a": 1}, lately={"a": 1}, lately_s=5)
    return msgspec.json.encode(told)


def mutate(chance: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Return a seed with one to eight things done to it."""
    content = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 8)):
        place = chance.randint(0, len(content))
        end = min(len(content), place + chance.choice((1, 1, 2, 8, 64)))
        match chance.randint(0, 6):
            case 0:
                content[place:end] = chance.randbytes(end - place)
            case 1:
                del content[place:end]
            case 2:
                content[place:place] = chance.choice(TOKENS)
            case 3:
                content[place:end] = chance.choice(TOKENS)
            case 4:
                content[place:place] = content[place:end]
            case 5 if end > place:
                content[place] ^= 1 << chance.randint(0, 7)
            case _:
                other = chance.choice(seeds)
                content[place:] = other[chance.randint(0, len(other)) :]
    return bytes(content)


class FoundBugError(Exception):
    """A parser did something else than it documents; the message holds the input."""


def try_one(name: str, target: Target, content: bytes) -> bool:
    """Give a parser an input; return whether it was taken.

    Raises:
        FoundBugError: It raised another error than the documented one, or broke its word.
    """
    try:
        target.parse(content)
    except target.error:
        return False
    except Exception as error:
        message = f"{name}: {type(error).__name__}: {error}; input (hex): {content.hex()}"
        raise FoundBugError(message) from error
    return True


def fuzz(name: str, target: Target, *, seed: int, inputs: int = 0, seconds: float = 0) -> int:
    """Try so many inputs, or as many as fit in so many seconds of CPU; return how many."""
    chance, done = random.Random(seed), 0
    until_s = time.process_time() + seconds
    while done < inputs or (seconds and time.process_time() < until_s):
        try_one(name, target, mutate(chance, target.seeds))
        done += 1
    return done


def main() -> int:
    """Fuzz for a while and print what each parser met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600, help="of CPU, over all targets")
    parser.add_argument("--target", help="one of them alone")
    parser.add_argument("--seed", type=int, default=time.time_ns())
    args = parser.parse_args()
    targets = make_targets()
    chosen = {args.target: targets[args.target]} if args.target else targets
    found = 0
    for name, target in chosen.items():
        try:
            done = fuzz(name, target, seed=args.seed, seconds=args.seconds / len(chosen))
        except FoundBugError as error:
            found += 1
            print(f"BUG (seed {args.seed}): {error}")
        else:
            print(f"{name:<24}{done:>14,} inputs, 0 bugs", flush=True)
    return min(found, 1)


if __name__ == "__main__":
    sys.exit(main())
