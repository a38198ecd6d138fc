"""Writes the frame vectors beside itself: `python tests/vectors/frames/make_vectors.py`.

Each seal draws a fresh ephemeral key, so a new run gives other bytes: the files are frozen and
made anew only when the format gets a new version. Keys are test-only and derived from the numbers
1 and 2; plates are made up.

A vector is lines of `name: value`, the first is what must happen:

    opens               parses, opens, decodes; `plaintext` is what is inside
    no frame            refused while parsing
    does not open       parses; HPKE refuses
    other key           parses; sealed to another key or with another suite
    bad contents        parses and opens; the plain text is refused
"""

import struct
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import cbor2
import google_crc32c
import zstandard
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

FOLDER = Path(__file__).parent
TEST_ONLY_KEY = 1
OTHER_TEST_ONLY_KEY = 2
SUITE = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
PUBLIC = ec.derive_private_key(TEST_ONLY_KEY, ec.SECP256R1()).public_key()
KEY_ID = sha256(
    PUBLIC.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
).digest()[:8]
START_MS = 1_790_000_000_000

Map = dict[int, object]


def header_map(**changes: object) -> Map:
    """Return a good header; `changes` are named k0 to k12."""
    fields: Map = {
        0: 1,
        1: "P256-HKDF-SHA256-AES256GCM",
        2: KEY_ID,
        3: "test-unit-1",
        4: bytes(range(16)),
        5: 1,
        6: 0,
        7: 0,
        8: START_MS,
        9: START_MS,
        10: sha256(b"test policy").digest(),
        11: sha256(b"test models").digest(),
        12: bytes(32),
    }
    return fields | {int(name[1:]): value for name, value in changes.items()}


def read_map(sequence: int = 0, **changes: object) -> Map:
    """Return a good read; `changes` are named k0 to k11."""
    text = f"TEST{sequence % 1000:03d}"
    fields: Map = {
        0: sequence,
        1: text,
        2: bytes(255 - 3 * i for i in range(len(text))),
        3: False,
        4: 24,
        5: 19,
        6: START_MS - 900,
        7: START_MS,
        8: 100,
        9: 127,
        10: 0,
        11: [1600, 800, 2040, 804, 2040, 910, 1600, 905],
    }
    return fields | {int(name[1:]): value for name, value in changes.items()}


def crop_map(sequence: int = 0, jpeg: bytes = b"\xff\xd8 made up \xff\xd9") -> Map:
    """Return a good crop."""
    return {0: sequence, 1: 1, 2: sequence + 5, 3: START_MS, 4: jpeg}


def alert_map(sequence: int = 0, **changes: object) -> Map:
    """Return a good alert; `changes` are named k0 to k18."""
    fields = read_map(sequence) | {
        12: "LEAD ONLY - verify plate, state and vehicle",
        13: 7,
        14: START_MS - 3_600_000,
        15: START_MS - 400,
        16: False,
        17: [["CA", "stolen-vehicle", "Police Department", "26-0117", START_MS + 86_400_000]],
        18: b"\xff\xd8 made up \xff\xd9",
    }
    return fields | {int(name[1:]): value for name, value in changes.items()}


def end_map(sequence: int = 1, **changes: object) -> Map:
    """Return a good end; `changes` are named k0 to k7."""
    fields: Map = {0: sequence, 1: 0, 2: True, 3: 60, 4: 41, 5: START_MS + 1500, 6: 172, 7: 0}
    return fields | {int(name[1:]): value for name, value in changes.items()}


def cbor(value: object) -> bytes:
    """Return deterministic CBOR."""
    return cbor2.dumps(value, canonical=True)


def zstd(content: bytes, *, states_size: bool = True) -> bytes:
    """Return one zstd frame."""
    return zstandard.ZstdCompressor(level=3, write_content_size=states_size).compress(content)


def reads_text(*reads: Map) -> bytes:
    """Return the plain text of reads."""
    return zstd(cbor({0: 1, 1: list(reads)}))


def crops_text(*crops: Map) -> bytes:
    """Return the plain text of crops."""
    return zstd(cbor({0: 1, 2: list(crops)}))


