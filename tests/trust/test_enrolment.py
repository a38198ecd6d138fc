"""Enrolment as bytes: what is taken, what is refused and for which reason."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from agent.base.errors import ConfigError, CredentialError, IntegrityError
from agent.trust.enrolment import (
    Enrolment,
    Issued,
    Keys,
    Renewal,
    decode_enrolment,
    decode_issued,
    decode_renewal,
    encode_message,
    read_certificate,
    renewal_due_s,
    require_issued,
    verify_csr,
    verify_enrolment,
)
from agent.trust.keys import generate_signer, sign_csr
from agent.trust.tickets import make_ticket, parse_ticket, ticket_name
from tests.certificates import issue, make_authority

VECTORS = sorted((Path(__file__).parent.parent / "vectors" / "units").glob("*.txt"))
REFUSED = {
    "malformed": "enrolment: |CBOR",
    "bad signature": "does not verify",
    "bad request": "certificate request",
    "bad keys": "three keys|_key: found",
}
units = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
some = st.binary(min_size=1, max_size=100)
enrolments = st.builds(
    Enrolment,
    unit=units,
    token=st.binary(min_size=32, max_size=32),
    csr=some,
    watch_key=some,
    send_key=some,
    watch_proof=some,
    send_proof=some,
)
AUTHORITY = make_authority()


def case(path):
    values = dict(line.split(": ", 1) for line in path.read_text().splitlines())
    return values["expect"], bytes.fromhex(values["request"])


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_vectors_are_taken_or_refused_for_their_reason(path):
    expect, content = case(path)
    if expect == "taken":
        request = decode_enrolment(content)
        assert encode_message(request) == content
        keys = verify_enrolment(request)
        assert keys.tls == verify_csr(request.csr, unit=request.unit)
        assert keys.sha256 != Keys(tls=keys.tls, watch=keys.send, send=keys.watch).sha256
        return
    with pytest.raises((IntegrityError, CredentialError), match=REFUSED[expect]):
        verify_enrolment(decode_enrolment(content))


def test_there_is_a_vector_for_every_reason():
    assert {case(path)[0] for path in VECTORS} == {"taken", *REFUSED}


@given(enrolments)
def test_an_enrolment_reads_back_as_written(request):
    assert decode_enrolment(encode_message(request)) == request


@given(st.builds(Renewal, unit=units, csr=some))
def test_a_renewal_reads_back_as_written(request):
    assert decode_renewal(encode_message(request)) == request


@given(st.builds(Issued, certificate=some))
def test_an_answer_reads_back_as_written(answer):
    assert decode_issued(encode_message(answer)) == answer


@given(st.binary(max_size=300))
def test_other_bytes_are_refused(content):
    for decode in (decode_enrolment, decode_renewal, decode_issued):
        with pytest.raises(IntegrityError):
            decode(content)


@given(st.data())
def test_any_flipped_bit_of_the_vector_is_refused(data):
    _, content = case(next(path for path in VECTORS if path.stem == "good"))
    place = data.draw(st.integers(0, 8 * len(content) - 1))
    flipped = bytearray(content)
    flipped[place // 8] ^= 1 << place % 8
    with pytest.raises((IntegrityError, CredentialError)):
        verify_enrolment(decode_enrolment(bytes(flipped)))


def test_every_flipped_bit_of_a_certificate_request_is_refused():
    content = sign_csr(generate_signer(), "unit-a")
    for place in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises((IntegrityError, CredentialError)):
            verify_csr(bytes(flipped), unit="unit-a")


def test_the_token_is_kept_out_of_reprs():
    request = decode_enrolment(case(next(p for p in VECTORS if p.stem == "good"))[1])
    assert request.token.hex() not in repr(request)
    assert str(request.token) not in repr([request])


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(ec.generate_private_key(ec.SECP384R1()), id="another curve"),
        pytest.param(rsa.generate_private_key(65_537, 2048), id="RSA"),
    ],
)
def test_a_request_by_a_key_of_another_kind_is_refused(key):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "unit-a")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    csr = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    with pytest.raises(CredentialError, match="P-256"):
        verify_csr(csr, unit="unit-a")


def test_our_own_request_is_good():
    signer = generate_signer()
    assert verify_csr(sign_csr(signer, "unit-a"), unit="unit-a") == signer.public_key


@pytest.mark.parametrize("encoding", [serialization.Encoding.PEM, serialization.Encoding.DER])
def test_a_certificate_is_read_in_both_encodings(encoding):
    identity = issue(AUTHORITY, "unit-a")
    content = identity.certificate.public_bytes(encoding)
    found = read_certificate(content, place="test")
    assert found.unit == "unit-a"
    assert found.pem == identity.pem.encode()
    assert found.ends == identity.certificate.not_valid_after_utc
    require_issued(found, unit="unit-a", key=found.key, place="test")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_refused(content):
    with pytest.raises(CredentialError, match="cannot be read"):
        read_certificate(content, place="test")


def test_a_certificate_with_other_names_than_one_is_refused():
    identity = issue(AUTHORITY, "unit-a")
    key = identity.key
    builder = x509.CertificateBuilder(
        issuer_name=x509.Name([]),
        subject_name=x509.Name([]),
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=datetime(2026, 1, 1, tzinfo=UTC),
        not_valid_after=datetime(2026, 2, 1, tzinfo=UTC),
    )
    nameless = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    with pytest.raises(CredentialError, match="0 names"):
        read_certificate(nameless, place="test")


def test_another_units_certificate_and_one_for_another_key_are_told_apart():
    found = read_certificate(issue(AUTHORITY, "unit-a").pem.encode(), place="test")
    with pytest.raises(CredentialError, match="the unit unit-a; expected one for unit-b"):
        require_issued(found, unit="unit-b", key=found.key, place="test")
    with pytest.raises(CredentialError, match="another key"):
        require_issued(found, unit="unit-a", key=generate_signer().public_key, place="test")


def test_renewal_is_due_after_two_thirds_of_the_life():
    valid = (timedelta(days=-10), timedelta(days=20))
    found = read_certificate(issue(AUTHORITY, "unit-a", valid=valid).pem.encode(), place="test")
    due = datetime.fromtimestamp(renewal_due_s(found), UTC)
    assert abs(due - (datetime.now(UTC) + timedelta(days=10))) < timedelta(minutes=1)


@given(units, st.binary(min_size=32, max_size=32))
def test_a_ticket_reads_back_and_holds_no_token(unit, token):
    now = datetime(2026, 11, 22, tzinfo=UTC)
    content = make_ticket(unit, token, made_at=now, expires_at=now + timedelta(days=7))
    found = parse_ticket(content, place="test")
    assert (found.unit, found.expires_at - found.made_at) == (unit, timedelta(days=7))
    assert token.hex().encode() not in content
    assert token not in content


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\xff", b'{"version": 2}', b'{"version": 1, "unit": "../x"}']
)
def test_what_is_no_ticket_is_refused(content):
    with pytest.raises(ConfigError, match="a ticket"):
        parse_ticket(content, place="test")


def test_a_unit_has_one_ticket():
    assert ticket_name("unit-a") == "unit-a.ticket.json"
