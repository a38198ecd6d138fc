"""The end of a unit (formats.md, chapter 11): its certificate of destruction.

That is the last entry of the sender's log, under the log's own signature, with the proof that it
stands in it. Whoever holds the unit's public log key can check it years later.
"""

from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from agent.base.errors import IntegrityError
from agent.trust.cbor import decode_cbor_list, encode_cbor
from agent.trust.enrolment import UnitName, Version
from agent.trust.entries import ENTRY_LIMIT_BYTES, Retired, decode_entry
from agent.trust.merkle import HASH_BYTES, leaf_hash, prove_inclusion, verify_inclusion
from agent.trust.notes import NOTE_LIMIT_BYTES, Checkpoint, log_origin, open_checkpoint
from agent.trust.signatures import PublicKey

RETIRE_PATH: Final = "/v1/retire"
VERSION: Final = 1
STATEMENT_LIMIT_BYTES: Final = 131_072
_PROOF_LIMIT: Final = 64

Hash = Annotated[bytes, Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]


class Statement(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The certificate of destruction, its fields in the order of their keys."""

    version: Version = VERSION
    unit: UnitName
    entry: Annotated[bytes, Meta(min_length=1, max_length=ENTRY_LIMIT_BYTES)]
    checkpoint: Annotated[str, Meta(max_length=NOTE_LIMIT_BYTES)]
    proof: Annotated[tuple[Hash, ...], Meta(max_length=_PROOF_LIMIT)]
    """That the entry is the last of the log under the checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """A statement that was verified."""

    retired: Retired
    head: Checkpoint


def make_statement(unit: str, entries: tuple[bytes, ...], checkpoint: str) -> bytes:
    """Return the statement over a log whose last entry is the retirement.

    Args:
        unit: Its name.
        entries: All of the log, encoded.
        checkpoint: The signed note over exactly these entries.
    """
    leaves = [leaf_hash(entry) for entry in entries]
    proof = prove_inclusion(leaves, len(leaves) - 1)
    fields = (VERSION, unit, entries[-1], checkpoint, list(proof))
    return encode_cbor(dict(enumerate(fields)))


def open_statement(content: bytes, *, unit: str, key: PublicKey) -> Retirement:
    """Return what a unit's certificate of destruction says.

    Args:
        content: The statement.
        unit: Whose it should be.
        key: Public half of its key send.key.

    Raises:
        IntegrityError: Malformed, of another unit, not signed by `key`, not the last entry of
            that log, or another kind of entry.
    """
    statement = decode_statement(content)
    if statement.unit != unit:
        message = f"retirement of {statement.unit}; expected {unit}"
        raise IntegrityError(message)
    head = open_checkpoint(statement.checkpoint, (key,), origin=log_origin(unit, "send"))
    verify_inclusion(
        leaf_hash(statement.entry),
        index=head.size - 1,
        size=head.size,
        root=head.root,
        proof=statement.proof,
    )
    entry = decode_entry(statement.entry)
    if not isinstance(entry, Retired):
        message = "retirement: the entry is of another kind; expected `retired`"
        raise IntegrityError(message)
    return Retirement(retired=entry, head=head)


def decode_statement(content: bytes) -> Statement:
    """Return a statement; nothing in it is verified yet.

    Raises:
        IntegrityError: Not the bytes that `make_statement` makes.
    """
    values = decode_cbor_list(content, place="retirement")
    if len(values) != len(Statement.__struct_fields__):
        message = f"retirement: found {len(values)} fields; see deploy/docs/formats.md, chapter 11"
        raise IntegrityError(message)
    try:
        return msgspec.convert(values, Statement, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        message = f"retirement: {error}; see deploy/docs/formats.md, chapter 11"
        raise IntegrityError(message) from error
