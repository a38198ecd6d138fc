"""`homeplate enroll`: the unit's first start. Makes its keys, asks the city in, wipes the token.

It may be cut off at any moment and is then called again: keys that are there are kept, the city
answers the same keys and token as before, and the token goes only when the certificate is stored.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.base.append_file import make_directory
from agent.base.clock import Clock, SystemClock
from agent.base.errors import ConfigError, CredentialError, DeviceError
from agent.base.files import read_bounded, read_secret, sync_directory, write_whole
from agent.base.settings import Settings, parse_settings
from agent.cli.unit import KEY_LIMIT_BYTES, add_config, load_settings, renewed_certificate
from agent.cli.unit_bundle import (
    MANIFEST,
    POLICY,
    ROOT,
    SETTINGS,
    TOKEN,
    load_bundle,
    parse_token,
)
from agent.trust.answers import Answer
from agent.trust.bundle import open_bundle, trust_root
from agent.trust.bundle_files import BUNDLE_LIMIT_BYTES
from agent.trust.enrolment import (
    ENROLL_PATH,
    MESSAGE_LIMIT_BYTES,
    Certificate,
    Enrolment,
    Keys,
    decode_issued,
    encode_message,
    read_certificate,
    require_issued,
    statement,
)
from agent.trust.keys import Signer, encode_private_key, generate_signer, load_signer, sign_csr
from agent.trust.policy import Endpoint
from agent.uplink import Uplink

BOOT_FOLDER = Path("/boot/firmware/homeplate")
FLASH_AGAIN = (
    "flash the unit's bundle: `homeplate flash BUNDLE TARGET`, with --again where the card or "
    "image was wiped after it was flashed"
)
KEY_NAMES = ("tls", "watch", "send")
_FOLDER_MODE = 0o700
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Signers:
    """The unit's three keys."""

    tls: Signer
    watch: Signer
    send: Signer

    @property
    def public(self) -> Keys:
        """Their public halves."""
        return Keys(tls=self.tls.public_key, watch=self.watch.public_key, send=self.send.public_key)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config(parser)
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FOLDER",
        help=f"the flashed bundle ({BOOT_FOLDER})",
    )
    parser.add_argument(
        "--only-install",
        action="store_true",
        help="put settings, policy and root in their places; ask nobody",
    )


def run(args: argparse.Namespace) -> int:
    """Enrol the unit, or finish what a power cut left.

    Raises:
        ConfigError: The bundle is missing or wrong.
        CredentialError: The token is missing, or the answer is no certificate for this unit.
        UplinkError: The city was not reached; call again.
        RefusedError: The city refuses, and why.
        DeviceError: The disk refuses.
    """
    clock, source = SystemClock(), args.source or BOOT_FOLDER
    if args.source and not (source / MANIFEST).exists():
        message = f"--from {source}: no bundle there ({MANIFEST} is missing); {FLASH_AGAIN}"
        raise ConfigError(message)
    try:
        settings = install(source, args.config, clock)
        if args.only_install:
            return 0
        known = find_certificate(settings, clock)
        found = known or enrol(settings, source / TOKEN, clock)
        wipe_file(source / TOKEN)
    except OSError as error:
        message = f"{error.filename or source}: the disk refuses ({error.strerror})"
        raise DeviceError(message) from error
    how = "is enrolled already, nothing was changed" if known else "enrolled"
    print(f"{settings.unit}: {how}; certificate until {found.ends:%Y-%m-%d %H:%M} UTC")
    return 0


def install(source: Path, config: Path, clock: Clock) -> Settings:
    """Put the bundle's files where the settings say; leave a unit that is enrolled as it is.

    Raises:
        ConfigError: There is neither a bundle nor settings, or they are of two units.
        OSError: The disk refuses.
    """
    if not (source / MANIFEST).exists():
        if not config.exists():
            message = f"{source}: no bundle there, and no {config}; {FLASH_AGAIN}"
            raise ConfigError(message)
        return load_settings(config)
    bundle = load_bundle(source, names=(SETTINGS, POLICY, ROOT))
    content = bundle.files[SETTINGS]
    settings = parse_settings(content, place=str(source / SETTINGS))
    if config.exists():
        here = load_settings(config)
        if here.unit != settings.unit:
            message = f"{source}: is for {settings.unit}, this is {here.unit}; retire it first"
            raise ConfigError(message)
        if find_certificate(here, clock) is not None:
            return here
    folders = {config.parent, *(Path(name).parent for name in (settings.policy, settings.root))}
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    write_whole(Path(settings.policy), bundle.files[POLICY], mode=0o644)
    write_whole(Path(settings.root), bundle.files[ROOT], mode=0o644)
    write_whole(config, content, mode=0o644)
    return settings


