"""The hotlist on its way from the city to a watcher's memory (formats.md, chapter 10).

A list is signed by one of the policy's hotlist keys. It reaches a unit sealed to a key that the
watcher drew in memory at its start and asked for by name, signed with its log's key. So neither
the sender that carries it nor any disk of the unit ever holds a plate of it.

The columns stay compressed bytes here; `agent.gate` makes the index of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Annotated, Any, Final, Protocol, TypeVar

import msgspec
import zstandard
from cryptography.exceptions import InvalidTag
from msgspec import Meta

from agent.base.errors import CredentialError, IntegrityError
from agent.trust.cbor import decode_cbor, encode_cbor
from agent.trust.envelope import Decrypter, suite
from agent.trust.header import TIME_LIMIT_MS
from agent.trust.signatures import PublicKey, load_public_key, verify_signature

VERSION: Final = 1
PLATE_CHARACTERS: Final = 16
ENTRIES_LIMIT: Final = 1_500_000
HOTLIST_LIMIT_BYTES: Final = 33_554_432
"""Of the signed list; one million entries take about 9 MB."""
REQUEST_LIMIT_BYTES: Final = 4096
CASE_CHARACTERS: Final = 32
LIFE_PRESET_MS: Final = 86_400_000
"""24 hours: the age that New Hampshire allows a list (RSA 261:75-b asks for daily updates)."""
LIFE_LIMIT_MS: Final = 7 * 86_400_000
"""Longer than a week no list may be used: stale entries are how the wrong people are stopped."""

_DOMAIN: Final = b"homeplate hotlist v1\n"
_REQUEST_DOMAIN: Final = b"homeplate hotlist request v1\n"
_SEALED_DOMAIN: Final = b"homeplate hotlist sealed v1\n"
_ZSTD_LEVEL: Final = 9
_ZSTD_WINDOW_BYTES: Final = 1 << 23

COLUMN_BYTES: Final = {
    "plates": PLATE_CHARACTERS,
    "states": 1,
    "purposes": 1,
    "agencies": 2,
    "expiries": 4,
    "case_ends": 4,
}
"""Bytes an entry takes in each column; the column `cases` is as long as the last case end says."""

T = TypeVar("T")
Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
Instant = Annotated[int, Meta(ge=0, lt=TIME_LIMIT_MS)]
State = Annotated[str, Meta(pattern=r"^[A-Z0-9-]{0,6}$")]
PurposeCode = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{1,31}$")]
Agency = Annotated[str, Meta(min_length=1, max_length=64)]


class ListSigner(Protocol):
    """Holds a key that signs: a hotlist key of the city, or a unit's log key for a request."""

    @property
    def key_id(self) -> bytes:
        """The first 8 bytes of the SHA-256 of the public half."""
        ...

    def sign(self, message: bytes, /) -> bytes:
        """Return the DER signature over `message`."""
        ...


