"""Writes the checkpoint vectors beside itself: `python tests/vectors/checkpoints/make_vectors.py`.

ECDSA draws a random number per signature, so a new run gives other bytes: the files are frozen
and made anew only when the format changes. The key is test-only and derived from the number 3.
The notes are put together here from their description, not by our code.

A vector's first line is what must happen: `opens`, `no note`, `other origin`, `unknown key` or
`bad signature`; the second the public key; an empty line; then the note.
"""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

FOLDER = Path(__file__).parent
KEY = ec.derive_private_key(3, ec.SECP256R1())
SPKI = KEY.public_key().public_bytes(
    serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
)
KEY_ID = sha256(SPKI).digest()[:4]
ORIGIN = "homeplate/test-unit-1/watch"
ROOT = b64encode(bytes(range(32))).decode()
PREVIOUS = b64encode(bytes(range(32, 64))).decode()
TEXT = f"{ORIGIN}\n42\n{ROOT}\nnumber 7\nprevious {PREVIOUS}\n"


def signature(text: str) -> bytes:
    """Return a DER signature."""
    return KEY.sign(text.encode(), ec.ECDSA(hashes.SHA256()))


def note(
    text: str, *, name: str = ORIGIN, key_id: bytes = KEY_ID, signed: str | None = None
) -> str:
    """Return a signed note."""
    blob = key_id + signature(text if signed is None else signed)
    return f"{text}\n— {name} {b64encode(blob).decode()}\n"


def main() -> None:
    """Write all vectors."""
    good = note(TEXT)
    other = ORIGIN.replace("watch", "send")
    cases = {
        "good": ("opens", good),
        "empty_log": ("opens", note(TEXT.replace("\n42\n", "\n0\n"))),
        "other_log": ("other origin", note(TEXT.replace(ORIGIN, other), name=other)),
        "unknown_key": ("unknown key", note(TEXT, key_id=bytes(4))),
        "signed_another_text": ("bad signature", note(TEXT, signed=TEXT.replace("42", "43"))),
        "signature_cut": ("bad signature", _cut_signature()),
        "size_with_a_zero_before": ("no note", note(TEXT.replace("\n42\n", "\n042\n"))),
        "size_below_zero": ("no note", note(TEXT.replace("\n42\n", "\n-1\n"))),
        "number_zero": ("no note", note(TEXT.replace("number 7", "number 0"))),
        "without_number": ("no note", note(TEXT.replace("number 7\n", ""))),
        "without_previous": ("no note", note(TEXT.replace(f"previous {PREVIOUS}\n", ""))),
        "previous_too_short": ("no note", note(TEXT.replace(PREVIOUS, ROOT[:40]))),
        "previous_with_loose_bits": ("no note", note(TEXT.replace(PREVIOUS, f"{'A' * 42}B="))),
        "one_more_line": ("no note", note(f"{TEXT}more\n")),
        "root_too_short": ("no note", note(TEXT.replace(ROOT, b64encode(bytes(31)).decode()))),
        "root_with_loose_bits": ("no note", note(TEXT.replace(ROOT, f"{'A' * 42}B="))),
        "signature_with_wrong_padding": ("no note", _one_letter_less(good)),
        "root_in_another_alphabet": ("no note", note(TEXT.replace(ROOT, f"{'_' * 43}="))),
        "name_of_another": ("no note", note(TEXT, name=other)),
        "two_signatures": ("no note", good + good.splitlines(keepends=True)[-1]),
        "carriage_returns": ("no note", good.replace("\n", "\r\n")),
        "no_last_line_feed": ("no note", good[:-1]),
        "line_feed_too_many": ("no note", f"{good}\n"),
        "hyphen_for_a_dash": ("no note", good.replace("— ", "- ")),
        "another_kind_of_origin": ("no note", note(TEXT.replace("homeplate/", "other/"))),
        "nothing": ("no note", ""),
    }
    for name, (expect, text) in cases.items():
        content = f"expect: {expect}\npublic_key: {SPKI.hex()}\n\n{text}"
        (FOLDER / f"{name}.txt").write_bytes(content.encode())


def _one_letter_less(text: str) -> str:
    """Return the note without the first letter of its signature's base64."""
    head, _, tail = text.rpartition(" ")
    return f"{head} {tail[1:]}"


def _cut_signature() -> str:
    blob = KEY_ID + signature(TEXT)[:-1]
    return f"{TEXT}\n— {ORIGIN} {b64encode(blob).decode()}\n"


if __name__ == "__main__":
    main()
