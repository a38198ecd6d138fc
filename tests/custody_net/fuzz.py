"""Every parser against bytes that nobody meant: anything but its documented error is a bug.

`python -m tests.custody_net.fuzz --seconds 3600` is the long run (`--target NAME` for one of
them); it prints how many inputs each parser met, and for a bug the input in hex.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.base.errors import ConfigError, HomeplateError, IntegrityError
from agent.base.settings import parse_settings
from agent.gate import parse_hotlist
from agent.trust.cbor import decode_cbor, encode_cbor
from agent.trust.contents import decode_crops_text, decode_reads_text
from agent.trust.entries import Boot, Dropped, Gap, Stop, Uploaded, decode_entry, encode_entry
from agent.trust.frames import encode_frame, parse_frame, scan_frames
from agent.trust.header import encode_header, parse_header
from agent.trust.journal import encode_record, take_record
from agent.trust.keys import generate_signer, load_opener
from agent.trust.notes import NO_NOTE, Checkpoint, peek_checkpoint, sign_checkpoint, split_notes
from agent.trust.policy import parse_policy
from agent.trust.receipts import Receipt, open_receipt, peek_receipt, sign_receipt
from agent.trust.signatures import load_public_file
from agent.trust.uploads import Upload, decode_upload, encode_upload

ROOT = Path(__file__).parents[2]
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


def make_targets() -> dict[str, Target]:  # one row a parser
    """Return all parsers of bytes that come from a disk, a wire or a person."""
    signer = generate_signer()
    frames = vector("frames", "frame", "*.txt")
    header = encode_header(parse_frame(vector("frames", "frame", "hit.txt")[0]).header)
    head = Checkpoint(
        origin="homeplate/u/watch", size=9, root=bytes(32), number=4, previous=NO_NOTE
    )
    note = sign_checkpoint(signer, head)
    receipt = sign_receipt(
        signer, Receipt(unit="u", frames=(bytes(32),), log_size=1, log_root=bytes(32), time_ms=1)
    )
    upload = Upload(frames=frames[:2], checkpoint=note, previous_size=3, proof=(bytes(32),))
    entries = tuple(map(encode_entry, _entries(receipt)))
    policy = json.dumps(_policy()).encode()
    return {
        "frame": Target(parse=same(parse_frame, encode_frame), error=IntegrityError, seeds=frames),
        "frames in a buffer": Target(
            parse=scan_whole, error=IntegrityError, seeds=(b"".join(frames[:5]), *frames)
        ),
        "header": Target(
            parse=same(parse_header, encode_header), error=IntegrityError, seeds=(header,)
        ),
        "reads": Target(
            parse=decode_reads_text,
            error=IntegrityError,
            seeds=vector("frames", "plaintext", "*read*.txt"),
        ),
        "crops": Target(
            parse=decode_crops_text,
            error=IntegrityError,
            seeds=vector("frames", "plaintext", "*crop*.txt"),
        ),
        "receipt": Target(
            parse=lambda content: open_receipt(content, (signer.public_key,)),
            error=IntegrityError,
            seeds=(receipt, *vector("receipts", "receipt", "*.txt")),
        ),
        "receipt, unverified": Target(parse=peek_receipt, error=IntegrityError, seeds=(receipt,)),
        "checkpoint": Target(
            parse=lambda content: peek_checkpoint(content.decode(errors="replace")),
            error=IntegrityError,
            seeds=(note.encode(),),
        ),
        "file of checkpoints": Target(
            parse=lambda content: split_notes(content.decode(errors="replace")),
            error=IntegrityError,
            seeds=(f"{note}\n{note}\n".encode(),),
        ),
        "audit entry": Target(
            parse=same(decode_entry, encode_entry), error=IntegrityError, seeds=entries
        ),
        "audit record": Target(
            parse=lambda content: take_record(content, 0),
            error=IntegrityError,
            seeds=tuple(map(encode_record, entries)),
        ),
        "upload": Target(
            parse=same(decode_upload, encode_upload),
            error=IntegrityError,
            seeds=(encode_upload(upload),),
        ),
        "CBOR": Target(
            parse=same(decode_cbor, encode_cbor), error=IntegrityError, seeds=(header, *entries)
        ),
        "policy": Target(
            parse=lambda content: parse_policy(content, place="policy"),
            error=ConfigError,
            seeds=(policy,),
        ),
        "settings": Target(
            parse=lambda content: parse_settings(content, place="settings"),
            error=ConfigError,
            seeds=((ROOT / "deploy/agent.example.toml").read_bytes(),),
        ),
        "hotlist": Target(
            parse=lambda content: parse_hotlist(content, place="list"),
            error=ConfigError,
            seeds=(b"plate,state,purpose,case\n7ABC123,CA,stolen,24-1\n# note\nABC-123\n",),
        ),
        "private key": Target(
            parse=lambda content: load_opener(content, place="key"),
            error=HomeplateError,
            seeds=(b"-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n",),
        ),
        "public key": Target(
            parse=lambda content: load_public_file(content, place="key"),
            error=HomeplateError,
            seeds=(signer.public_spki, b"-----BEGIN PUBLIC KEY-----\nMFkw\n"),
        ),
    }


def _entries(receipt: bytes):
    yield Boot(at_ms=1, boot=bytes(16), version="1", policy_hash=bytes(32))
    yield Dropped(at_ms=1, lane=1, boot=bytes(16), first=None, count=3, reason="quota")
    yield Gap(at_ms=1, cut_bytes=7)
    yield Stop(at_ms=1, counters={"reads": 3, "hits": 1})
    segment = "1780000000000-00000000-000000"
    yield Uploaded(at_ms=1, lane=1, segment=segment, reads=3, receipt=receipt)


def _policy() -> dict[str, object]:
    from tests.audited import AuditedUnit  # noqa: PLC0415 -- makes certificates: only here

    class Keys:
        receipt_signer = generate_signer()

    return AuditedUnit.policy(Keys)  # type: ignore[arg-type]


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