class _Head(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The payload's fields in the order of their keys."""

    format: Annotated[int, Meta(ge=VERSION, le=VERSION)]
    version: Annotated[int, Meta(ge=1, le=(1 << 63) - 1)]
    issued_ms: Instant
    expires_ms: Instant
    count: Annotated[int, Meta(ge=0, le=ENTRIES_LIMIT)]
    states: Annotated[tuple[State, ...], Meta(max_length=256)]
    purposes: Annotated[tuple[PurposeCode, ...], Meta(max_length=64)]
    agencies: Annotated[tuple[Agency, ...], Meta(max_length=4096)]
    columns: Annotated[tuple[bytes, ...], Meta(min_length=7, max_length=7)]


class _Signed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The list as it is stored and sent."""

    payload: bytes
    key_id: Annotated[bytes, Meta(min_length=8, max_length=8)]
    signature: Annotated[bytes, Meta(max_length=80)]


class _Request(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The request's fields in the order of their keys."""

    format: Annotated[int, Meta(ge=VERSION, le=VERSION)]
    unit: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    boot: Annotated[bytes, Meta(min_length=16, max_length=16)]
    key: Annotated[bytes, Meta(max_length=256)]
    made_ms: Instant


class _Sealed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What the endpoint answers."""

    format: Annotated[int, Meta(ge=VERSION, le=VERSION)]
    request: Hash
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedHotlist:
    """A list whose signature held, or was not asked for; its columns are still compressed."""

    version: int
    issued_ms: int
    expires_ms: int
    count: int
    states: tuple[str, ...]
    purposes: tuple[str, ...]
    agencies: tuple[str, ...]
    columns: tuple[bytes, ...] = field(repr=False)
    """zstd of plates, states, purposes, agencies, expiries, case ends, cases."""
    key_id: bytes = b""
    """Of the key whose signature held; empty where none was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The entries, one after the other in each column; see formats.md."""

    plates: bytes = field(repr=False)
    states: bytes = field(repr=False)
    purposes: bytes = field(repr=False)
    agencies: bytes = field(repr=False)
    expiries: bytes = field(repr=False)
    case_ends: bytes = field(repr=False)
    cases: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HotlistRequest:
    """A watcher's wish for the list, sealed to the key of this start."""

    unit: str
    boot: bytes
    key: PublicKey
    made_ms: int
    """By a clock of the unit that never runs back: a later request replaces an earlier one."""


def sign_hotlist(signer: ListSigner, head: SignedHotlist) -> bytes:
    """Return the signed list.

    Raises:
        IntegrityError: A field is not in the format, or the list is too large.
    """
    fields = [
        VERSION,
        head.version,
        head.issued_ms,
        head.expires_ms,
        head.count,
        list(head.states),
        list(head.purposes),
        list(head.agencies),
        list(head.columns),
    ]
    payload = encode_cbor(dict(enumerate(fields)))
    _parse_head(payload)
    content = encode_cbor([payload, signer.key_id, signer.sign(_DOMAIN + payload)])
    _require_size(content, HOTLIST_LIMIT_BYTES, "hotlist")
    return content


def open_hotlist(content: bytes, keys: Iterable[PublicKey]) -> SignedHotlist:
    """Return the list that one of the policy's hotlist `keys` signed; nothing is unpacked yet.

    Raises:
        IntegrityError: Malformed, too large, or not signed by one of the keys.
    """
    wire = _parse_signed(content)
    wanted = [key for key in keys if key.key_id == wire.key_id]
    if not wanted:
        message = f"hotlist: signed by the key {wire.key_id.hex()}, which the policy does not name"
        raise IntegrityError(message)
    verify_signature(wanted[0], _DOMAIN + wire.payload, wire.signature)
    return replace(_parse_head(wire.payload), key_id=wire.key_id)


def peek_hotlist(content: bytes) -> SignedHotlist:
    """Return what a list says of itself, signature unverified: for those who only carry it.

    Raises:
        IntegrityError: Malformed or too large.
    """
    return _parse_head(_parse_signed(content).payload)


def pack_columns(columns: Columns) -> tuple[bytes, ...]:
    """Return the columns compressed."""
    compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
    return tuple(compressor.compress(getattr(columns, name)) for name in (*COLUMN_BYTES, "cases"))


def unpack_columns(head: SignedHotlist) -> Columns:
    """Return the entries; every size is known and compared before a byte is unpacked.

    Raises:
        IntegrityError: A column is not one zstd frame, or not as long as the number of entries
            says.
    """
    sizes = {name: size * head.count for name, size in COLUMN_BYTES.items()}
    parts = {
        name: _unpack(content, sizes[name])
        for name, content in zip(COLUMN_BYTES, head.columns, strict=False)
    }
    ends = parts["case_ends"]
    cases_bytes = int.from_bytes(ends[-4:], "little")
    if cases_bytes > CASE_CHARACTERS * head.count:
        message = f"hotlist: {cases_bytes} bytes of case numbers; expected {CASE_CHARACTERS} each"
        raise IntegrityError(message)
    return Columns(**parts, cases=_unpack(head.columns[-1], cases_bytes))


def require_current(head: SignedHotlist, *, now_ms: int) -> SignedHotlist:
    """Return the list when it may be used now.

    Raises:
        IntegrityError: It has expired, or claims a longer life than any list may have.
    """
    if head.expires_ms <= now_ms:
        message = f"hotlist: version {head.version} has expired"
        raise IntegrityError(message)
    if not 0 < head.expires_ms - head.issued_ms <= LIFE_LIMIT_MS:
        message = f"hotlist: version {head.version} claims another life than up to 7 days"
        raise IntegrityError(message)
    return head


def require_purposes(head: SignedHotlist, allowed: Sequence[str]) -> SignedHotlist:
    """Return the list when every purpose in it is one of the policy's.

    Raises:
        IntegrityError: One is not; no entry of the list may be used.
    """
    strange = sorted(set(head.purposes) - set(allowed))
    if strange:
        message = f"hotlist: the purpose {strange[0]} is not in the policy"
        raise IntegrityError(message)
    return head


def require_entries(head: SignedHotlist, most: int) -> SignedHotlist:
    """Return the list when it has no more entries than the policy allows.

    Raises:
        IntegrityError: It has more; no entry of the list may be used.
    """
    if head.count > most:
        message = f"hotlist: {head.count} entries; the policy allows {most} (hotlist_entries)"
        raise IntegrityError(message)
    return head


def sign_request(signer: ListSigner, request: HotlistRequest) -> bytes:
    """Return the request, signed with the watcher's log key."""
    payload = encode_cbor(
        {0: VERSION, 1: request.unit, 2: request.boot, 3: request.key.spki, 4: request.made_ms}
    )
    return encode_cbor([payload, signer.key_id, signer.sign(_REQUEST_DOMAIN + payload)])


def open_request(content: bytes, key: PublicKey) -> HotlistRequest:
    """Return the request that the unit's enrolled `key` signed.

    Raises:
        IntegrityError: Malformed, or not signed by it.
    """
    _require_size(content, REQUEST_LIMIT_BYTES, "hotlist request")
    wire = _convert(decode_cbor(content), _Signed, "hotlist request")
    if wire.key_id != key.key_id:
        message = f"hotlist request: signed by the key {wire.key_id.hex()}, which is not enrolled"
        raise IntegrityError(message)
    verify_signature(key, _REQUEST_DOMAIN + wire.payload, wire.signature)
    found = _convert(_fields(wire.payload, 5, "hotlist request"), _Request, "hotlist request")
    return HotlistRequest(
        unit=found.unit, boot=found.boot, key=_load_key(found.key), made_ms=found.made_ms
    )


def seal_hotlist(content: bytes, request: bytes, key: PublicKey) -> bytes:
    """Return a signed list sealed to the `key` that a signed `request` names."""
    name = sha256(request).digest()
    sealed = suite().encrypt(content, key.point, _SEALED_DOMAIN + name)
    return encode_cbor({0: VERSION, 1: name, 2: sealed})


def unseal_hotlist(content: bytes, request: bytes, key: Decrypter) -> bytes:
    """Return the signed list in the answer to `request`; its signature is still to be verified.

    Raises:
        CredentialError: It was sealed for another start of the watcher: an older one's answer.
        IntegrityError: Malformed, too large, or altered.
    """
    _require_size(content, HOTLIST_LIMIT_BYTES, "sealed hotlist")
    found = _convert(_fields(content, 3, "sealed hotlist"), _Sealed, "sealed hotlist")
    name = sha256(request).digest()
    if found.request != name:
        message = "sealed hotlist: sealed for another start of the watcher; wait for the next"
        raise CredentialError(message)
    try:
        return key.decrypt(found.sealed, _SEALED_DOMAIN + name)
    except InvalidTag as error:
        message = "sealed hotlist: does not open: it was altered on its way"
        raise IntegrityError(message) from error


def _unpack(content: bytes, size_bytes: int) -> bytes:
    """Return a column; what it states of its size is compared first."""
    try:
        frame = zstandard.get_frame_parameters(content)
        if frame.content_size != size_bytes:
            message = f"hotlist: a column states {frame.content_size} bytes; expected {size_bytes}"
            raise IntegrityError(message)
        unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
        column = unpacker.decompress(content, allow_extra_data=False)
    except zstandard.ZstdError as error:
        message = "hotlist: a column is not one zstd frame"
        raise IntegrityError(message) from error
    return column


def _parse_signed(content: bytes) -> _Signed:
    _require_size(content, HOTLIST_LIMIT_BYTES, "hotlist")
    return _convert(decode_cbor(content), _Signed, "hotlist")


def _parse_head(payload: bytes) -> SignedHotlist:
    head = _convert(_fields(payload, 9, "hotlist"), _Head, "hotlist")
    for name in ("states", "purposes", "agencies"):
        table = getattr(head, name)
        if list(table) != sorted(set(table)):
            message = f"hotlist: the table of {name} is not in order, or says something twice"
            raise IntegrityError(message)
    if not all(map(str.isprintable, head.agencies)):  # an alert shows them
        message = "hotlist: the name of an agency is not printable"
        raise IntegrityError(message)
    names = [name for name in head.__struct_fields__ if name != "format"]
    return SignedHotlist(**{name: getattr(head, name) for name in names})


def _load_key(spki: bytes) -> PublicKey:
    try:
        return load_public_key(spki, place="hotlist request")
    except CredentialError as error:
        raise IntegrityError(str(error)) from error


def _fields(content: bytes, count: int, place: str) -> list[Any]:
    found = decode_cbor(content)
    if not isinstance(found, dict) or list(found) != list(range(count)):
        message = f"{place}: found other keys; expected a map with the keys 0 to {count - 1}"
        raise IntegrityError(message)
    return list(found.values())


def _convert(value: object, kind: type[T], place: str) -> T:
    try:
        return msgspec.convert(value, kind, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        message = f"{place}: {error}; see deploy/docs/formats.md"
        raise IntegrityError(message) from error


def _require_size(content: bytes, limit_bytes: int, place: str) -> None:
    if len(content) > limit_bytes:
        message = f"{place}: {len(content)} bytes; expected at most {limit_bytes}"
        raise IntegrityError(message)