def hits_text(*items: Map) -> bytes:
    """Return the plain text of alerts and ends."""
    return zstd(cbor({0: 1, 3: list(items)}))


def crc(content: bytes) -> bytes:
    """Return the CRC32C as it is stored."""
    return struct.pack("<L", google_crc32c.value(content))


def build(header: bytes, sealed: bytes, *, prefix: bytes | None = None) -> bytes:
    """Return a frame with correct checksums around any bytes."""
    prefix = prefix or b"\x89HPF" + struct.pack("<BBHL", 1, 0, len(header), len(sealed))
    return prefix + header + crc(prefix + header) + sealed + crc(sealed)


def seal(header: bytes, plaintext: bytes) -> bytes:
    """Return `enc || ct`."""
    return SUITE.encrypt(plaintext, PUBLIC, header)


def sealed_frame(header: Map, plaintext: bytes) -> bytes:
    """Return a frame that opens."""
    return build(cbor(header), seal(cbor(header), plaintext))


def changed(content: bytes, offset: int, value: int) -> bytes:
    """Return `content` with one byte set."""
    return content[:offset] + bytes([value]) + content[offset + 1 :]


def write(name: str, expect: str, frame: bytes, plaintext: bytes | None = None) -> None:
    """Write one vector."""
    lines = [f"expect: {expect}", f"test_only_key: {TEST_ONLY_KEY:064x}", f"frame: {frame.hex()}"]
    lines += [] if plaintext is None else [f"plaintext: {plaintext.hex()}"]
    (FOLDER / f"{name}.txt").write_text("\n".join(lines) + "\n")


def write_good() -> None:
    """Write the vectors that open."""
    first = sealed_frame(header_map(), reads_text(read_map()))
    cases: dict[str, tuple[Map, bytes]] = {
        "thirty_reads": (
            header_map(k6=1, k7=30, k12=sha256(first).digest()),
            reads_text(*(read_map(i) for i in range(1, 31))),
        ),
        "two_crops": (header_map(k5=2, k7=1), crops_text(crop_map(0), crop_map(1))),
        "unreadable": (header_map(), reads_text(read_map(k1="", k2=b"", k3=True))),
        "plate_of_sixteen": (
            header_map(),
            reads_text(read_map(k1="ABCDEFGH01234567", k2=bytes(16))),
        ),
        "corners_outside_the_frame": (
            header_map(),
            reads_text(read_map(k10=4, k11=[-9, -1, 40, 0, 40, 80, -8, 80])),
        ),
        "highest_sequences": (
            header_map(k6=2**63 - 2, k7=2**63 - 1),
            reads_text(read_map(2**63 - 2), read_map(2**63 - 1)),
        ),
        "longest_unit_name": (header_map(k3="u" * 63), reads_text(read_map())),
    }
    write("one_read", "opens", first, reads_text(read_map()))
    for name, (header, plaintext) in cases.items():
        write(name, "opens", sealed_frame(header, plaintext), plaintext)


def write_no_frames() -> None:
    """Write the vectors that do not parse."""
    header = cbor(header_map())
    sealed = seal(header, reads_text(read_map()))
    frame = build(header, sealed)
    reordered = b"\xad" + header[3:] + header[1:3]
    cases: dict[str, bytes] = {
        "other_magic": build(header, sealed, prefix=b"\x89HPX" + frame[4:12]),
        "version_two": build(header, sealed, prefix=changed(frame[:12], 4, 2)),
        "reserved_byte_set": build(header, sealed, prefix=changed(frame[:12], 5, 1)),
        "header_checksum_differs": changed(frame, 12 + len(header), frame[12 + len(header)] ^ 1),
        "sealed_checksum_differs": changed(frame, len(frame) - 1, frame[-1] ^ 0x80),
        "sealed_bit_flipped": changed(frame, 300, frame[300] ^ 4),
        "one_byte_short": frame[:-1],
        "one_byte_long": frame + b"\0",
        "prefix_only": frame[:12],
        "nothing": b"",
        "no_header": build(b"", sealed),
        "nothing_sealed": build(header, b""),
        "sealed_length_too_large": build(
            header, sealed, prefix=frame[:8] + struct.pack("<L", 8_388_609)
        ),
        "header_keys_out_of_order": build(reordered, sealed),
        "header_of_indefinite_length": build(b"\xbf" + header[1:] + b"\xff", sealed),
        "header_with_bytes_after_it": build(header + b"\0", sealed),
        "header_with_a_long_number": build(header[:2] + b"\x18\x01" + header[3:], sealed),
        "header_with_a_tag": build(b"\xc0" + header, sealed),
        "header_is_a_list": build(cbor(list(header_map().values())), sealed),
    }
    for name, content in cases.items():
        write(name, "no frame", content)
    for name, fields in bad_headers().items():
        write(name, "no frame", sealed_frame(fields, reads_text(read_map())))


