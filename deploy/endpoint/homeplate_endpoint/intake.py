"""What the endpoint does with an upload: check, store, sign."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from agent.base.clock import Clock, to_ms
from agent.base.errors import IntegrityError
from agent.trust.frames import frame_hash, parse_frame
from agent.trust.merkle import verify_consistency
from agent.trust.notes import Checkpoint, log_origin, open_checkpoint
from agent.trust.receipts import Receipt, ReceiptSigner, sign_receipt
from agent.trust.signatures import PublicKey
from agent.trust.uploads import Upload, decode_upload, idempotency_key, require_logged
from homeplate_endpoint.refusals import RefusalError
from homeplate_endpoint.store import ForkError, NewFrame, Store


class WatchKeys(Protocol):
    """Who is enrolled."""

    def get(self, unit: str, /) -> PublicKey | None:
        """Return the public key of the unit's watcher, None when it is not enrolled."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Takes uploads of the enrolled units."""

    store: Store
    watch_keys: WatchKeys
    signer: ReceiptSigner
    clock: Clock
    raise_alarm: Callable[[str, str, str], None]
    """Tells a person: unit, kind, detail."""
    _turn: threading.Lock = field(default_factory=threading.Lock)
    """Between looking and storing nothing else may be stored."""

    def receive(self, unit: str, key: str, body: bytes) -> bytes:
        """Store an upload and return the signed receipt; for the same frames the same receipt.

        Args:
            unit: As the client certificate says.
            key: The request's Idempotency-Key.
            body: The request's body.

        Raises:
            RefusalError: It is not taken, and why.
            DeviceError: The disk failed.
        """
        watch_key = self._require_enrolled(unit)
        upload = _parse_upload(body)
        if key != idempotency_key(upload.frames):
            raise RefusalError(
                status=400, error="idempotency-key", detail="not the SHA-256 of the frames"
            )
        frames = tuple(_parse_frame(unit, content) for content in upload.frames)
        head = _open_head(unit, upload, watch_key)
        self._require_logged(unit, upload, frames, head)
        with self._turn:
            given = self.store.receipt(unit, key)
            return given if given is not None else self._take(upload, frames, head, key)

    def _take(
        self, upload: Upload, frames: tuple[NewFrame, ...], head: Checkpoint, key: str
    ) -> bytes:
        """Store a new upload; a fork becomes an alarm."""
        unit = frames[0].header.unit
        try:
            self._require_growth(unit, upload, head)
            return self._store(frames, head, upload.checkpoint, key)
        except ForkError as error:
            self.store.alarm(unit, "fork", str(error), time_ms=to_ms(self.clock.now()))
            self.raise_alarm(unit, "fork", str(error))
            raise RefusalError(status=409, error="fork", detail=str(error)) from error

    def _require_enrolled(self, unit: str) -> PublicKey:
        key = self.watch_keys.get(unit)
        if key is None:
            raise RefusalError(
                status=403, error="unknown-unit", detail=f"the unit {unit} is not enrolled"
            )
        return key

    def _require_logged(
        self, unit: str, upload: Upload, frames: tuple[NewFrame, ...], head: Checkpoint
    ) -> None:
        """Make sure that the unit's watcher logged the frames: who only sends can make none."""
        try:
            require_logged(upload, [frame.header for frame in frames], head)
        except IntegrityError as error:
            self._alarm(unit, "not-logged", str(error))
            raise RefusalError(status=403, error="not-logged", detail=str(error)) from error

    def _alarm(self, unit: str, kind: str, detail: str) -> None:
        """Keep a sign of a unit that is not what it claims to be, and tell a person."""
        with self._turn:
            self.store.alarm(unit, kind, detail, time_ms=to_ms(self.clock.now()))
        self.raise_alarm(unit, kind, detail)

    def _require_growth(self, unit: str, upload: Upload, head: Checkpoint) -> None:
        """Make sure that the unit's log only grew since it was last seen."""
        known_size, known_root = self.store.head(unit) or (0, b"")
        if head.size <= known_size:
            self._require_seen(unit, head, known_size)
            return
        if upload.previous_size != known_size:
            raise _other_position(known_size)
        if known_size == 0:
            return
        try:
            verify_consistency(
                old_size=known_size,
                old_root=known_root,
                size=head.size,
                root=head.root,
                proof=upload.proof,
            )
        except IntegrityError as error:
            message = f"log of {head.size} entries does not continue the one of {known_size}"
            raise ForkError(message) from error

    def _require_seen(self, unit: str, head: Checkpoint, known_size: int) -> None:
        """Accept an older head only where that very head was seen before."""
        root = self.store.root_at(unit, head.size)
        if root is None:
            raise _other_position(known_size)
        if root != head.root:
            message = f"another log of {head.size} entries was seen before"
            raise ForkError(message)

    def _store(self, frames: tuple[NewFrame, ...], head: Checkpoint, note: str, key: str) -> bytes:
        time_ms = to_ms(self.clock.now())

        def sign(previous: bytes) -> bytes:
            receipt = Receipt(
                unit=frames[0].header.unit,
                frames=tuple(frame.sha256 for frame in frames),
                log_size=head.size,
                log_root=head.root,
                time_ms=time_ms,
                previous=previous,
            )
            return sign_receipt(self.signer, receipt)

        return self.store.add(
            frames,
            head,
            note,
            key=key,
            time_ms=time_ms,
            sign=sign,
        )


def _parse_upload(body: bytes) -> Upload:
    try:
        upload = decode_upload(body)
    except IntegrityError as error:
        raise RefusalError(status=400, error="malformed", detail=str(error)) from error
    if len(set(upload.frames)) != len(upload.frames):
        raise RefusalError(status=400, error="malformed", detail="a frame twice in one upload")
    return upload


def _parse_frame(unit: str, content: bytes) -> NewFrame:
    try:
        header = parse_frame(content).header
    except IntegrityError as error:
        raise RefusalError(status=400, error="malformed", detail=str(error)) from error
    if header.unit != unit:
        detail = f"a frame of the unit {header.unit} under the certificate of {unit}"
        raise RefusalError(status=403, error="other-unit", detail=detail)
    return NewFrame(header=header, sha256=frame_hash(content), content=content)


def _open_head(unit: str, upload: Upload, key: PublicKey) -> Checkpoint:
    try:
        return open_checkpoint(upload.checkpoint, (key,), origin=log_origin(unit, "watch"))
    except IntegrityError as error:
        raise RefusalError(status=403, error="checkpoint", detail=str(error)) from error


def _other_position(known_size: int) -> RefusalError:
    return RefusalError(
        status=412,
        error="log-position",
        detail=f"the log was last seen with {known_size} entries; prove from there",
        known_size=known_size,
    )