def find_certificate(settings: Settings, clock: Clock) -> Certificate | None:
    """Return the certificate of an earlier enrolment that is still good; None = ask for one."""
    folder, renewed = Path(settings.credentials), renewed_certificate(settings)
    if not all((folder / name).exists() for name in ("tls.crt", "tls.key")):
        return None
    path = renewed if renewed.exists() else folder / "tls.crt"
    content = read_bounded(path, limit_bytes=KEY_LIMIT_BYTES)
    certificate = read_certificate(content, place=str(path))
    key = load_key(folder / "tls.key").public_key
    require_issued(certificate, unit=settings.unit, key=key, place=str(path))
    return certificate if clock.now() < certificate.ends else None


def enrol(settings: Settings, token_path: Path, clock: Clock) -> Certificate:
    """Make the keys that are missing, ask the city, store the certificate.

    Raises:
        CredentialError: There is no token, or the answer does not fit.
        PolicyError: The flashed policy does not verify: nobody is asked.
        UplinkError: As `Uplink.exchange`.
        OSError: The disk refuses.
    """
    endpoint = open_flashed(settings, clock)
    token = load_token(token_path)
    signers = make_keys(Path(settings.credentials))
    uplink = Uplink(endpoint, certificate=None, key=None, timeout_s=_TIMEOUT_S)
    try:
        certificate = ask(uplink.exchange, settings.unit, token, signers)
    finally:
        uplink.close()
    write_whole(Path(settings.credentials) / "tls.crt", certificate.pem)
    renewed_certificate(settings).unlink(missing_ok=True)  # of an enrolment before
    return certificate


def open_flashed(settings: Settings, clock: Clock) -> Endpoint:
    """Return the city's endpoint, as the flashed policy names it.

    Raises:
        ConfigError: A file is missing.
        PolicyError: The policy does not verify under the flashed root, or is for other units.
    """
    root = read_bounded(Path(settings.root), limit_bytes=BUNDLE_LIMIT_BYTES)
    content = read_bounded(Path(settings.policy), limit_bytes=BUNDLE_LIMIT_BYTES)
    trusted = trust_root(root, place=settings.root)
    decision = open_bundle(
        content, trusted=trusted, now=clock.now(), place=settings.policy, unit=settings.unit
    )
    return decision.policy.endpoint


def load_token(path: Path) -> bytes:
    """Return the token of the flashed bundle.

    Raises:
        CredentialError: There is none (any more).
    """
    if not path.exists():
        message = f"{path}: no token; flash a new bundle, this one has been used or is not there"
        raise CredentialError(message)
    return parse_token(read_bounded(path, limit_bytes=KEY_LIMIT_BYTES), place=str(path))


def make_keys(folder: Path) -> Signers:
    """Return the unit's keys; those that are missing are drawn here and nowhere else.

    Raises:
        CredentialError: A key file is damaged.
        OSError: The disk refuses.
    """
    make_directory(folder, mode=_FOLDER_MODE)
    for name in KEY_NAMES:
        path = folder / f"{name}.key"
        if not path.exists():
            write_whole(path, encode_private_key(generate_signer()))
    tls, watch, send = (load_key(folder / f"{name}.key") for name in KEY_NAMES)
    return Signers(tls=tls, watch=watch, send=send)


def load_key(path: Path) -> Signer:
    """Return the key in a file.

    Raises:
        ConfigError: No such file.
        CredentialError: Something else is in it.
    """
    return load_signer(read_secret(path, limit_bytes=KEY_LIMIT_BYTES), place=str(path))


def ask(exchange: Callable[..., Answer], unit: str, token: bytes, signers: Signers) -> Certificate:
    """Return the certificate that the city issues for the unit's keys.

    Raises:
        CredentialError: The answer is no certificate for this unit and key.
        UplinkError: As `Uplink.exchange`.
    """
    said = statement(unit, token, signers.public)
    request = Enrolment(
        unit=unit,
        token=token,
        csr=sign_csr(signers.tls, unit),
        watch_key=signers.watch.public_spki,
        send_key=signers.send.public_spki,
        watch_proof=signers.watch.sign(said),
        send_proof=signers.send.sign(said),
    )
    answer = exchange(
        "POST",
        ENROLL_PATH,
        encode_message(request),
        headers={"Content-Type": "application/cbor"},
        limit_bytes=MESSAGE_LIMIT_BYTES,
    )
    place = "the city's answer"
    certificate = read_certificate(decode_issued(answer.content).certificate, place=place)
    require_issued(certificate, unit=unit, key=signers.tls.public_key, place=place)
    return certificate


def wipe_file(path: Path) -> None:
    """Overwrite and remove the token; on flash an old copy may stay, which is why it is one-time.

    Raises:
        OSError: The disk refuses.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        os.write(descriptor, bytes(os.fstat(descriptor).st_size))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    path.unlink()
    sync_directory(path.parent)