def bad_headers() -> dict[str, Map]:
    """Return headers in the right spelling with wrong fields."""
    missing = header_map()
    del missing[12]
    return {
        "header_without_previous_hash": missing,
        "header_with_another_key": header_map(k13=0),
        "header_version_two": header_map(k0=2),
        "header_version_is_true": header_map(k0=True),
        "lane_three": header_map(k5=3),
        "sequences_run_back": header_map(k6=1),
        "times_run_back": header_map(k8=START_MS + 1),
        "time_below_zero": header_map(k8=-1),
        "time_after_year_9999": header_map(k9=253_402_300_800_000),
        "too_many_reads": header_map(k7=4096),
        "unit_in_capitals": header_map(k3="UNIT"),
        "unit_with_a_path": header_map(k3="../x"),
        "short_boot": header_map(k4=bytes(15)),
        "key_id_is_text": header_map(k2="12345678"),
    }


def write_unopenable() -> None:
    """Write the vectors that parse and do not open."""
    header = cbor(header_map())
    sealed = seal(header, reads_text(read_map()))
    other = seal(cbor(header_map(k5=0)), reads_text(read_map()))
    off_curve = b"\x04" + bytes(63) + b"\x07" + sealed[65:]
    cases: dict[str, bytes] = {
        "unit_changed": build(cbor(header_map(k3="test-unit-2")), sealed),
        "time_changed": build(cbor(header_map(k8=START_MS - 1)), sealed),
        "previous_hash_changed": build(cbor(header_map(k12=bytes(31) + b"\1")), sealed),
        "sealed_bytes_of_another_frame": build(header, other),
        "ciphertext_changed": build(header, changed(sealed, 70, sealed[70] ^ 1)),
        "tag_changed": build(header, changed(sealed, len(sealed) - 1, sealed[-1] ^ 1)),
        "ephemeral_key_changed": build(header, changed(sealed, 64, sealed[64] ^ 1)),
        "ephemeral_key_not_on_the_curve": build(header, off_curve),
        "ephemeral_key_compressed": build(header, b"\x02" + sealed[1:]),
        "sealed_bytes_too_few": build(header, sealed[:70]),
        "one_sealed_byte": build(header, sealed[:1]),
    }
    for name, content in cases.items():
        write(name, "does not open", content)
    elsewhere = ec.derive_private_key(OTHER_TEST_ONLY_KEY, ec.SECP256R1()).public_key()
    foreign = cbor(header_map(k2=bytes(8)))
    stranger = SUITE.encrypt(reads_text(read_map()), elsewhere, foreign)
    write("sealed_to_another_key", "other key", build(foreign, stranger))
    unknown = cbor(header_map(k1="X25519-HKDF-SHA256-CHACHA20POLY1305"))
    write("unknown_suite", "other key", build(unknown, seal(unknown, reads_text(read_map()))))
    hidden = SUITE.encrypt(reads_text(read_map()), elsewhere, header)
    write("another_key_under_our_key_id", "does not open", build(header, hidden))


