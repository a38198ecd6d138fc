"""What the sender posts: sealed frames, and the head of the watcher's log that covers them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import repeat
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from agent.base.errors import IntegrityError
from agent.trust.cbor import decode_cbor, encode_cbor
from agent.trust.entries import Count, Hash, Sealed, SegmentName, encode_entry
from agent.trust.frames import frame_hash
from agent.trust.header import FrameHeader
from agent.trust.merkle import leaf_hash
from agent.trust.notes import Checkpoint
from agent.trust.proofs import verify_members

VERSION: Final = 1
FRAMES_LIMIT: Final = 64
BATCH_LIMIT_BYTES: Final = 4_194_304
"""Frames are gathered up to this, so a segment of the default size goes at once and has one
receipt; one larger frame goes alone."""
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
    segment: str
    """Where the frames were stored, as their `sealed` entries say."""
    places: tuple[tuple[int, int], ...]
    """Index and time of each frame's `sealed` entry, in the order of the frames."""
    membership: tuple[bytes, ...]
    """One proof that those entries stand under the checkpoint."""


class _Wire(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The upload's fields in the order of their keys."""

    version: Annotated[int, Meta(ge=VERSION, le=VERSION)]
    frames: Annotated[
        tuple[Annotated[bytes, Meta(min_length=1)], ...],
        Meta(min_length=1, max_length=FRAMES_LIMIT),
    ]
    checkpoint: Annotated[str, Meta(max_length=1024)]
    previous_size: Count
    proof: Annotated[tuple[Hash, ...], Meta(max_length=_PROOF_LIMIT)]
    segment: SegmentName
    places: Annotated[tuple[tuple[Count, Count], ...], Meta(min_length=1, max_length=FRAMES_LIMIT)]
    membership: Annotated[tuple[Hash, ...], Meta(max_length=FRAMES_LIMIT * _PROOF_LIMIT)]

    def __post_init__(self) -> None:
        if len(self.places) != len(self.frames):
            message = f"{len(self.places)} places of {len(self.frames)} frames"
            raise ValueError(message)


def encode_upload(upload: Upload) -> bytes:
    """Return the body of the request."""
    return encode_cbor(
        {
            0: VERSION,
            1: list(upload.frames),
            2: upload.checkpoint,
            3: upload.previous_size,
            4: list(upload.proof),
            5: upload.segment,
            6: [list(place) for place in upload.places],
            7: list(upload.membership),
        }
    )


def decode_upload(body: bytes) -> Upload:
    """Return the upload in a request's body.

    Raises:
        IntegrityError: Not the bytes that `encode_upload` makes of an upload.
    """
    found = decode_cbor(body)
    if not isinstance(found, dict) or list(found) != list(range(len(_Wire.__struct_fields__))):
        message = "upload: found other keys; expected a map with the keys 0 to 7"
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
        segment=wire.segment,
        places=wire.places,
        membership=wire.membership,
    )


def require_logged(upload: Upload, headers: Sequence[FrameHeader], head: Checkpoint) -> None:
    """Make sure that each frame of an upload stands in the log under its checkpoint.

    Its entry is made again from the frame itself, so a frame of which one byte differs, or of a
    boot that the log does not know, has none.

    Args:
        upload: What came in.
        headers: Of its frames, in their order.
        head: Its checkpoint, signature verified.

    Raises:
        IntegrityError: A frame does not stand there.
    """
    entries = map(_sealed_entry, upload.frames, headers, upload.places, repeat(upload.segment))
    indices = (index for index, _ in upload.places)
    leaves = dict(zip(indices, map(leaf_hash, map(encode_entry, entries)), strict=True))
    if len(leaves) != len(upload.frames):
        message = "upload: two frames at one place of the log"
        raise IntegrityError(message)
    verify_members(leaves, size=head.size, root=head.root, proof=upload.membership)


def _sealed_entry(
    frame: bytes, header: FrameHeader, place: tuple[int, int], segment: str
) -> Sealed:
    """Return the entry that the watcher wrote when it stored a frame."""
    return Sealed(
        at_ms=place[1],
        lane=header.lane,
        boot=header.boot,
        first=header.first_sequence,
        last=header.last_sequence,
        frame=frame_hash(frame),
        length=len(frame),
        segment=segment,
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
