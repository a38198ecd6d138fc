"""Writes the enrolment vectors beside itself: `python tests/vectors/units/make_vectors.py`.

ECDSA draws a random number per signature, so a new run gives other bytes: the files are frozen
and made anew only when the format gets a new version. The keys are test-only and derived from the
numbers 5 to 8. The requests are put together here from their description, not by our code.

A vector is lines of `name: value`, the first is what must happen: `taken`, `malformed`, `bad
signature`, `bad request` (of the certificate request) or `bad keys`.
"""

from hashlib import sha256
from pathlib import Path

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

FOLDER = Path(__file__).parent
TLS, WATCH, SEND, OTHER = (ec.derive_private_key(number, ec.SECP256R1()) for number in range(5, 9))
UNIT = "test-unit-1"
TOKEN = bytes(range(32))


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the public half."""
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def dump(value: object) -> bytes:
    """Return deterministic CBOR."""
    return cbor2.dumps(value, canonical=True)


def csr(*names: str, key: ec.EllipticCurvePrivateKey = TLS, wish: object = None) -> bytes:
    """Return a certificate request."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if isinstance(wish, x509.ExtensionType):
        builder = builder.add_extension(wish, critical=False)
    request = builder.sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


def proof(key: ec.EllipticCurvePrivateKey, *, unit: str = UNIT, token: bytes = TOKEN) -> bytes:
    """Return a signature over the statement."""
    keys = [spki(TLS), spki(WATCH), spki(SEND)]
    said = dump(["homeplate enrolment", 1, unit, sha256(token).digest(), *keys])
    return key.sign(said, ec.ECDSA(hashes.SHA256()))


GOOD = {
    0: 1, 1: UNIT, 2: TOKEN, 3: csr(UNIT), 4: spki(WATCH), 5: spki(SEND),
    6: proof(WATCH), 7: proof(SEND),
}  # fmt: skip


def changed(**fields: object) -> bytes:
    """Return the request with some fields changed, named `k0` to `k8`."""
    return dump(GOOD | {int(name[1:]): value for name, value in fields.items()})


def main() -> None:
    """Write all vectors."""
    good = dump(GOOD)
    names = x509.SubjectAlternativeName([x509.DNSName("test-unit-2")])
    cut = {key: value for key, value in GOOD.items() if key != 7}
    cases = {
        "good": ("taken", good),
        "another_unit_in_the_proof": (
            "bad signature",
            changed(k6=proof(WATCH, unit="test-unit-2")),
        ),
        "another_token_in_the_proof": ("bad signature", changed(k7=proof(SEND, token=bytes(32)))),
        "another_token": ("bad signature", changed(k2=bytes(32))),
        "proof_by_another_key": ("bad signature", changed(k6=proof(OTHER))),
        "proofs_changed_about": ("bad signature", changed(k6=GOOD[7], k7=GOOD[6])),
        "csr_by_another_key": ("bad signature", changed(k3=csr(UNIT, key=OTHER))),
        "csr_for_another_unit": ("bad request", changed(k3=csr("test-unit-2"))),
        "csr_for_two_names": ("bad request", changed(k3=csr(UNIT, "test-unit-2"))),
        "csr_with_a_wish": ("bad request", changed(k3=csr(UNIT, wish=names))),
        "csr_cut": ("bad request", changed(k3=csr(UNIT)[:-1])),
        "csr_altered": ("bad request", changed(k3=csr(UNIT)[:-1] + b"\0")),
        "watch_key_twice": ("bad keys", changed(k5=spki(WATCH), k7=GOOD[6])),
        "tls_key_as_watch_key": ("bad keys", changed(k4=spki(TLS), k6=proof(TLS))),
        "watch_key_is_none": ("bad keys", changed(k4=b"nonsense")),
        "version_two": ("malformed", changed(k0=2)),
        "version_is_true": ("malformed", changed(k0=True)),
        "unit_with_a_path": ("malformed", changed(k1="../unit")),
        "token_too_short": ("malformed", changed(k2=bytes(31))),
        "token_is_text": ("malformed", changed(k2="token")),
        "csr_too_long": ("malformed", changed(k3=bytes(2049))),
        "field_too_many": ("malformed", changed(k8=0)),
        "field_missing": ("malformed", dump(cut)),
        "a_list": ("malformed", dump(list(GOOD.values()))),
        "another_spelling": ("malformed", b"\xb8\x08" + good[1:]),
        "bytes_after_it": ("malformed", good + b"\0"),
        "nothing": ("malformed", b""),
    }
    for name, (expect, content) in cases.items():
        lines = [f"expect: {expect}", f"request: {content.hex()}", ""]
        (FOLDER / f"{name}.txt").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
