"""The unit's certificate, renewed by the sender before it ends (formats.md, chapter 11).

A renewal is a certificate request signed by the key that was enrolled, on a connection without a
client certificate: so the same few lines serve before the end, after it, and for a unit whose clock
is wrong.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

from agent.base.append_file import make_directory
from agent.base.clock import Clock
from agent.base.errors import (
    CredentialError,
    DeviceError,
    HomeplateError,
    RefusedError,
    UplinkError,
)
from agent.base.files import read_bounded, write_whole
from agent.pipeline.city import City
from agent.pipeline.collector import Collector
from agent.trust.answers import MEDIA_TYPE, Answer, LogPosition, UnverifiedReceipt
from agent.trust.enrolment import (
    MESSAGE_LIMIT_BYTES,
    RENEW_PATH,
    Certificate,
    Renewal,
    decode_issued,
    encode_message,
    read_certificate,
    renewal_due_s,
    require_issued,
)
from agent.trust.signatures import PublicKey
from agent.trust.uploads import Upload
from agent.uplink import ClosedMeanwhileError

log = logging.getLogger(__name__)

RETRY_INTERVAL_NS: Final = 3_600_000_000_000
"""After a renewal that failed while the certificate is good: an hour of ten days."""
_FILE_LIMIT_BYTES: Final = 16_384
_FOLDER_MODE: Final = 0o700

Result = TypeVar("Result")


class Door(Collector, City, Protocol):
    """A connection to the city's endpoint: `agent.uplink.Uplink`."""

    def close(self) -> None:
        """Give the connection up."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What the unit shows the city."""

    unit: str
    key: PublicKey
    """Public half of tls.key."""
    csr: bytes
    """Certificate request by that key."""
    first: Path
    """The certificate of the enrolment."""
    renewed: Path
    """Where the next ones go; the newest counts."""

    @property
    def path(self) -> Path:
        """The certificate to show now."""
        return self.renewed if self.renewed.exists() else self.first


class RenewingUplink:
    """Delivers and asks as an uplink does, and sees to it that its certificate stays good.

    Args:
        credentials: What to show, and how to ask for the next.
        open_door: Returns a connection that shows the certificate in a file, None = none.
        clock: The unit's; a wrong one costs a renewal too many or a refusal, not the unit.

    Raises:
        CredentialError: The certificate is missing or not this unit's.
    """

    def __init__(
        self, credentials: Credentials, open_door: Callable[[Path | None], Door], clock: Clock
    ) -> None:
        self._credentials = credentials
        self._open_door = open_door
        self._clock = clock
        self._retry_at_ns = clock.monotonic_ns()
        self._certificate = self._load()
        self._door = open_door(credentials.path)

    @property
    def certificate(self) -> Certificate:
        """The certificate that is shown now."""
        return self._certificate

    def deliver(self, upload: Upload, /) -> UnverifiedReceipt | LogPosition:
        """Hand over sealed frames; see `Collector.deliver`."""
        return self._with_certificate(lambda door: door.deliver(upload))

    def exchange(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        limit_bytes: int,
    ) -> Answer:
        """Ask for something else; see `Uplink.exchange`."""
        return self._with_certificate(
            lambda door: door.exchange(method, path, body, headers=headers, limit_bytes=limit_bytes)
        )

    def close(self) -> None:
        """Give the connection up; the next call opens another."""
        self._door.close()

    def _with_certificate(self, call: Callable[[Door], Result]) -> Result:
        self._renew_when_due()
        try:
            return call(self._door)
        except (CredentialError, ClosedMeanwhileError) as error:
            self._renew_refused(error)
            return call(self._door)

    def _renew_when_due(self) -> None:
        """Renew after two thirds of the life; a failure is told, and tried again in an hour.

        Raises:
            CredentialError: It is over, and the city does not renew it.
        """
        now_s = self._clock.now().timestamp()
        early = now_s < renewal_due_s(self._certificate)
        if early or self._clock.monotonic_ns() < self._retry_at_ns:
            return
        self._retry_at_ns = self._clock.monotonic_ns() + RETRY_INTERVAL_NS
        try:
            self._renew()
        except HomeplateError as error:
            if isinstance(error, RefusedError) and now_s >= self._certificate.not_after_s:
                message = f"the certificate ended {self._certificate.ends:%Y-%m-%d}: {error}"
                raise CredentialError(message) from error
            log.warning("certificate not renewed", extra={"detail": str(error)})

    def _renew_refused(self, refused: CredentialError | UplinkError) -> None:
        """Renew a certificate that the city does not take any more, by its own clock.

        Its TLS says so with an alert, or hangs up before the alert is out. A city that hangs up
        for another reason is asked once an hour.

        Raises:
            UplinkError: The city was not reached, or the certificate is not why; try again.
            CredentialError: It does not renew it either.
        """
        if isinstance(refused, UplinkError) and self._clock.monotonic_ns() < self._retry_at_ns:
            raise refused
        self._retry_at_ns = self._clock.monotonic_ns() + RETRY_INTERVAL_NS
        before = self._certificate
        try:
            self._renew()
        except RefusedError as error:
            message = f"{refused}; and it is not renewed: {error}"
            raise CredentialError(message) from error
        if self._certificate == before:
            raise refused

    def _renew(self) -> None:
        """Ask for the next certificate, store it, show it from now on."""
        mine = self._credentials
        door = self._open_door(None)
        try:
            answer = door.exchange(
                "POST",
                RENEW_PATH,
                encode_message(Renewal(unit=mine.unit, csr=mine.csr)),
                headers={"Content-Type": MEDIA_TYPE},
                limit_bytes=MESSAGE_LIMIT_BYTES,
            )
        finally:
            door.close()
        place = "the city's answer"
        found = read_certificate(decode_issued(answer.content).certificate, place=place)
        require_issued(found, unit=mine.unit, key=mine.key, place=place)
        self._store(found)
        self._certificate = found
        self._door.close()
        self._door = self._open_door(mine.path)
        log.info("certificate renewed", extra={"time_ms": found.not_after_s * 1000})

    def _store(self, certificate: Certificate) -> None:
        path = self._credentials.renewed
        try:
            make_directory(path.parent, mode=_FOLDER_MODE)
            write_whole(path, certificate.pem)
        except OSError as error:
            message = f"{path}: cannot be written ({error.strerror}); the certificate before counts"
            raise DeviceError(message) from error

    def _load(self) -> Certificate:
        path, mine = self._credentials.path, self._credentials
        content = read_bounded(path, limit_bytes=_FILE_LIMIT_BYTES)
        found = read_certificate(content, place=str(path))
        require_issued(found, unit=mine.unit, key=mine.key, place=str(path))
        return found
