"""A policy is read strictly; each slip stops the start and names its path."""

import base64
import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from agent.base.errors import ConfigError
from agent.base.lanes import Lane
from agent.trust.keys import generate_opener, generate_signer
from agent.trust.policy import (
    POLICY_LIMIT_BYTES,
    city_key,
    parse_policy,
    quota_bytes,
    receipt_keys,
    retention_s,
    spki_pins,
)
from agent.trust.terms import PURPOSES, Legal

REMOVED = object()


def text64(content):
    return base64.b64encode(content).decode()


def certificate():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(start).not_valid_after(start + timedelta(days=900))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


CITY = generate_opener()
RECEIPTS = (generate_signer(), generate_signer())
CA = certificate()
PIN, SPARE = (text64(sha256(key).digest()) for key in (b"server key", b"spare key"))
P384 = ec.generate_private_key(ec.SECP384R1()).public_key()
GOOD = {
    "version": 3,
    "city": "Testville",
    "issued_at": "2026-11-01T00:00:00Z",
    "expires_at": "2027-11-01T00:00:00+00:00",
    "endpoint": {
        "addresses": ["192.0.2.7", "2001:db8::7", "127.0.0.1"],
        "port": 8443,
        "server_name": "reads.testville.example",
        "ca_pem": CA,
        "spki_pins": [PIN, SPARE],
    },
    "sealing": {
        "suite": "P256-HKDF-SHA256-AES256GCM",
        "public_key": text64(CITY.public_spki),
    },
    "receipt_keys": [text64(signer.public_spki) for signer in RECEIPTS],
    "mode": "all",
    "crops": "hits",
    "purposes": ["stolen-vehicle", "missing-person"],
    "min_hit_confidence": 0.9,
    "min_hit_frames": 3,
    "retention": {"hits": "30d", "reads": "nh-3min", "crops": "24h"},
    "quota": {"hits_bytes": 10_000_000, "reads_bytes": 20_000_000, "crops_bytes": 65_536},
    "units": ["unit-0001"],
    "legal": dict.fromkeys(Legal.__struct_fields__, "As the council decided."),
}


def changed(path, value):
    """GOOD with the field at `path` set or removed."""
    policy = json.loads(json.dumps(GOOD))
    *parents, last = path.split(".")
    place = policy
    for name in parents:
        place = place[name]
    if value is REMOVED:
        del place[last]
    else:
        place[last] = value
    return json.dumps(policy).encode()


def parse(content=None):
    return parse_policy(content or json.dumps(GOOD).encode(), place="policy.json")


