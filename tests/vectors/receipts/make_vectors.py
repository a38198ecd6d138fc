"""Writes the receipt vectors beside itself: `python tests/vectors/receipts/make_vectors.py`.

ECDSA draws a random number per signature, so a new run gives other bytes: the files are frozen
and made anew only when the format gets a new version. The key is test-only and derived from the
number 4. The receipts are put together here from their description, not by our code.

A vector is lines of `name: value`, the first is what must happen: `opens`, `malformed`,
`unknown key` or `bad signature`.
"""

from hashlib import sha256
from pathlib import Path

import cbor2
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

FOLDER = Path(__file__).parent
KEY = ec.derive_private_key(4, ec.SECP256R1())
SPKI = KEY.public_key().public_bytes(
    serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
)
KEY_ID = sha256(SPKI).digest()[:8]
DOMAIN = b"homeplate receipt v1\n"
FRAMES = [sha256(b"a frame").digest(), sha256(b"another frame").digest()]
BEFORE = sha256(b"the receipt before").digest()
GOOD = {
    0: 1,
    1: "test-unit-1",
    2: FRAMES,
    3: 42,
    4: bytes(range(32)),
    5: 1_790_000_000_000,
    6: BEFORE,
}


def dump(value: object) -> bytes:
    """Return deterministic CBOR."""
    return cbor2.dumps(value, canonical=True)


def receipt(payload: bytes, *, key_id: bytes = KEY_ID, domain: bytes = DOMAIN) -> bytes:
    """Return a signed receipt around a payload."""
    signature = KEY.sign(domain + payload, ec.ECDSA(hashes.SHA256()))
    return dump([payload, key_id, signature])


def changed(key: int, value: object) -> bytes:
    """Return a signed receipt with one field changed."""
    return receipt(dump({**GOOD, key: value}))


def main() -> None:
    """Write all vectors."""
    good = receipt(dump(GOOD))
    payload, _, signature = cbor2.loads(good)
    cases = {
        "good": ("opens", good),
        "one_frame": ("opens", changed(2, FRAMES[:1])),
        "most_frames": ("opens", changed(2, [sha256(bytes([i])).digest() for i in range(256)])),
        "unknown_key": ("unknown key", receipt(dump(GOOD), key_id=bytes(8))),
        "without_domain": ("bad signature", receipt(dump(GOOD), domain=b"")),
        "other_payload": ("bad signature", dump([dump({**GOOD, 3: 43}), KEY_ID, signature])),
        "signature_cut": ("bad signature", dump([payload, KEY_ID, signature[:-1]])),
        "version_two": ("malformed", changed(0, 2)),
        "version_is_true": ("malformed", changed(0, value=True)),
        "unit_with_a_path": ("malformed", changed(1, "../unit")),
        "no_frames": ("malformed", changed(2, [])),
        "too_many_frames": ("malformed", changed(2, [bytes(32)] * 257)),
        "hash_too_short": ("malformed", changed(2, [bytes(31)])),
        "size_below_zero": ("malformed", changed(3, -1)),
        "root_is_text": ("malformed", changed(4, "root")),
        "time_is_a_fraction": ("malformed", changed(5, 0.5)),
        "first": ("opens", changed(6, bytes(32))),
        "previous_too_short": ("malformed", changed(6, bytes(31))),
        "field_too_many": ("malformed", changed(7, 0)),
        "field_missing": ("malformed", receipt(dump({k: v for k, v in GOOD.items() if k != 5}))),
        "payload_in_another_spelling": (
            "malformed",
            receipt(dump(GOOD).replace(b"\x03\x18\x2a", b"\x03\x19\x00\x2a")),
        ),
        "payload_is_no_cbor": ("malformed", receipt(b"\xff")),
        "a_map": ("malformed", dump({0: payload, 1: KEY_ID, 2: signature})),
        "four_parts": ("malformed", dump([payload, KEY_ID, signature, 0])),
        "key_id_too_long": ("malformed", dump([payload, bytes(9), signature])),
        "bytes_after_it": ("malformed", good + b"\0"),
        "too_large": ("malformed", dump([bytes(20_000), KEY_ID, signature])),
        "nothing": ("malformed", b""),
    }
    for name, (expect, content) in cases.items():
        lines = [f"expect: {expect}", f"public_key: {SPKI.hex()}", f"receipt: {content.hex()}", ""]
        (FOLDER / f"{name}.txt").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
