"""What the sender posts: sealed frames, and the head of the watcher's log that covers them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from agent.base.errors import IntegrityError
from agent.trust.cbor import decode_cbor, encode_cbor
from agent.trust.merkle import HASH_BYTES

VERSION: Final = 1
FRAMES_LIMIT: Final = 64
BATCH_LIMIT_BYTES: Final = 1_048_576
"""Frames are gathered up to this; one larger frame goes alone."""
BODY_LIMIT_BYTES: Final = 16_777_216
"""Fits the largest frame; an endpoint refuses more without reading it."""
_PROOF_LIMIT: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One delivery."""

    frames: tuple[bytes, ...] = field(repr=False)
    """Whole sealed frames, all of one segment."""
    checkpoint: str
    """Signed note of the watcher's log; its entries name all the frames."""
    previous_size: int
    """Size of the log that the endpoint is known to have seen; 0 = none."""
    proof: tuple[bytes, ...]
    """That the log only grew since."""


class _Wire(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The upload's fields in the order of their keys."""

    version: Annotated[int, Meta(ge=VERSION, le=VERSION)]
    frames: Annotated[
        tuple[Annotated[bytes, Meta(min_length=1)], ...],
        Meta(min_length=1, max_length=FRAMES_LIMIT),
    ]
    checkpoint: Annotated[str, Meta(max_length=1024)]
    previous_size: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
    proof: Annotated[
        tuple[Annotated[bytes, Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)], ...],
        Meta(max_length=_PROOF_LIMIT),
    ]


def encode_upload(upload: Upload) -> bytes:
    """Return the body of the request."""
    return encode_cbor(
        {
            0: VERSION,
            1: list(upload.frames),
            2: upload.checkpoint,
            3: upload.previous_size,
            4: list(upload.proof),
        }
    )


def decode_upload(body: bytes) -> Upload:
    """Return the upload in a request's body.

    Raises:
        IntegrityError: Not the bytes that `encode_upload` makes of an upload.
    """
    found = decode_cbor(body)
    if not isinstance(found, dict) or list(found) != list(range(5)):
        message = "upload: found other keys; expected a map with the keys 0 to 4"
        raise IntegrityError(message)
    try:
        wire = msgspec.convert(list(found.values()), _Wire, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        message = f"upload: {error}; see deploy/docs/formats.md"
        raise IntegrityError(message) from error
    return Upload(
        frames=wire.frames,
        checkpoint=wire.checkpoint,
        previous_size=wire.previous_size,
        proof=wire.proof,
    )


def idempotency_key(frames: Sequence[bytes]) -> str:
    """Return the hex SHA-256 of the frames one after the other: the same upload, the same key."""
    digest = sha256()
    for frame in frames:
        digest.update(frame)
    return digest.hexdigest()


def gather_batches(frames: Sequence[bytes]) -> Iterator[tuple[bytes, ...]]:
    """Yield the frames in their order, as many at a time as one upload should carry."""
    batch: list[bytes] = []
    size = 0
    for frame in frames:
        if batch and (len(batch) == FRAMES_LIMIT or size + len(frame) > BATCH_LIMIT_BYTES):
            yield tuple(batch)
            batch, size = [], 0
        batch.append(frame)
        size += len(frame)
    if batch:
        yield tuple(batch)