WRONG = {
    "unknown field": ("share_with", "others", "share_with"),
    "unknown field within": ("endpoint.dns", "x", r"\$\.endpoint"),
    "field missing": ("mode", REMOVED, "mode"),
    "field missing within": ("quota.hits_bytes", REMOVED, r"\$\.quota"),
    "wrong type": ("version", "3", r"\$\.version"),
    "version zero": ("version", 0, r"\$\.version"),
    "no city": ("city", "", r"\$\.city"),
    "time without zone": ("issued_at", "2026-11-01T00:00:00", r"\$\.issued_at"),
    "no time": ("expires_at", "tomorrow", r"\$\.expires_at"),
    "expires before issue": ("expires_at", "2026-10-01T00:00:00Z", r"\$\.expires_at"),
    "name for an address": ("endpoint.addresses", ["city.example"], r"addresses\[0\].*literal IP"),
    "no address": ("endpoint.addresses", [], r"\$\.endpoint\.addresses"),
    "five addresses": (
        "endpoint.addresses",
        [f"192.0.2.{i}" for i in range(5)],
        r"\$\.endpoint\.addresses",
    ),
    "address twice": ("endpoint.addresses", ["192.0.2.1"] * 2, "addresses: the same value"),
    "address with a port": ("endpoint.addresses", ["192.0.2.1:443"], r"addresses\[0\]"),
    "address range": ("endpoint.addresses", ["192.0.2.0/24"], r"addresses\[0\]"),
    "address with a zone": ("endpoint.addresses", ["fe80::1%eth0"], r"addresses\[0\].*one host"),
    "address in long form": ("endpoint.addresses", ["2001:0db8::1"], r"addresses\[0\].*usual"),
    "mapped address": ("endpoint.addresses", ["::ffff:192.0.2.1"], r"addresses\[0\].*one host"),
    "any address": ("endpoint.addresses", ["192.0.2.1", "0.0.0.0"], r"addresses\[1\]"),  # noqa: S104
    "any address of 6": ("endpoint.addresses", ["::"], r"addresses\[0\]"),
    "multicast": ("endpoint.addresses", ["224.0.0.1"], r"addresses\[0\]"),
    "broadcast": ("endpoint.addresses", ["255.255.255.255"], r"addresses\[0\]"),
    "port zero": ("endpoint.port", 0, r"\$\.endpoint\.port"),
    "server name with a star": ("endpoint.server_name", "*.example", "server_name"),
    "server name empty": ("endpoint.server_name", "", "server_name"),
    "ca garbage": ("endpoint.ca_pem", "garbage", r"\$\.endpoint\.ca_pem"),
    "ca broken": (
        "endpoint.ca_pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        r"\$\.endpoint\.ca_pem",
    ),
    "nine cas": ("endpoint.ca_pem", CA * 9, "found 9 certificates"),
    "no pin": ("endpoint.spki_pins", [], "spki_pins"),
    "no spare pin": ("endpoint.spki_pins", [PIN], "spki_pins"),
    "pin no base64": ("endpoint.spki_pins", ["***", PIN], r"spki_pins\[0\]: not base64"),
    "pin in other letters": ("endpoint.spki_pins", ["é", PIN], r"spki_pins\[0\]: not base64"),
    "pin too short": ("endpoint.spki_pins", [PIN, text64(bytes(20))], r"spki_pins\[1\]: found 20"),
    "pin twice": ("endpoint.spki_pins", [PIN, PIN], "spki_pins: the same value"),
    "pin spelled otherwise": ("endpoint.spki_pins", [SPARE, PIN[:-2] + "B="], "base64|spki_pins"),
    "wrong suite": ("sealing.suite", "X25519", r"\$\.sealing\.suite"),
    "sealing key garbage": ("sealing.public_key", "AAAA", r"\$\.sealing\.public_key"),
    "sealing key on another curve": (
        "sealing.public_key",
        text64(P384.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
        r"\$\.sealing\.public_key: found a key on the curve secp384r1",
    ),
    "no receipt key": ("receipt_keys", [], r"\$\.receipt_keys"),
    "receipt key garbage": ("receipt_keys", ["AAAA"], r"\$\.receipt_keys\[0\]"),
    "sealing key signs receipts": ("receipt_keys", [text64(CITY.public_spki)], "receipt_keys"),
    "unknown mode": ("mode", "everything", r"\$\.mode"),
    "unknown crops": ("crops", "some", r"\$\.crops"),
    "confidence over one": ("min_hit_confidence", 1.5, r"\$\.min_hit_confidence"),
    "no entries": ("hotlist_entries", 0, r"\$\.hotlist_entries"),
    "more entries than a list can have": ("hotlist_entries", 1_500_001, r"\$\.hotlist_entries"),
    "no frames": ("min_hit_frames", 0, r"\$\.min_hit_frames"),
    "unknown retention": ("retention.reads", "forever", r"\$\.retention\.reads"),
    "no purpose": ("purposes", [], r"\$\.purposes"),
    "purpose twice": ("purposes", 2 * ["stolen-plate"], r"\$\.purposes"),
    "purpose of its own": (
        "purposes",
        ["stolen-vehicle", "civil-warrant"],
        r"purposes\[1\]: found 'civil-warrant'; expected one of stolen-vehicle, ",
    ),
    "purpose removal": ("purposes", ["removal"], r"purposes\[0\]: found 'removal'"),
    "purpose in capitals": ("purposes", ["Stolen-Vehicle"], r"purposes\[0\]: found"),
    "purpose with words of its own": (
        "purposes",
        [{"code": "stolen-vehicle", "title": "Removal of aliens"}],
        r"\$\.purposes\[",
    ),
    "escape sequence": ("city", "Test\x1b[2Jville", r"\$\.city: found a control character"),
    "escape in one character": ("legal.monitoring", "a\x9b2Jb", r"\$\.legal\.monitoring: found"),
    "second line": ("legal.monitoring", "a\nretention of reads: 1 day", r"\$\.legal\.monitoring"),
    "line separator": ("legal.monitoring", "a\u2028b", r"\$\.legal\.monitoring: found"),
    "paragraph separator": ("legal.monitoring", "a\u2029b", r"\$\.legal\.monitoring: found"),
    "bidi override": ("legal.custodian_title", "\u202efeihC", r"custodian_title: found a control"),
    "bidi isolate": ("legal.custodian_title", "\u2066Chief", r"custodian_title: found a control"),
    "zero width": ("city", "Test\u200bville", r"\$\.city: found a control character"),
    "unit with a line feed": ("units", ["unit-1\n"], r"\$\.units\[0\]: found a control"),
    "server name with a line feed": ("endpoint.server_name", "a.example\n", r"server_name: found"),
    "escape in the ca": ("endpoint.ca_pem", f"\x1b[2J{CA}", r"ca_pem: found a control"),
    "escape in a field's name": ("x\x1b[2J", "y", r"unknown field `x\?\[2J`"),
    "unit twice": ("units", ["unit-1", "unit-1"], r"\$\.units"),
    "unit with a path": ("units", ["../unit"], r"\$\.units"),
    "legal field missing": ("legal.monitoring", REMOVED, r"\$\.legal"),
    "legal field blank": ("legal.monitoring", "", r"\$\.legal: blank: monitoring"),
    "legal field of spaces": ("legal.custodian_title", "  ", r"blank: custodian_title"),
    "no quota": ("quota.reads_bytes", 0, r"\$\.quota\.reads_bytes"),
}


@pytest.mark.parametrize(
    ("path", "value", "found"), WRONG.values(), ids=[name.replace(" ", "_") for name in WRONG]
)
def test_a_slip_stops_the_start_and_names_its_path(path, value, found):
    with pytest.raises(ConfigError, match=found) as caught:
        parse(changed(path, value))
    assert str(caught.value).startswith("policy.json: ")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff", b"[" * 5000, b" " * (POLICY_LIMIT_BYTES + 1)],
    ids=["empty", "cut", "list", "null", "no_text", "deep", "large"],
)
def test_what_is_no_policy_is_refused(content):
    with pytest.raises(ConfigError, match=r"policy\.json"):
        parse_policy(content, place="policy.json")


def test_a_field_that_stands_twice_is_refused():
    content = json.dumps(GOOD).replace('"mode": "all"', '"mode": "hits-only", "mode": "all"')
    with pytest.raises(ConfigError, match="twice"):
        parse(content.encode())


@given(st.binary(max_size=200))
def test_hostile_policies_are_refused_by_our_own_error(content):
    with pytest.raises(ConfigError):
        parse_policy(content, place="policy.json")


def test_a_good_policy_is_read_as_written():
    policy = parse()
    assert (policy.version, policy.mode, policy.crops) == (3, "all", "hits")
    assert policy.endpoint.addresses == ("192.0.2.7", "2001:db8::7", "127.0.0.1")
    assert policy.endpoint.port == 8443


def test_a_good_policy_gives_its_keys():
    policy = parse()
    assert city_key(policy) == CITY.public_key
    assert receipt_keys(policy) == tuple(signer.public_key for signer in RECEIPTS)
    assert spki_pins(policy) == (sha256(b"server key").digest(), sha256(b"spare key").digest())


def test_a_good_policy_gives_room_and_life_by_lane():
    policy = parse()
    assert quota_bytes(policy) == {
        Lane.HITS: 10_000_000,
        Lane.READS: 20_000_000,
        Lane.CROPS: 65_536,
    }
    assert retention_s(policy) == {Lane.HITS: 2_592_000, Lane.READS: 180, Lane.CROPS: 86_400}


def test_the_purposes_are_a_closed_list_without_immigration_enforcement():
    assert set(PURPOSES) == {
        "stolen-vehicle",
        "stolen-plate",
        "missing-person",
        "amber-alert",
        "silver-alert",
        "felony-warrant",
        "felony-investigation",
    }
    page = Path("deploy/docs/formats.md").read_text()
    assert all(f"| `{code}` | {title} |" in page for code, title in PURPOSES.items())
    assert parse(changed("purposes", list(PURPOSES))).purposes == tuple(PURPOSES)
