"""The endpoint's settings: one TOML file; paths in it are relative to the file."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from msgspec import Meta

from agent.base.errors import ConfigError, CredentialError
from agent.base.files import read_bounded, read_secret
from agent.base.forms import explain_misfit
from agent.trust.keys import Signer, load_signer
from agent.trust.signatures import PublicKey, load_public_file
from agent.trust.uploads import BODY_LIMIT_BYTES
from homeplate_endpoint.issuing import Issuer, load_issuer
from homeplate_endpoint.limits import Limits

_KEY_LIMIT_BYTES = 65_536
_CONFIG_LIMIT_BYTES = 1_048_576
Name = Annotated[str, Meta(min_length=1)]


class TlsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Mutual TLS: PEM files."""

    certificate: Name
    key: Name
    client_ca: Name
    """The CA of the units' certificates, which is for nothing else."""


class EnrolmentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How units come in and stay; `tls.client_ca` is the CA that issues their certificates."""

    issuing_key: Name
    """Private key of that CA, PEM."""
    tickets: Name = "tickets"
    """Folder for the tickets of `homeplate unit add`."""
    certificate_days: Annotated[int, Meta(ge=1, le=398)] = 30
    """Life of a unit's certificate; it is renewed after two thirds."""
    grace_days: Annotated[int, Meta(ge=0, le=398)] = 90
    """How long after its end a unit that was offline may still renew it."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    listen: Name = "127.0.0.1"
    """A literal address."""
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8443
    """0 = any that is free; see --port-file."""
    storage: Name
    units: Name = "units.sqlite"
    """Register of the enrolled units; stays when `storage` is moved away."""
    sealing_key: Name
    """The city's public sealing key, DER or PEM: its private half must never be here."""
    receipt_key: Name
    """Private key that signs receipts, PEM."""
    policy: Name = "policy.bundle"
    """What `homeplate policy publish` gave out; while the file is missing, units get no other."""
    hotlist: Name = "hotlist.signed"
    """What `homeplate hotlist sign` wrote; while the file is missing, units get no list."""
    applications: Name = "applications"
    """Folder of the archives that `deploy/dev update` made; it may be missing."""
    body_limit_bytes: Annotated[int, Meta(ge=1024, le=BODY_LIMIT_BYTES)] = BODY_LIMIT_BYTES
    tls: TlsSettings
    enrolment: EnrolmentSettings
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Where the TLS library finds its PEM files."""

    certificate: Path
    key: Path
    client_ca: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything the endpoint runs with, checked."""

    listen: str
    port: int
    storage: Path
    policy: Path
    hotlist: Path
    applications: Path
    body_limit_bytes: int
    tls: TlsFiles
    signer: Signer
    units: Path
    issuer: Issuer
    tickets: Path
    grace: timedelta
    limits: Limits


def load_settings(path: Path) -> Settings:
    """Return the settings in a file, with its paths made absolute.

    Raises:
        ConfigError: Unreadable, not TOML, an unknown key or a value out of range.
    """
    try:
        content = read_bounded(path, limit_bytes=_CONFIG_LIMIT_BYTES)
        return msgspec.toml.decode(content, type=Settings)
    except (msgspec.MsgspecError, ValueError) as error:
        found = explain_misfit(error, Settings)
        message = f"{path}: {found}; see the example in deploy/endpoint/README.md"
        raise ConfigError(message) from error


def load_config(path: Path) -> Config:
    """Return the configuration behind a settings file.

    Raises:
        ConfigError: A setting is wrong or a file is missing.
        CredentialError: A key is of the wrong kind or is the city's opening key.
    """
    settings, base = load_settings(path), path.resolve().parent
    sealing_key = read_public_key(base / settings.sealing_key)
    tls = TlsFiles(
        certificate=base / settings.tls.certificate,
        key=base / settings.tls.key,
        client_ca=base / settings.tls.client_ca,
    )
    _require_other_key(tls.certificate, sealing_key)
    return Config(
        listen=settings.listen,
        port=settings.port,
        storage=base / settings.storage,
        policy=base / settings.policy,
        hotlist=base / settings.hotlist,
        applications=base / settings.applications,
        body_limit_bytes=settings.body_limit_bytes,
        tls=tls,
        signer=_load_receipt_signer(base / settings.receipt_key, sealing_key),
        units=base / settings.units,
        issuer=load_issuer(
            tls.client_ca,
            base / settings.enrolment.issuing_key,
            life=timedelta(days=settings.enrolment.certificate_days),
        ),
        tickets=base / settings.enrolment.tickets,
        grace=timedelta(days=settings.enrolment.grace_days),
        limits=settings.limits,
    )


def read_public_key(path: Path) -> PublicKey:
    """Return the public key in a file, DER or PEM.

    Raises:
        ConfigError: The file is missing.
        CredentialError: It holds no P-256 public key.
    """
    return load_public_file(read_bounded(path, limit_bytes=_KEY_LIMIT_BYTES), place=str(path))


def _load_receipt_signer(path: Path, sealing_key: PublicKey) -> Signer:
    signer = load_signer(read_secret(path, limit_bytes=_KEY_LIMIT_BYTES), place=str(path))
    if signer.public_spki == sealing_key.spki:
        message = (
            f"{path}: this is the city's opening key; the endpoint must never hold it. "
            "Give the receipt key, and move the opening key to where reads are opened"
        )
        raise CredentialError(message)
    return signer


def _require_other_key(certificate: Path, sealing_key: PublicKey) -> None:
    """Make sure that the TLS key is not the opening key put to a second use."""
    content = read_bounded(certificate, limit_bytes=_KEY_LIMIT_BYTES)
    try:
        public = x509.load_pem_x509_certificate(content).public_key()
    except ValueError as error:
        message = f"{certificate}: no certificate; expected PEM"
        raise CredentialError(message) from error
    spki = public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    if spki == sealing_key.spki:
        message = f"{certificate}: its key is the city's opening key; the endpoint must not hold it"
        raise CredentialError(message)
