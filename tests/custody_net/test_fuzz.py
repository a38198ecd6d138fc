"""A short run of the fuzzer over every parser; the long: `python -m tests.custody_net.fuzz`."""

import json
import ssl

import cbor2
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.base.errors import IntegrityError
from agent.trust.cbor import encode_cbor
from tests.custody_net.counts import count
from tests.custody_net.fuzz import FoundBugError, Target, fuzz, make_targets, try_one

pytestmark = pytest.mark.custody
TARGETS = make_targets()
INPUTS = 1_500


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_inputs_meet_only_the_documented_error(name):
    count("inputs to parsers", fuzz(name, TARGETS[name], seed=5, inputs=INPUTS))


@pytest.mark.parametrize("name", TARGETS)
def test_the_unmutated_seeds_do_too(name):
    taken = [try_one(name, TARGETS[name], seed) for seed in TARGETS[name].seeds]
    assert any(taken) or name == "private key"


def upload_with_a_tagged_set():
    found = cbor2.loads(TARGETS["upload"].seeds[0])
    return encode_cbor(found | {4: set(found[4])})


def policy_with_a_certificate_of_version_19():
    policy = json.loads(TARGETS["policy"].seeds[0])
    der = ssl.PEM_cert_to_DER_cert(policy["endpoint"]["ca_pem"])
    version = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x12")
    policy["endpoint"]["ca_pem"] = ssl.DER_cert_to_PEM_cert(version)
    return json.dumps(policy).encode()


@pytest.mark.parametrize(
    ("name", "make"),
    [
        pytest.param("upload", upload_with_a_tagged_set, id="a tagged set for a list"),
        pytest.param(
            "audit entry", lambda: bytes.fromhex("a300636761700101e207"), id="a simple value as key"
        ),
        pytest.param(
            "audit entry", lambda: encode_cbor({0: "gap", True: 1, 2: 7}), id="true for a key"
        ),
        pytest.param("policy", policy_with_a_certificate_of_version_19, id="a CA of version 19"),
        pytest.param("settings", lambda: b"unit = " + b"[" * 9999, id="brackets without end"),
    ],
)
def test_bugs_that_the_long_run_found_stay_mended(name, make):
    assert not try_one(name, TARGETS[name], make())


values = st.recursive(
    st.integers(-(2**70), 2**70)
    | st.binary(max_size=40)
    | st.text(max_size=10)
    | st.floats()
    | st.booleans()
    | st.none(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.integers(0, 9) | st.text(max_size=3), inner, max_size=9)
    ),
    max_leaves=20,
)
entry_like = st.lists(values, max_size=9).map(lambda fields: dict(enumerate(fields)))


@pytest.mark.parametrize(
    "name",
    [
        "header",
        "receipt",
        "receipt, unverified",
        "audit entry",
        "upload",
        "CBOR",
        "hotlist",
        "hotlist's payload",
        "hotlist request",
        "sealed hotlist",
    ],
)
def test_any_cbor_meets_only_the_documented_error(name):
    @settings(suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
    @given(values | entry_like)
    @example({0: "stop", 1: 0, 2: {"a": 1, "aa": 1.5}})
    @example({0: "boot", 1: float("nan")})
    def try_value(value):
        try_one(name, TARGETS[name], encode_cbor(value))
        count("inputs to parsers")

    try_value()


@pytest.mark.parametrize("name", ["policy", "settings", "hotlist table", "checkpoint"])
def test_any_text_meets_only_the_documented_error(name):
    @given(st.text())
    def try_text(text):
        try_one(name, TARGETS[name], text.encode(errors="replace"))
        count("inputs to parsers")

    try_text()


def test_the_fuzzer_finds_a_bug():
    def parse(content):
        if b"\x00\x00" in content:
            raise KeyError(content)

    buggy = Target(parse=parse, error=IntegrityError, seeds=(b"\x00",))
    with pytest.raises(FoundBugError, match=r"KeyError.*input \(hex\)"):
        fuzz("buggy", buggy, seed=1, inputs=500)
