"""A unit that wants to be enrolled, honest or not."""

import secrets
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.cli.enroll import Signers
from agent.trust.enrolment import (
    ENROLL_PATH,
    MESSAGE_LIMIT_BYTES,
    RENEW_PATH,
    Enrolment,
    Renewal,
    decode_issued,
    encode_message,
    read_certificate,
    statement,
)
from agent.trust.entries import Retired, encode_entry
from agent.trust.keys import encode_private_key, generate_signer, sign_csr
from agent.trust.merkle import Tree, leaf_hash
from agent.trust.notes import NO_NOTE, Checkpoint, log_origin, sign_checkpoint
from agent.trust.policy import Endpoint
from agent.trust.retirement import RETIRE_PATH, make_statement
from agent.trust.tickets import make_ticket, ticket_name
from agent.uplink import Uplink

CBOR = {"Content-Type": "application/cbor"}


def new_signers() -> Signers:
    """Draw the three keys of a unit."""
    return Signers(tls=generate_signer(), watch=generate_signer(), send=generate_signer())


@dataclass(slots=True)
class Candidate:
    """Holds keys and a token, and posts what it likes."""

    unit: str
    endpoint: Endpoint
    token: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    signers: Signers = field(default_factory=new_signers)

    def ticket(self, folder: Path, *, days: float = 7) -> "Candidate":
        """Put the ticket for its token into the endpoint's folder."""
        now = datetime.now(UTC)
        content = make_ticket(
            self.unit, self.token, made_at=now, expires_at=now + timedelta(days=days)
        )
        folder.mkdir(exist_ok=True)
        (folder / ticket_name(self.unit)).write_bytes(content)
        return self

    def request(self, **changes: object) -> bytes:
        """Return the body that asks for enrolment, with fields changed after signing."""
        said = statement(self.unit, self.token, self.signers.public)
        fields = {
            "unit": self.unit,
            "token": self.token,
            "csr": sign_csr(self.signers.tls, self.unit),
            "watch_key": self.signers.watch.public_spki,
            "send_key": self.signers.send.public_spki,
            "watch_proof": self.signers.watch.sign(said),
            "send_proof": self.signers.send.sign(said),
        }
        return encode_message(Enrolment(**(fields | changes)))

    def enrol(self, **changes: object) -> bytes:
        """Return the certificate that it gets, DER."""
        return decode_issued(self.post(ENROLL_PATH, self.request(**changes))).certificate

    def renew(self, **changes: object) -> bytes:
        """Return the next certificate, DER."""
        fields = {"unit": self.unit, "csr": sign_csr(self.signers.tls, self.unit)} | changes
        return decode_issued(self.post(RENEW_PATH, encode_message(Renewal(**fields)))).certificate

    def retire(self, content: bytes | None = None) -> None:
        """Hand in a certificate of destruction."""
        self.post(RETIRE_PATH, self.destruction() if content is None else content)

    def destruction(self, *, entry: object = None, origin: str = "", key: object = None) -> bytes:
        """Return its certificate of destruction, or one with a fault."""
        keys = self.signers.public
        retired = Retired(
            at_ms=1_000,
            watch_key=keys.watch.sha256,
            send_key=keys.send.sha256,
            tls_key=keys.tls.sha256,
            reads=0,
            reason="taken down",
        )
        entries = (b"\xa0", encode_entry(retired if entry is None else entry))
        head = Checkpoint(
            origin=origin or log_origin(self.unit, "send"),
            size=2,
            root=Tree(leaf_hash(item) for item in entries).root(),
            number=1,
            previous=NO_NOTE,
        )
        note = sign_checkpoint(key or self.signers.send, head)
        return make_statement(self.unit, entries, note)

    def post(self, path: str, body: bytes) -> bytes:
        """Post a body without a client certificate."""
        uplink = Uplink(self.endpoint, certificate=None, key=None, timeout_s=30)
        with closing(uplink):
            answer = uplink.exchange(
                "POST", path, body, headers=CBOR, limit_bytes=MESSAGE_LIMIT_BYTES
            )
        return answer.content

    def uplink(self, folder: Path, certificate: bytes) -> Uplink:
        """Return the uplink of whoever has this certificate and the key to it."""
        path, key = folder / f"{self.unit}.crt", folder / f"{self.unit}.key"
        path.write_bytes(read_certificate(certificate, place="test").pem)
        key.write_bytes(encode_private_key(self.signers.tls))
        return Uplink(self.endpoint, certificate=path, key=key, timeout_s=30)
