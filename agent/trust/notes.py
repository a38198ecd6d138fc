"""Checkpoints: a log's size and root under the unit's signature.

Text forms of C2SP: `tlog-checkpoint` in a `signed-note` with ECDSA P-256 (signature type 0x02,
whose key id is the first 4 bytes of the SHA-256 of the public key's SubjectPublicKeyInfo).
"""

import re
from base64 import b64decode, b64encode
from binascii import a2b_base64
from collections.abc import Iterable
from hashlib import sha256
from typing import Protocol

import msgspec

from agent.base.errors import IntegrityError
from agent.trust.signatures import PublicKey, verify_signature

NOTE_LIMIT_BYTES = 1024
NO_NOTE = bytes(32)
"""Stands for the hash of the note before the first."""
KEY_ID_BYTES = 4
UNSIGNED_LIMIT_MS = {"watch": 15_000, "send": 60_000}
"""Entries of a log are signed before they span more than this, by process: what is not signed can
be changed on the card without a trace. As a rule the watcher signs every 5 s and at a commit, up
to 5 s later; the sender every 30 s (ADR 0017)."""
_FORM = re.compile(
    r"(?P<text>(?P<origin>homeplate/[a-z0-9-]{1,63}/(?:watch|send))\n"
    r"(?P<size>0|[1-9][0-9]{0,18})\n"
    r"(?P<root>[A-Za-z0-9+/]{43}=)\n"
    r"number (?P<number>[1-9][0-9]{0,18})\n"
    r"previous (?P<previous>[A-Za-z0-9+/]{43}=)\n)"
    r"\n"
    r"— (?P<name>[a-z0-9/-]+) (?P<signature>[A-Za-z0-9+/]+={0,2})\n"
)
"""One signature, by the log itself."""


class NoteSigner(Protocol):
    """Holds a unit's log key."""

    @property
    def public_spki(self) -> bytes:
        """The public half as DER SubjectPublicKeyInfo."""
        ...

    def sign(self, message: bytes, /) -> bytes:
        """Return the DER signature over `message`."""
        ...


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a log claims to be."""

    origin: str
    """`homeplate/<unit>/watch` or `homeplate/<unit>/send`."""
    size: int
    root: bytes
    number: int
    """Counts the checkpoints of this log from 1, so that a missing one shows."""
    previous: bytes
    """`note_hash` of the checkpoint before: each signature holds all earlier notes in place."""


def log_origin(unit: str, process: str) -> str:
    """Return the name of a unit's log; `process` is watch or send."""
    return f"homeplate/{unit}/{process}"


def unsigned_limit_ms(origin: str) -> int:
    """Return how long a time the unsigned entries of a log may span."""
    return UNSIGNED_LIMIT_MS[origin.rsplit("/", 1)[1]]


def note_hash(note: str) -> bytes:
    """Return the SHA-256 of a whole signed note: how the next one names it."""
    return sha256(note.encode()).digest()


def sign_checkpoint(signer: NoteSigner, checkpoint: Checkpoint) -> str:
    """Return the signed note."""
    text = _checkpoint_text(checkpoint)
    key_id = sha256(signer.public_spki).digest()[:KEY_ID_BYTES]
    blob = key_id + signer.sign(text.encode())
    return f"{text}\n— {checkpoint.origin} {b64encode(blob).decode()}\n"


def open_checkpoint(note: str, keys: Iterable[PublicKey], *, origin: str) -> Checkpoint:
    """Return the checkpoint in a note that one of `keys` signed.

    Raises:
        IntegrityError: Not a note in its only allowed form, of another log, or not signed by one
            of the keys.
    """
    checkpoint, blob = _parse_note(note)
    if checkpoint.origin != origin:
        message = f"checkpoint of {checkpoint.origin}; expected {origin}"
        raise IntegrityError(message)
    wanted = [key for key in keys if key.sha256[:KEY_ID_BYTES] == blob[:KEY_ID_BYTES]]
    if not wanted:
        message = f"{origin}: checkpoint signed by an unknown key {blob[:KEY_ID_BYTES].hex()}"
        raise IntegrityError(message)
    verify_signature(wanted[0], _checkpoint_text(checkpoint).encode(), blob[KEY_ID_BYTES:])
    return checkpoint


def peek_checkpoint(note: str) -> Checkpoint:
    """Return what a note says, signature unverified: for those who only pass it on.

    Raises:
        IntegrityError: Not a note in its only allowed form.
    """
    return _parse_note(note)[0]


def read_bound(note: str) -> Checkpoint:
    """Return what a note of `split_notes` says when a verified one states its `note_hash`.

    All its bytes are held in place by that, so its own spelling need not be looked at again.

    Raises:
        IntegrityError: Its hashes are no base64.
    """
    origin, size, root, number, previous, _ = note.split("\n", 5)
    try:
        return Checkpoint(
            origin=origin,
            size=int(size),
            root=a2b_base64(root),
            number=int(number[7:]),  # behind the words
            previous=a2b_base64(previous[9:]),
        )
    except ValueError as error:
        message = "checkpoint: base64 not in its only allowed form"
        raise IntegrityError(message) from error


def require_head(head: Checkpoint, *, size: int, root: bytes) -> Checkpoint:
    """Return the checkpoint when a log of this size and root is the one that was signed.

    Raises:
        IntegrityError: It is not.
    """
    if (size, root) != (head.size, head.root):
        found = f"{size} whole entries" if size < head.size else "other entries"
        message = (
            f"{head.origin}: found {found} on disk; expected the {head.size} that are signed. "
            "Keep the files and run `homeplate audit verify`"
        )
        raise IntegrityError(message)
    return head


def split_notes(text: str) -> tuple[tuple[str, ...], str]:
    """Return the notes of a file of checkpoints, and what is left after the last whole one.

    Each note is followed by an empty line.
    """
    notes, at = [], 0
    while form := _FORM.match(text, at):
        if not text.startswith("\n", form.end()):
            break
        notes.append(form[0])
        at = form.end() + 1
    return tuple(notes), text[at:]


def last_note(tail: str) -> str | None:
    """Return the last whole note in the end of a file of checkpoints."""
    at = len(tail)
    while (at := tail.rfind("homeplate/", 0, at)) >= 0:
        notes, _ = split_notes(tail[at:]) if tail[:at].endswith("\n") or not at else ((), "")
        if notes:
            return notes[-1]
    return None


def _parse_note(note: str) -> tuple[Checkpoint, bytes]:
    """Return checkpoint and signature blob of a note that encodes to the same text."""
    form = _FORM.fullmatch(note)
    if form is None or form["name"] != form["origin"]:
        message = "checkpoint: not a signed note of a Homeplate log"
        raise IntegrityError(message)
    checkpoint = Checkpoint(
        origin=form["origin"],
        size=int(form["size"]),
        root=_decode_base64(form["root"]),
        number=int(form["number"]),
        previous=_decode_base64(form["previous"]),
    )
    return checkpoint, _decode_base64(form["signature"])


def _decode_base64(text: str) -> bytes:
    try:
        content = b64decode(text)
    except ValueError:  # padding that does not fit the length
        content = b""
    if b64encode(content).decode() != text:
        message = "checkpoint: base64 not in its only allowed form"
        raise IntegrityError(message)
    return content


def _checkpoint_text(checkpoint: Checkpoint) -> str:
    root, previous = (
        b64encode(content).decode() for content in (checkpoint.root, checkpoint.previous)
    )
    return (
        f"{checkpoint.origin}\n{checkpoint.size}\n{root}\n"
        f"number {checkpoint.number}\nprevious {previous}\n"
    )
