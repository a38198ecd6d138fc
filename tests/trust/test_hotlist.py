"""The hotlist's container: signed by the right key, bounded before unpacking, sealed to one key."""

import tracemalloc

import cbor2
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.base.errors import CredentialError, IntegrityError
from agent.trust.cbor import encode_cbor
from agent.trust.hotlist import (
    COLUMN_BYTES,
    LIFE_LIMIT_MS,
    open_hotlist,
    open_request,
    peek_hotlist,
    require_current,
    require_entries,
    require_purposes,
    seal_hotlist,
    sign_hotlist,
    unpack_columns,
    unseal_hotlist,
)
from agent.trust.hotlist_entries import HotlistEntry, normalise_plate, sign_entries
from agent.trust.keys import generate_opener, generate_signer
from tests.lists import CITY_SIGNER, HOUR_MS, NOON_MS, entry, make_request, sign_list, terms

KEYS = (CITY_SIGNER.public_key,)
WATCHER = generate_signer()
SIGNED = sign_list("7KXR482", entry("3CEH915", state="", agency="County Sheriff"))


def forge(**changes):
    """Return a list signed by the right key whose payload is changed; keys are k0 to k8."""
    payload = cbor2.loads(cbor2.loads(SIGNED)[0])
    payload |= {int(name[1:]): value for name, value in changes.items()}
    return sign_payload(encode_cbor(payload))


def sign_payload(payload, signer=CITY_SIGNER):
    signature = signer.sign(b"homeplate hotlist v1\n" + payload)
    return encode_cbor([payload, signer.key_id, signature])


def test_what_was_signed_comes_back_in_order_and_once():
    twice = sign_list("7KXR482", "3CEH915", "7KXR482")
    head = open_hotlist(twice, KEYS)
    assert (head.version, head.count, head.states) == (1, 2, ("CA",))
    assert head.expires_ms - head.issued_ms == 24 * HOUR_MS
    columns = unpack_columns(head)
    assert columns.plates == b"3CEH915".ljust(16, b"\0") + b"7KXR482".ljust(16, b"\0")
    assert columns.cases == b"26-0117" * 2


plates = st.text("ABC0189", min_size=1, max_size=16)
entries = st.builds(
    HotlistEntry,
    plate=plates,
    state=st.sampled_from(["", "CA", "MX-BCN"]),
    purpose=st.sampled_from(["stolen-vehicle", "missing-person"]),
    agency=st.sampled_from(["County Sheriff", "Polícia"]),
    case=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=32),
    expires_minute=st.integers(0, 2**31),
)


@given(st.lists(entries, max_size=20))
@settings(deadline=None, max_examples=40)
def test_any_entries_come_back_from_their_columns(found):
    content, _ = sign_entries(CITY_SIGNER, found, terms())
    head = open_hotlist(content, KEYS)
    columns = unpack_columns(head)
    ends = [
        int.from_bytes(columns.case_ends[4 * n : 4 * n + 4], "little") for n in range(head.count)
    ]
    back = [
        HotlistEntry(
            plate=columns.plates[16 * n : 16 * n + 16].rstrip(b"\0").decode(),
            state=head.states[columns.states[n]],
            purpose=head.purposes[columns.purposes[n]],
            agency=head.agencies[int.from_bytes(columns.agencies[2 * n : 2 * n + 2], "little")],
            case=columns.cases[([0, *ends])[n] : ends[n]].decode(),
            expires_minute=int.from_bytes(columns.expiries[4 * n : 4 * n + 4], "little"),
        )
        for n in range(head.count)
    ]
    assert back == sorted(set(found))


