"""The command `certificate`: until when the server's is good, and the next one for a pinned key.

Units look at the key (the policy pins two) and at the CA, so the next certificate is for the same
key, or for the spare one, and from the same CA. Nothing changes on the units.
"""

import argparse
import hashlib
from base64 import b64encode
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.base.clock import SystemClock
from agent.base.errors import ConfigError, CredentialError, DeviceError
from agent.base.files import read_bounded, write_whole
from agent.trust.bundle_files import BUNDLE_LIMIT_BYTES, parse_bundle
from agent.trust.policy import Endpoint, parse_policy
from agent.trust.signatures import encode_public_key
from homeplate_endpoint.config import load_settings
from homeplate_endpoint.founding import Authority, issue_server
from homeplate_endpoint.issuing import load_certificate, load_key

WARN_DAYS: Final = 90
_KEY_LIMIT_BYTES: Final = 65_536


def add_certificate(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `certificate`."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    show = actions.add_parser("show", help="until when the server's certificate is good")
    show.set_defaults(run=run_show)
    renew = actions.add_parser("renew", help="issue the next one, for the same or the spare key")
    renew.add_argument(
        "--ca-key",
        type=Path,
        required=True,
        metavar="FILE",
        help="server-ca.key from the safe; server-ca.pem is looked for beside it, then here",
    )
    renew.add_argument(
        "--spare-key", type=Path, metavar="FILE", help="go over to this pinned key, from the safe"
    )
    renew.add_argument("--dry-run", action="store_true", help="check everything, write nothing")
    renew.set_defaults(run=run_renew)
    for action in (show, renew):
        action.add_argument("--config", type=Path, required=True, metavar="FILE", help="TOML file")


def run_show(args: argparse.Namespace) -> int:
    """Print the certificate's names, end and pin."""
    settings, base = load_settings(args.config), args.config.resolve().parent
    path = base / settings.tls.certificate
    found = load_certificate(path)
    left = found.not_valid_after_utc - SystemClock().now()
    print(f"{path}: until {found.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, {left.days} days left")
    print(f"  pin {_pin(_public_key(found, path))}")
    if left.days < WARN_DAYS:
        print("  renew it: homeplate-endpoint certificate renew")
    return 0


def run_renew(args: argparse.Namespace) -> int:
    """Issue the server's next certificate.

    Raises:
        ConfigError: A file is missing, or the policy that units have pins no such key.
        CredentialError: A file holds something else, or the CA is not the one of the policy.
        DeviceError: The disk refuses.
    """
    settings, base = load_settings(args.config), args.config.resolve().parent
    certificate, key = base / settings.tls.certificate, base / settings.tls.key
    before, authority = load_certificate(certificate), _load_authority(args.ca_key, base)
    private = args.spare_key or key
    public = load_key(private).public_key()
    _require_pinned(base / settings.policy, public, authority.certificate)
    fresh = _issue(authority, public, before, now=SystemClock().now())
    until = f"until {fresh.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, pin {_pin(public)}"
    if args.dry_run:
        print(f"{certificate}: would be issued, {until}")
        return 0
    try:
        if args.spare_key:
            content = read_bounded(args.spare_key, limit_bytes=_KEY_LIMIT_BYTES)
            write_whole(key, content)
        write_whole(certificate, fresh.public_bytes(serialization.Encoding.PEM))
    except OSError as error:
        message = f"{certificate}: cannot be written ({error.strerror}); call this again"
        raise DeviceError(message) from error
    print(f"{certificate}: issued, {until}")
    print("  start the endpoint anew; units notice nothing")
    return 0


def _issue(
    authority: Authority,
    key: ec.EllipticCurvePublicKey,
    before: x509.Certificate,
    *,
    now: datetime,
) -> x509.Certificate:
    """Return a certificate for the names of the one before."""
    names = before.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    name = str(before.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    return issue_server(authority, key, names, server_name=name, now=now)


def _load_authority(key: Path, base: Path) -> Authority:
    beside = key.with_suffix(".pem")
    path = beside if beside.exists() else base / "server-ca.pem"
    authority = Authority(load_certificate(path), load_key(key))
    if authority.certificate.public_key() != authority.key.public_key():
        message = f"{path}, {key}: do not fit together; expected the server's CA and its key"
        raise CredentialError(message)
    return authority


def _require_pinned(
    bundle: Path, key: ec.EllipticCurvePublicKey, authority: x509.Certificate
) -> None:
    """Make sure that units with the policy that is served now would go on talking to us.

    Raises:
        ConfigError: The policy pins other keys.
        CredentialError: It names another CA.
    """
    endpoint = _read_endpoint(bundle)
    if _pin(key) not in endpoint.spki_pins:
        message = f"{bundle}: does not pin this key; units would refuse it. Publish a policy first"
        raise ConfigError(message)
    if authority not in x509.load_pem_x509_certificates(endpoint.ca_pem.encode()):
        message = f"{bundle}: names another CA; units would refuse the certificate"
        raise CredentialError(message)


def _read_endpoint(path: Path) -> Endpoint:
    """Return what the published policy says of this endpoint."""
    content = read_bounded(path, limit_bytes=BUNDLE_LIMIT_BYTES)
    policy = parse_bundle(content, place=str(path)).files.policy
    return parse_policy(policy, place=str(path)).endpoint


def _public_key(certificate: x509.Certificate, path: Path) -> ec.EllipticCurvePublicKey:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        message = f"{path}: expected a certificate for an elliptic curve key"
        raise CredentialError(message)
    return key


def _pin(key: ec.EllipticCurvePublicKey) -> str:
    return b64encode(hashlib.sha256(encode_public_key(key)).digest()).decode()
