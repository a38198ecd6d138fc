"""A second opener, written from deploy/docs/formats.md with pyhpke: shares no code with agent/."""

import re
import struct
from hashlib import sha256

import cbor2
import zstandard
from cryptography.hazmat.primitives.asymmetric import ec
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey, PyHPKEError

SUITE = CipherSuite.new(KEMId.DHKEM_P256_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES256_GCM)


class RefusedError(Exception):
    """The frame is not one to open with this key."""


def require(condition, what):
    if not condition:
        raise RefusedError(what)


def crc32c(content):
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 & -(crc & 1))
    return crc ^ 0xFFFFFFFF


def decode(content):
    try:
        value = cbor2.loads(content)
    except cbor2.CBORError as error:
        raise RefusedError from error
    require(cbor2.dumps(value, canonical=True) == content, "spelling")
    return value


def number(value, limit):
    return type(value) is int and 0 <= value < limit


def check_header(header):
    year_10000 = 253_402_300_800_000
    require(isinstance(header, dict) and list(header) == list(range(13)), "keys")
    require(type(header[0]) is int and header[0] == 1, "version")
    require(isinstance(header[1], str) and isinstance(header[3], str), "texts")
    require(re.fullmatch("[a-z0-9][a-z0-9-]{0,62}", header[3]), "unit")
    for key, size in {2: 8, 4: 16, 10: 32, 11: 32, 12: 32}.items():
        require(type(header[key]) is bytes and len(header[key]) == size, f"key {key}")
    require(number(header[5], 3), "lane")
    require(number(header[6], 2**63) and number(header[7], 2**63), "sequences")
    require(number(header[8], year_10000) and number(header[9], year_10000), "times")
    require(0 <= header[7] - header[6] < 4096 and header[8] <= header[9], "order")


def split(frame):
    require(len(frame) >= 12, "prefix")
    magic, version, zero, header_size, sealed_size = struct.unpack("<4sBBHL", frame[:12])
    require((magic, version, zero) == (b"\x89HPF", 1, 0), "magic")
    require(1 <= header_size <= 4096 and 1 <= sealed_size <= 8_388_608, "lengths")
    require(len(frame) == 20 + header_size + sealed_size, "length")
    middle = 12 + header_size
    head_crc, tail_crc = frame[middle : middle + 4], frame[-4:]
    sealed = frame[middle + 4 : -4]
    require(struct.pack("<L", crc32c(frame[:middle])) == head_crc, "header checksum")
    require(struct.pack("<L", crc32c(sealed)) == tail_crc, "sealed checksum")
    return frame[12:middle], sealed


def check_place(item):
    require(type(item) is list and len(item) == 4, "place")
    require(all(type(value) is int for value in item), "place")
    require(abs(item[0]) <= 900_000_000 and abs(item[1]) <= 1_800_000_000, "globe")
    require(number(item[2], 2**31) and number(item[3], 253_402_300_800_000), "error, time")


def check_read(read):
    require(isinstance(read, dict) and list(read) in (list(range(12)), list(range(13))), "read")
    if 12 in read:
        check_place(read[12])
    require(isinstance(read[1], str) and re.fullmatch("[A-Z0-9]{0,16}", read[1]), "text")
    require(type(read[2]) is bytes and len(read[2]) == len(read[1]), "confidences")
    require(type(read[3]) is bool, "abstained")
    require(number(read[10], 5), "direction")
    require(type(read[11]) is list and len(read[11]) == 8, "corners")
    require(all(type(value) is int for value in read[11]), "corners")


def check_crop(crop):
    require(isinstance(crop, dict) and list(crop) == list(range(5)), "crop")
    require(number(crop[1], 2) and type(crop[4]) is bytes, "crop fields")


def check_hit(item):
    require(isinstance(item, dict), "item of the lane hits")
    if len(item) == 8:
        require(list(item) == list(range(8)), "end")
        require(number(item[1], item[0]) and type(item[2]) is bool, "end fields")
        require(all(number(item[key], 2**63) for key in (3, 4, 6)), "end numbers")
        require(number(item[5], 253_402_300_800_000) and number(item[7], 5), "end numbers")
        return
    require(list(item) in (list(range(19)), list(range(20))), "alert")
    if 19 in item:
        check_place(item[19])
    check_read({key: item[key] for key in range(12)})
    require(item[12] == "LEAD ONLY - verify plate, state and vehicle", "words")
    require(number(item[13], 2**63) and type(item[16]) is bool, "alert fields")
    require(number(item[14], 253_402_300_800_000), "time of the list")
    require(number(item[15], 253_402_300_800_000), "time of the match")
    require(type(item[17]) is list and 1 <= len(item[17]) <= 16, "entries")
    for match in item[17]:
        require(type(match) is list and len(match) == 5, "entry")
        texts = [isinstance(text, str) and text.isprintable() for text in match[:4]]
        require(all(texts) and max(map(len, match[:4])) <= 64, "texts of an entry")
        require(number(match[4], 253_402_300_800_000), "end of an entry")
    require(type(item[18]) is bytes, "picture")


def contents(plaintext, header):
    key = (3, 1, 2)[header[5]]
    try:
        size = zstandard.get_frame_parameters(plaintext).content_size
        require(0 < size <= 16_777_216, "size")
        value = decode(zstandard.ZstdDecompressor().decompress(plaintext, allow_extra_data=False))
    except zstandard.ZstdError as error:
        raise RefusedError from error
    require(isinstance(value, dict) and list(value) == [0, key], "contents")
    require(type(value[0]) is int and value[0] == 1, "version")
    require(type(value[key]) is list, "items")
    for item in value[key]:
        {1: check_read, 2: check_crop, 3: check_hit}[key](item)
    require([item[0] for item in value[key]] == list(range(header[6], header[7] + 1)), "sequences")
    return value


def open_frame(frame, scalar):
    """Return the plain text of a frame and what is in it, or raise RefusedError."""
    info, sealed = split(frame)
    header = decode(info)
    check_header(header)
    private = ec.derive_private_key(scalar, ec.SECP256R1())
    point = private.public_key().public_numbers()
    body = b"\x04" + point.x.to_bytes(32, "big") + point.y.to_bytes(32, "big")
    spki = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + body
    require(header[1] == "P256-HKDF-SHA256-AES256GCM", "suite")
    require(header[2] == sha256(spki).digest()[:8], "key")
    require(len(sealed) >= 81, "too short")
    try:
        context = SUITE.create_recipient_context(
            sealed[:65], KEMKey.from_pyca_cryptography_key(private), info=info
        )
        plaintext = context.open(sealed[65:])
    except (PyHPKEError, ValueError) as error:
        raise RefusedError from error
    return plaintext, contents(plaintext, header)