@pytest.mark.parametrize("position", range(0, len(SIGNED) * 8, 7))
def test_any_flipped_bit_is_refused(position):
    content = bytearray(SIGNED)
    content[position // 8] ^= 1 << position % 8
    with pytest.raises(IntegrityError):
        open_hotlist(bytes(content), KEYS)


def test_a_list_of_another_signer_is_refused():
    other = sign_list("7KXR482", signer=generate_signer())
    with pytest.raises(IntegrityError, match="which the policy does not name"):
        open_hotlist(other, KEYS)
    assert peek_hotlist(other).count == 1  # who only carries it may look


def test_a_list_that_claims_the_key_id_of_another_is_refused():
    payload = cbor2.loads(SIGNED)[0]
    forged = encode_cbor([payload, CITY_SIGNER.key_id, generate_signer().sign(payload)])
    with pytest.raises(IntegrityError, match="signature"):
        open_hotlist(forged, KEYS)


def test_a_signature_for_something_else_is_none_for_a_list():
    payload = cbor2.loads(SIGNED)[0]
    forged = encode_cbor([payload, CITY_SIGNER.key_id, CITY_SIGNER.sign(payload)])
    with pytest.raises(IntegrityError, match="signature"):
        open_hotlist(forged, KEYS)


@pytest.mark.parametrize(
    "change",
    [
        {"k0": 2},
        {"k0": True},
        {"k1": 0},
        {"k1": "1"},
        {"k2": -1},
        {"k4": 1_500_001},
        {"k5": ["ca"]},
        {"k5": ["NV", "CA"]},
        {"k5": ["CA", "CA"]},
        {"k6": ["Immigration"]},
        {"k6": ["x" * 40]},
        {"k7": ["Police\u202edepartment"]},
        {"k7": ["Police\ndepartment"]},
        {"k7": [""]},
        {"k8": [b""] * 6},
        {"k8": b""},
        {"k9": 1},
    ],
    ids=str,
)
def test_a_payload_that_is_not_in_the_format_is_refused_whoever_signed_it(change):
    with pytest.raises(IntegrityError):
        open_hotlist(forge(**change), KEYS)


@pytest.mark.parametrize("column", range(7))
@pytest.mark.parametrize(
    "make",
    [
        lambda right: zstandard.compress(bytes(len(right) + 1)),
        lambda _: zstandard.compress(bytes(200_000_000)),
        lambda right: zstandard.ZstdCompressor(write_content_size=False).compress(right),
        lambda right: zstandard.compress(right) + b"\0",
        lambda right: zstandard.compress(right)[:-1],
        lambda _: b"no zstd",
    ],
    ids=["longer", "bomb", "size not stated", "more behind it", "cut", "nothing of it"],
)
def test_a_column_of_another_size_is_refused_before_it_is_unpacked(column, make):
    head = open_hotlist(SIGNED, KEYS)
    right = unpack_columns(head)
    names = (*COLUMN_BYTES, "cases")
    columns = list(head.columns)
    columns[column] = make(getattr(right, names[column]))
    bad = open_hotlist(forge(k8=columns), KEYS)
    tracemalloc.start()
    with pytest.raises(IntegrityError):
        unpack_columns(bad)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 10_000_000


def test_case_numbers_that_claim_too_much_room_are_refused():
    head = open_hotlist(SIGNED, KEYS)
    columns = list(head.columns)
    columns[5] = zstandard.compress(b"\xff" * 8)
    with pytest.raises(IntegrityError, match="bytes of case numbers"):
        unpack_columns(open_hotlist(forge(k8=columns), KEYS))


def test_too_large_a_list_is_neither_signed_nor_read():
    head = open_hotlist(SIGNED, KEYS)
    fields = {name: getattr(head, name) for name in head.__slots__} | {
        "columns": (bytes(6_000_000),) * 7
    }
    with pytest.raises(IntegrityError, match="expected at most"):
        sign_hotlist(CITY_SIGNER, type(head)(**fields))
    with pytest.raises(IntegrityError, match="expected at most"):
        open_hotlist(bytes(40_000_000), KEYS)


@pytest.mark.parametrize(
    ("life_ms", "later_ms", "words"),
    [
        (24 * HOUR_MS, 24 * HOUR_MS, "has expired"),
        (LIFE_LIMIT_MS + 1, 0, "another life"),
        (-1, -2, "another life"),
    ],
    ids=["expired", "for ever", "ends before it begins"],
)
def test_a_list_that_may_not_be_used_now_is_refused(life_ms, later_ms, words):
    head = open_hotlist(sign_list("7KXR482", life_ms=life_ms), KEYS)
    with pytest.raises(IntegrityError, match=words):
        require_current(head, now_ms=NOON_MS + later_ms)


def test_a_purpose_that_the_policy_does_not_know_makes_the_list_unusable():
    head = open_hotlist(SIGNED, KEYS)
    assert require_purposes(head, ["missing-person", "stolen-vehicle"]) is head
    with pytest.raises(IntegrityError, match="the purpose stolen-vehicle is not in the policy"):
        require_purposes(head, ["missing-person"])


def test_more_entries_than_the_policy_allows_make_the_list_unusable():
    head = open_hotlist(sign_list("7KXR482", "3CEH915"), KEYS)
    assert require_entries(head, 2) is head
    with pytest.raises(IntegrityError, match="2 entries; the policy allows 1"):
        require_entries(head, 1)


def test_a_sealed_list_opens_with_the_key_that_asked_and_with_no_other():
    request, opener = make_request(WATCHER)
    sealed = seal_hotlist(SIGNED, request, opener.public_key)
    assert unseal_hotlist(sealed, request, opener) == SIGNED
    with pytest.raises(IntegrityError, match="does not open"):
        unseal_hotlist(sealed, request, generate_opener())
    later, again = make_request(WATCHER)
    with pytest.raises(CredentialError, match="another start"):
        unseal_hotlist(sealed, later, again)


def test_any_flipped_bit_of_a_sealed_list_is_refused():
    request, opener = make_request(WATCHER)
    sealed = seal_hotlist(SIGNED, request, opener.public_key)
    for position in range(0, len(sealed) * 8, 29):
        content = bytearray(sealed)
        content[position // 8] ^= 1 << position % 8
        with pytest.raises((IntegrityError, CredentialError)):
            unseal_hotlist(bytes(content), request, opener)


def test_a_sealed_list_shows_no_plate():
    request, opener = make_request(WATCHER)
    assert b"7KXR482" not in seal_hotlist(SIGNED, request, opener.public_key)


def test_a_request_says_who_asks_and_is_signed_by_the_log_key():
    request, opener = make_request(WATCHER)
    found = open_request(request, WATCHER.public_key)
    assert (found.unit, found.made_ms, found.key) == ("unit-a", NOON_MS, opener.public_key)
    with pytest.raises(IntegrityError, match="not enrolled"):
        open_request(request, generate_signer().public_key)
    with pytest.raises(IntegrityError):
        open_request(bytes(5000), WATCHER.public_key)


@pytest.mark.parametrize(
    "change", [{1: "../unit"}, {2: b""}, {3: b"no key"}, {4: -1}, {5: 1}, {0: 2}]
)
def test_a_request_that_is_not_in_the_format_is_refused(change):
    request, _ = make_request(WATCHER)
    payload = encode_cbor(cbor2.loads(cbor2.loads(request)[0]) | change)
    signature = WATCHER.sign(b"homeplate hotlist request v1\n" + payload)
    with pytest.raises(IntegrityError):
        open_request(encode_cbor([payload, WATCHER.key_id, signature]), WATCHER.public_key)


def test_any_flipped_bit_of_a_request_is_refused():
    request, _ = make_request(WATCHER)
    for position in range(len(request) * 8):
        content = bytearray(request)
        content[position // 8] ^= 1 << position % 8
        with pytest.raises(IntegrityError):
            open_request(bytes(content), WATCHER.public_key)


@pytest.mark.parametrize(
    ("text", "plate"),
    [(" 7kxr-482 ", "7KXR482"), ("3 CEH.915", "3CEH915"), ("o0o0", "O0O0")],
)
def test_plates_have_one_spelling_and_no_sign_becomes_another(text, plate):
    assert normalise_plate(text) == plate


@pytest.mark.parametrize(
    "text", ["", "-", "7KX*482", "7KXR48Ä", "A" * 17, "ß", "7KX\u0131482", "7KX\n482"]
)
def test_what_is_no_plate_is_refused_without_being_quoted(text):
    with pytest.raises(IntegrityError, match="found no plate") as caught:
        normalise_plate(text)
    assert "7KX" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [{"case": ""}, {"case": "x" * 33}, {"case": "é"}, {"expires_minute": -1}, {"state": "ca"}],
    ids=str,
)
def test_an_entry_that_the_format_cannot_hold_is_not_signed(change):
    with pytest.raises(IntegrityError) as caught:
        sign_list(entry("7KXR482", **change))
    assert "7KXR482" not in str(caught.value)


def test_columns_hide_their_plates():
    head = open_hotlist(SIGNED, KEYS)
    shown = repr(head) + repr(unpack_columns(head))
    assert "7KXR482" not in shown
