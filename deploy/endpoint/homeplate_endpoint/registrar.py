"""Enrols, renews and retires units (deploy/docs/formats.md, chapter 11).

All three requests prove in themselves who sends them: by a one-time token, by the key that was
enrolled, by the unit's log key. The same request again gets the same answer, so a unit that lost
power or its connection at any moment asks again.
"""

import hashlib
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hmac import compare_digest
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from agent.base.clock import Clock, from_ms, to_ms
from agent.base.errors import ConfigError, CredentialError, IntegrityError
from agent.base.files import read_bounded
from agent.base.texts import show
from agent.trust.enrolment import (
    Enrolment,
    Issued,
    Keys,
    decode_enrolment,
    decode_renewal,
    encode_message,
    verify_csr,
    verify_enrolment,
)
from agent.trust.retirement import decode_statement, open_statement
from agent.trust.tickets import TICKET_LIMIT_BYTES, parse_ticket, ticket_name
from homeplate_endpoint.issuing import Issuer
from homeplate_endpoint.refusals import RefusalError
from homeplate_endpoint.units import NewCertificate, Units, UsedToken, require_active

RENEWAL_SHARE = 10
"""A certificate younger than a tenth of its life is given again instead of a new one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registrar:
    """Decides who is a unit of this city."""

    units: Units
    issuer: Issuer
    tickets: Path
    """Folder of tickets, one a unit."""
    grace: timedelta
    """How long after its end a certificate may still be renewed."""
    clock: Clock
    _turn: threading.Lock = field(default_factory=threading.Lock)
    """Between looking and writing nobody else is entered."""

    def enrol(self, body: bytes) -> bytes:
        """Return the certificate for a unit's keys, against its token.

        Raises:
            RefusalError: The token is wrong, over or used by other keys, a proof fails, or the
                name is taken.
            DeviceError: The disk failed.
        """
        try:
            request = decode_enrolment(body)
            keys = verify_enrolment(request)
        except (IntegrityError, CredentialError) as error:
            raise RefusalError(status=400, error="malformed", detail=str(error)) from error
        with self._turn:
            return self._enter(request, keys)

    def renew(self, body: bytes) -> bytes:
        """Return the next certificate for an enrolled unit.

        Raises:
            RefusalError: The unit is not active, the request is not by its key, or its last
                certificate ended longer ago than the grace.
            DeviceError: The disk failed.
        """
        try:
            request = decode_renewal(body)
            key = verify_csr(request.csr, unit=request.unit)
        except (IntegrityError, CredentialError) as error:
            raise RefusalError(status=400, error="malformed", detail=str(error)) from error
        unit = require_active(self.units.find(request.unit), request.unit)
        newest = self.units.newest_certificate(unit.name)
        if key != unit.keys.tls or newest is None:
            detail = f"not signed by the key that {unit.name} was enrolled with"
            raise RefusalError(status=403, error="other-key", detail=detail)
        now = self.clock.now()
        ended = from_ms(newest.expires_ms)
        if now > ended + self.grace:
            detail = f"the certificate ended {ended:%Y-%m-%d}; enrol again with a new token"
            raise RefusalError(status=403, error="grace-over", detail=detail)
        if now - from_ms(newest.issued_ms) < self.issuer.life / RENEWAL_SHARE:
            return _answer(newest.content)
        fresh = self._issue(unit.name, unit.keys, now)
        self.units.add_certificate(unit.name, fresh)
        return _answer(fresh.content)

    def retire(self, body: bytes) -> str:
        """Take a unit's certificate of destruction, end the unit and return its name.

        It may come again, when the answer was lost; and from a revoked unit, which stays so.

        Raises:
            RefusalError: It is not that of a unit of the register.
            DeviceError: The disk failed.
        """
        try:
            name = decode_statement(body).unit
            unit = self.units.find(name) or require_active(None, name)
            found = open_statement(body, unit=name, key=unit.keys.send)
        except IntegrityError as error:
            raise RefusalError(status=400, error="malformed", detail=str(error)) from error
        reason = f"by the unit's own key: {show(found.retired.reason)}"
        self.units.retire(name, body, reason=reason, now_ms=to_ms(self.clock.now()))
        return name

    def _enter(self, request: Enrolment, keys: Keys) -> bytes:
        sha256 = hashlib.sha256(request.token).digest()
        used = self.units.token(sha256)
        if used is not None:
            return self._answer_again(request, keys, used)
        now = self.clock.now()
        self._require_ticket(request.unit, sha256, now)
        self._require_free(request.unit, keys)
        certificate = self._issue(request.unit, keys, now)
        self.units.enrol(request.unit, keys, sha256, certificate)
        return _answer(certificate.content)

    def _answer_again(self, request: Enrolment, keys: Keys, used: UsedToken) -> bytes:
        """Answer a unit that asks again, as before; refuse everybody else."""
        if used.unit != request.unit or used.keys_sha256 != keys.sha256:
            detail = "this token has enrolled a unit before; make a new bundle"
            raise RefusalError(status=409, error="token-used", detail=detail)
        require_active(self.units.find(request.unit), request.unit)
        return _answer(used.certificate)

    def _require_ticket(self, unit: str, sha256: bytes, now: datetime) -> None:
        try:
            path = self.tickets / ticket_name(unit)
            ticket = parse_ticket(
                read_bounded(path, limit_bytes=TICKET_LIMIT_BYTES), place=str(path)
            )
        except ConfigError as error:
            raise _wrong_token(unit) from error
        if ticket.unit != unit or not compare_digest(ticket.token_sha256, sha256.hex()):
            raise _wrong_token(unit)
        if now >= ticket.expires_at:
            detail = f"the token ended {ticket.expires_at:%Y-%m-%d %H:%M} UTC; make a new bundle"
            raise RefusalError(status=403, error="token-expired", detail=detail)

    def _require_free(self, unit: str, keys: Keys) -> None:
        """Make sure that a name is new, or that it is the same unit: its logs go on."""
        known = self.units.find(unit)
        if known is None:
            return
        require_active(known, unit)
        if (known.keys.watch, known.keys.send) != (keys.watch, keys.send):
            detail = f"{unit} is enrolled with other log keys; give a unit with new keys a new name"
            raise RefusalError(status=409, error="name-taken", detail=detail)

    def _issue(self, unit: str, keys: Keys, now: datetime) -> NewCertificate:
        certificate = self.issuer.issue(unit, keys.tls, now=now)
        return NewCertificate(
            serial=certificate.serial_number,
            issued_ms=to_ms(now),
            expires_ms=to_ms(certificate.not_valid_after_utc),
            content=certificate.public_bytes(serialization.Encoding.DER),
        )


def _answer(certificate: bytes) -> bytes:
    return encode_message(Issued(certificate=certificate))


def _wrong_token(unit: str) -> RefusalError:
    detail = f"this token admits no unit of the name {unit}"
    return RefusalError(status=403, error="token", detail=detail)