def write_bad_contents() -> None:
    """Write the vectors that open and hold something else than the format says."""
    good = cbor({0: 1, 1: [read_map()]})
    cases: dict[str, bytes] = {
        "contents_not_zstd": b"not zstd",
        "contents_empty": b"",
        "contents_of_unknown_size": zstd(good, states_size=False),
        "contents_with_bytes_after_them": zstd(good) + b"\0",
        "contents_cut": zstd(good)[:-3],
        "contents_bomb": zstd(bytes(16_777_217)),
        "contents_not_cbor": zstd(b"\xff"),
        "contents_in_another_spelling": zstd(b"\xbf" + good[1:] + b"\xff"),
        "contents_version_two": zstd(cbor({0: 2, 1: [read_map()]})),
        "contents_version_is_true": zstd(cbor({0: True, 1: [read_map()]})),
        "contents_without_items": zstd(cbor({0: 1})),
        "contents_items_no_list": zstd(cbor({0: 1, 1: {}})),
        "crops_in_the_lane_reads": crops_text(crop_map()),
    }
    bad_reads: dict[str, Map] = {
        "text_in_small_letters": read_map(k1="test000"),
        "text_of_seventeen": read_map(k1="A" * 17, k2=bytes(17)),
        "text_with_an_escape": read_map(k1="\x1b[2J", k2=bytes(4)),
        "confidences_too_few": read_map(k2=b"\1"),
        "abstained_is_a_number": read_map(k3=0),
        "unknown_direction": read_map(k10=5),
        "three_corners": read_map(k11=[0] * 6),
        "corner_is_a_fraction": read_map(k11=[0.5] + [0] * 7),
        "other_sequence_than_stated": read_map(1),
        "read_with_another_key": read_map(k12=0),
    }
    cases |= {name: reads_text(read) for name, read in bad_reads.items()}
    cases["fewer_items_than_stated"] = reads_text()
    for name, plaintext in cases.items():
        write(name, "bad contents", sealed_frame(header_map(), plaintext))
    stranger = crops_text(crop_map() | {1: 2})
    write("crop_of_a_crop", "bad contents", sealed_frame(header_map(k5=2), stranger))


def write_hits() -> None:
    """Write the vectors of the lane hits."""
    lane = {"k5": 0}
    two = [["", "missing-person", "County Sheriff", "26-9", START_MS]] * 2
    good = {
        "alert": hits_text(alert_map()),
        "alert_of_a_passage_that_is_over": hits_text(alert_map(k16=True, k18=b"")),
        "alert_for_two_entries": hits_text(alert_map(k17=two)),
    }
    for name, plaintext in good.items():
        write(name, "opens", sealed_frame(header_map(**lane), plaintext), plaintext)
    both = hits_text(alert_map(), end_map(k2=False))
    write("alert_and_its_end", "opens", sealed_frame(header_map(**lane, k7=1), both), both)
    match = ["CA", "stolen-vehicle", "Police Department", "26-0117", START_MS]
    bad = {
        "reads_in_the_lane_hits": reads_text(read_map()),
        "alert_without_the_words": hits_text(alert_map(k12="STOP THIS VEHICLE")),
        "alert_without_an_entry": hits_text(alert_map(k17=[])),
        "alert_for_seventeen_entries": hits_text(alert_map(k17=[match] * 17)),
        "alert_with_an_escape": hits_text(alert_map(k17=[["CA", "\x1b[2J", *match[2:]]])),
        "alert_for_an_entry_without_a_case": hits_text(alert_map(k17=[match[:3] + match[4:]])),
        "alert_whose_picture_is_text": hits_text(alert_map(k18="picture")),
        "alert_with_another_key": hits_text(alert_map(k19=0)),
        "end_of_itself": hits_text(end_map(0, k1=0)),
        "end_with_a_plate": hits_text(end_map(0) | {8: "TEST000"}),
    }
    for name, plaintext in bad.items():
        write(name, "bad contents", sealed_frame(header_map(**lane), plaintext))


WRITERS: tuple[Callable[[], None], ...] = (
    write_good,
    write_no_frames,
    write_unopenable,
    write_bad_contents,
    write_hits,
)

if __name__ == "__main__":
    for writer in WRITERS:
        writer()
