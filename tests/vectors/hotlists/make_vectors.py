"""Writes the hotlist vectors beside itself: `python tests/vectors/hotlists/make_vectors.py`.

Signatures and seals draw random numbers, so a new run gives other bytes: the files are frozen and
made anew only when the format gets a new version. Keys are test-only and derived from the numbers
1 (signs lists), 2 (a watcher's log key) and 3 (a watcher's key in memory); plates are made up.

A vector is lines of `name: value`, the first is what must happen:

    holds     signature, columns and index are right; `plates` are those that it finds
    refused   the signature is not by the key, or what it signs is not in the format
"""

import struct
from hashlib import sha256
from pathlib import Path

import cbor2
import zstandard
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

FOLDER = Path(__file__).parent
LIST_KEY, WATCH_KEY, MEMORY_KEY = 1, 2, 3
START_MS = 1_790_000_000_000
Map = dict[int, object]


def private(number: int) -> ec.EllipticCurvePrivateKey:
    """Return a test-only key."""
    return ec.derive_private_key(number, ec.SECP256R1())


def spki(number: int) -> bytes:
    """Return its public half."""
    return (
        private(number)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def cbor(value: object) -> bytes:
    """Return deterministic CBOR."""
    return cbor2.dumps(value, canonical=True)


def sign(payload: bytes, domain: bytes, number: int = LIST_KEY) -> bytes:
    """Return [payload, key id, signature]."""
    signature = private(number).sign(domain + payload, ec.ECDSA(hashes.SHA256()))
    return cbor([payload, sha256(spki(number)).digest()[:8], signature])


def columns(**changes: bytes) -> list[bytes]:
    """Return the columns of two entries, packed; `changes` are named c0 to c6."""
    minute = START_MS // 60_000 + 10_000
    found = {
        "c0": b"3CEH915".ljust(16, b"\0") + b"7KXR482".ljust(16, b"\0"),
        "c1": b"\0\1",
        "c2": b"\1\0",
        "c3": struct.pack("<HH", 0, 1),
        "c4": struct.pack("<LL", minute, minute),
        "c5": struct.pack("<LL", 4, 11),
        "c6": b"26-926-0117",
    } | changes
    return [zstandard.compress(found[f"c{place}"]) for place in range(7)]


def payload(**changes: object) -> bytes:
    """Return the payload of a good list; `changes` are named k0 to k8."""
    fields: Map = {
        0: 1,
        1: 12,
        2: START_MS,
        3: START_MS + 86_400_000,
        4: 2,
        5: ["", "CA"],
        6: ["missing-person", "stolen-vehicle"],
        7: ["County Sheriff", "Police Department"],
        8: columns(),
    }
    return cbor(fields | {int(name[1:]): value for name, value in changes.items()})


def write(name: str, expect: str, signed: bytes, **lines: str) -> None:
    """Write one vector."""
    told = [f"expect: {expect}", f"list_spki: {spki(LIST_KEY).hex()}", f"list: {signed.hex()}"]
    told += [f"{key}: {value}" for key, value in lines.items()]
    (FOLDER / f"{name}.txt").write_text("\n".join(told) + "\n")


def write_lists() -> None:
    """Write lists that hold, with a request and its answer, and lists that do not."""
    domain = b"homeplate hotlist v1\n"
    good = sign(payload(), domain)
    request = cbor({0: 1, 1: "unit-0001", 2: bytes(range(16)), 3: spki(MEMORY_KEY), 4: START_MS})
    asked = sign(request, b"homeplate hotlist request v1\n", WATCH_KEY)
    name = sha256(asked).digest()
    suite = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    info = b"homeplate hotlist sealed v1\n" + name
    sealed = suite.encrypt(good, private(MEMORY_KEY).public_key(), info)
    write(
        "two_entries",
        "holds",
        good,
        plates="3CEH915 7KXR482",
        watch_spki=spki(WATCH_KEY).hex(),
        memory_key=f"{MEMORY_KEY:064x}",
        request=asked.hex(),
        sealed=cbor({0: 1, 1: name, 2: sealed}).hex(),
    )
    empty = [zstandard.compress(b"")] * 7
    nobody = payload(k4=0, k5=[], k6=[], k7=[], k8=empty)
    write("nobody", "holds", sign(nobody, domain), plates="")
    bad = {
        "format_two": payload(k0=2),
        "version_zero": payload(k1=0),
        "purpose_in_capitals": payload(k6=["MISSING", "STOLEN"]),
        "states_out_of_order": payload(k5=["CA", ""]),
        "agency_with_a_line_feed": payload(k7=["County\nSheriff", "Police Department"]),
        "more_entries_than_columns": payload(k4=3),
        "six_columns": payload(k8=columns()[:6]),
        "plates_out_of_order": payload(
            k8=columns(c0=b"7KXR482".ljust(16, b"\0") + b"3CEH915".ljust(16, b"\0"))
        ),
        "plate_in_small_letters": payload(
            k8=columns(c0=b"3CEH915".ljust(16, b"\0") + b"7kxr482".ljust(16, b"\0"))
        ),
        "purpose_without_a_text": payload(k8=columns(c2=b"\1\2")),
        "case_of_nothing": payload(k8=columns(c5=struct.pack("<LL", 0, 11))),
        "cases_longer_than_stated": payload(k8=columns(c6=b"26-926-0117x")),
        "entry_after_the_year_9999": payload(k8=columns(c4=b"\xff" * 8)),
        "column_is_a_bomb": payload(k8=columns(c0=bytes(100_000_000))),
    }
    for name_of, content in bad.items():
        write(name_of, "refused", sign(content, domain))
    write("signed_by_another_key", "refused", sign(payload(), domain, WATCH_KEY))
    write("signed_as_a_request", "refused", sign(payload(), b"homeplate hotlist request v1\n"))


if __name__ == "__main__":
    write_lists()
