"""Who becomes a unit of the city and who does not: a real endpoint, real TLS."""

import itertools
import json
import re
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from homeplate_endpoint.routes import OPEN
from homeplate_endpoint.units import NewCertificate, Units

from agent.base.errors import RefusedError
from agent.trust.enrolment import ENROLL_PATH, RENEW_PATH, read_certificate
from agent.trust.entries import Stop
from agent.trust.heartbeat import Heartbeat, PolicyState, encode_heartbeat
from agent.trust.keys import generate_signer, sign_csr
from agent.trust.retirement import RETIRE_PATH
from agent.uplink import UnverifiedReceipt
from tests.endpoint.city import WatchLog, found_city, make_frame, run_endpoint, serving
from tests.enrolling import Candidate, new_signers

pytestmark = pytest.mark.slow
NAMES = (f"unit-{number:04}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A city whose endpoint serves all tests of this module."""
    city = found_city(tmp_path_factory.mktemp("city"))
    with serving(city) as running:
        yield city, running


@pytest.fixture
def candidate(place):
    """A unit with a ticket, not enrolled yet."""
    city, running = place
    return Candidate(next(NAMES), city.endpoint(running.port)).ticket(city.folder / "tickets")


@pytest.fixture
def tickets(place):
    return place[0].folder / "tickets"


def upload(candidate, folder, certificate):
    """Deliver a frame as the unit and return the answer."""
    log = WatchLog(candidate.unit, signer=candidate.signers.watch)
    log.grow(b"sealed")
    with closing(candidate.uplink(folder, certificate)) as uplink:
        return uplink.deliver(log.upload(make_frame(candidate.unit)))


def command(city, *words):
    done = run_endpoint("unit", *words, "--config", city.config)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_enrolled_unit_may_upload(place, candidate, tmp_path):
    certificate = candidate.enrol()
    assert read_certificate(certificate, place="test").unit == candidate.unit
    assert isinstance(upload(candidate, tmp_path, certificate), UnverifiedReceipt)


def test_a_certificate_is_good_for_tls_clients_alone(candidate):
    found = x509.load_der_x509_certificate(candidate.enrol())
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    use = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(use) == [x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]


def test_the_same_keys_and_token_again_get_the_same_certificate(candidate):
    assert candidate.enrol() == candidate.enrol()


def refused_enrolment(candidate, **changes):
    with pytest.raises(RefusedError) as refused:
        candidate.enrol(**changes)
    return str(refused.value)


def test_a_token_that_was_used_admits_nobody_else(candidate):
    candidate.enrol()
    thief = Candidate(candidate.unit, candidate.endpoint, token=candidate.token)
    assert "409 token-used" in refused_enrolment(thief)


def test_a_used_token_admits_no_other_name(candidate, tickets):
    candidate.enrol()
    other = Candidate(next(NAMES), candidate.endpoint, token=candidate.token).ticket(tickets)
    assert "409 token-used" in refused_enrolment(other)


def test_a_token_of_yesterday_admits_nobody(candidate, tickets):
    candidate.ticket(tickets, days=-1)
    assert "403 token-expired" in refused_enrolment(candidate)


def test_another_units_token_admits_nobody(candidate, tickets):
    other = Candidate(next(NAMES), candidate.endpoint).ticket(tickets)
    candidate.token = other.token
    assert "403 token:" in refused_enrolment(candidate)


def test_without_a_ticket_nobody_is_admitted(candidate):
    stranger = Candidate(next(NAMES), candidate.endpoint)
    assert "403 token:" in refused_enrolment(stranger)


@pytest.mark.parametrize("content", [b"", b"{", b'{"unit": "x"}', b"\xff" * 9])
def test_a_damaged_ticket_admits_nobody(candidate, tickets, content):
    (tickets / f"{candidate.unit}.ticket.json").write_bytes(content)
    assert "403 token:" in refused_enrolment(candidate)


def greedy_csr(candidate, *names, extension=None):
    """Return a CSR for other names, or with more than a name."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if extension is not None:
        builder = builder.add_extension(extension, critical=True)
    signed = builder.sign(candidate.signers.tls._key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


def other_proof(candidate):
    return generate_signer().sign(b"something")


FAULTS = {
    "CSR for another name": lambda c: {"csr": greedy_csr(c, "unit-9999")},
    "CSR for two names": lambda c: {"csr": greedy_csr(c, c.unit, "unit-9999")},
    "CSR for no name": lambda c: {"csr": greedy_csr(c)},
    "CSR that wants to be a CA": lambda c: {
        "csr": greedy_csr(c, c.unit, extension=x509.BasicConstraints(ca=True, path_length=0))
    },
    "CSR with a second name in an extension": lambda c: {
        "csr": greedy_csr(
            c, c.unit, extension=x509.SubjectAlternativeName([x509.DNSName("unit-9999")])
        )
    },
    "CSR by a key that the proofs do not name": lambda c: {
        "csr": sign_csr(generate_signer(), c.unit)
    },
    "CSR with a flipped bit": lambda c: {
        "csr": (csr := sign_csr(c.signers.tls, c.unit))[:-1] + bytes([csr[-1] ^ 1])
    },
    "CSR that is none": lambda _: {"csr": b"nonsense"},
    "another watch key": lambda _: {"watch_key": generate_signer().public_spki},
    "another send key": lambda _: {"send_key": generate_signer().public_spki},
    "no proof for the watch key": lambda c: {"watch_proof": other_proof(c)},
    "no proof for the send key": lambda c: {"send_proof": other_proof(c)},
    "a watch key that is none": lambda _: {"watch_key": b"nonsense"},
    "another token than the proofs name": lambda _: {"token": bytes(32)},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_request_with_a_fault_is_refused_and_uses_no_token(candidate, fault):
    assert "400 malformed" in refused_enrolment(candidate, **FAULTS[fault](candidate))
    candidate.enrol()


def test_one_key_for_two_purposes_is_refused(candidate):
    signer = generate_signer()
    candidate.signers = type(candidate.signers)(tls=generate_signer(), watch=signer, send=signer)
    assert "400 malformed" in refused_enrolment(candidate)


@pytest.mark.parametrize("path", sorted(OPEN))
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"", "400 malformed", id="nothing"),
        pytest.param(b"nonsense", "400 malformed", id="no CBOR"),
        pytest.param(b"\xa0", "400 malformed", id="no field"),
        pytest.param(b"\xa1\x00\x01\x00", "400 malformed", id="bytes after it"),
        pytest.param(b"\xa1\x01\x01", "400 malformed", id="other keys"),
        pytest.param(bytes(200_000), "413 too-large", id="too large"),
    ],
)
def test_a_body_that_is_none_is_refused(candidate, path, body, expected):
    with pytest.raises(RefusedError, match=expected):
        candidate.post(path, body)


def test_a_unit_with_other_log_keys_does_not_get_a_name_that_is_taken(candidate, tickets):
    candidate.enrol()
    other = Candidate(candidate.unit, candidate.endpoint).ticket(tickets)
    assert "409 name-taken" in refused_enrolment(other)


def test_a_unit_that_enrols_again_with_its_log_keys_makes_the_old_certificate_void(
    candidate, tickets, tmp_path
):
    old, tls = candidate.enrol(), candidate.signers.tls
    candidate.signers = type(candidate.signers)(
        tls=generate_signer(), watch=candidate.signers.watch, send=candidate.signers.send
    )
    candidate.token = bytes(32)
    new = candidate.ticket(tickets).enrol()
    assert isinstance(upload(candidate, tmp_path, new), UnverifiedReceipt)
    thief = Candidate(candidate.unit, candidate.endpoint)
    thief.signers = type(thief.signers)(
        tls=tls, watch=candidate.signers.watch, send=candidate.signers.send
    )
    with pytest.raises(RefusedError, match="403 certificate"):
        upload(thief, tmp_path, old)


def test_a_revoked_unit_is_refused_with_its_next_request(place, candidate, tmp_path):
    certificate = candidate.enrol()
    command(place[0], "revoke", candidate.unit, "--reason", "stolen", "--dry-run")
    upload(candidate, tmp_path, certificate)
    command(place[0], "revoke", candidate.unit, "--reason", "stolen")
    with pytest.raises(RefusedError, match=r"403 revoked: .*stolen"):
        upload(candidate, tmp_path, certificate)
    with pytest.raises(RefusedError, match="403 revoked"):
        candidate.renew()
    assert "403 revoked" in refused_enrolment(candidate)


def test_a_retired_units_upload_is_refused_also_from_who_stole_its_certificate(
    place, candidate, tmp_path
):
    certificate = candidate.enrol()
    upload(candidate, tmp_path, certificate)
    candidate.retire()
    with pytest.raises(RefusedError, match="403 retired"):
        upload(candidate, tmp_path, certificate)
    with pytest.raises(RefusedError, match="403 retired"):
        candidate.renew()


def test_a_retired_unit_is_shown_as_such_and_how_it_came_to_be(place, candidate, tmp_path):
    def status(*words):
        return run_endpoint("status", *words, "--config", place[0].config).stdout

    certificate = candidate.enrol()
    policy = PolicyState(
        version=3, hash="ab" * 32, root_version=1, expires_ms=9, refusals=0, last_refusal=""
    )
    beat = Heartbeat(
        at_ms=1, version="1", policy=policy, certificate_expires_ms=2, send={}, watch=None
    )
    with closing(candidate.uplink(tmp_path, certificate)) as uplink:
        headers = {"Content-Type": "application/json"}
        content = encode_heartbeat(beat)
        uplink.exchange("POST", "/v1/heartbeat", content, headers=headers, limit_bytes=1024)
    assert f"{candidate.unit:<24}heard at" in status()
    candidate.retire()
    by = r"20\d\d-\S+, by the unit's own key: taken down"
    assert re.search(rf"{candidate.unit} +retired +{by}", command(place[0], "list"))
    assert re.search(rf"{candidate.unit} +retired {by}", status())
    assert f"{candidate.unit:<24}heard at" not in status()
    assert json.loads(status("--json"))["ended"][candidate.unit] == "retired"


def test_a_retired_units_name_is_never_given_again(candidate, tickets):
    candidate.enrol()
    candidate.retire()
    candidate.token = bytes(31) + b"\x01"
    assert "403 retired" in refused_enrolment(candidate.ticket(tickets))
    assert "403 retired" in refused_enrolment(
        Candidate(candidate.unit, candidate.endpoint).ticket(tickets)
    )


def test_a_retirement_whose_answer_was_lost_may_be_told_again(place, candidate, tmp_path):
    candidate.enrol()
    content = candidate.destruction()
    candidate.retire(content)
    candidate.retire(content)
    told = command(place[0], "destruction", candidate.unit, tmp_path / "destruction.cbor")
    assert "taken down" in told
    assert (tmp_path / "destruction.cbor").read_bytes() == content


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"entry": Stop(at_ms=1, counters={})}, id="another entry"),
        pytest.param({"origin": "homeplate/unit-9999/send"}, id="log of another unit"),
        pytest.param({"origin": "watch"}, id="log of the watcher"),
        pytest.param({"key": "other"}, id="another key"),
        pytest.param({"key": "watch"}, id="the watcher's key"),
    ],
)
def test_a_certificate_of_destruction_with_a_fault_retires_nobody(candidate, fault, tmp_path):
    certificate = candidate.enrol()
    fault = dict(fault)
    if fault.get("origin") == "watch":
        fault["origin"] = f"homeplate/{candidate.unit}/watch"
    if "key" in fault:
        own = candidate.signers.watch
        fault["key"] = own if fault["key"] == "watch" else generate_signer()
    with pytest.raises(RefusedError, match="400 malformed"):
        candidate.retire(candidate.destruction(**fault))
    upload(candidate, tmp_path, certificate)


def test_a_revoked_unit_that_hands_in_its_certificate_of_destruction_stays_revoked(
    place, candidate, tmp_path
):
    certificate = candidate.enrol()
    command(place[0], "revoke", candidate.unit, "--reason", "stolen from the pole")
    with closing(Units(place[0].folder / "units.sqlite")) as units:
        before = units.find(candidate.unit)
    content = candidate.destruction()
    candidate.retire(content)
    command(place[0], "revoke", candidate.unit, "--reason", "again")
    with closing(Units(place[0].folder / "units.sqlite")) as units:
        assert units.find(candidate.unit) == before
        assert units.destruction(candidate.unit) == content
    assert (before.state, before.reason) == ("revoked", "stolen from the pole")
    command(place[0], "destruction", candidate.unit, tmp_path / "destruction.cbor")
    with pytest.raises(RefusedError, match=r"403 revoked: .*stolen from the pole"):
        upload(candidate, tmp_path, certificate)


def test_a_retired_unit_is_not_revoked_and_keeps_its_certificate(place, candidate):
    candidate.enrol()
    content = candidate.destruction()
    candidate.retire(content)
    command(place[0], "revoke", candidate.unit, "--reason", "stolen")
    with closing(Units(place[0].folder / "units.sqlite")) as units:
        assert units.find(candidate.unit).state == "retired"
        assert units.destruction(candidate.unit) == content


def test_a_certificate_that_ends_while_a_connection_is_open_opens_nothing_more(
    place, candidate, tmp_path
):
    certificate = candidate.enrol()
    log = WatchLog(candidate.unit, signer=candidate.signers.watch)
    log.grow(b"sealed")
    with closing(candidate.uplink(tmp_path, certificate)) as uplink:
        uplink.deliver(log.upload(make_frame(candidate.unit)))
        age(place, candidate.unit, issued=-30, expires=-1)
        with pytest.raises(RefusedError, match=r"403 certificate: .*has ended"):
            uplink.deliver(log.upload(make_frame(candidate.unit)))


def test_a_unit_of_no_register_cannot_be_retired(candidate):
    with pytest.raises(RefusedError, match="403 unknown-unit"):
        candidate.retire()


def test_a_technician_may_bring_the_certificate_of_destruction(place, candidate, tmp_path):
    certificate = candidate.enrol()
    brought = tmp_path / "destruction.cbor"
    brought.write_bytes(candidate.destruction())
    command(place[0], "retire", candidate.unit, brought)
    with pytest.raises(RefusedError, match="403 retired"):
        upload(candidate, tmp_path, certificate)


def age(place, unit, *, issued, expires):
    """Put the times of a unit's last certificate, in days from now."""
    now = datetime.now(UTC)
    with closing(Units(place[0].folder / "units.sqlite")) as units:
        found = units.newest_certificate(unit)
        units._index.execute("DELETE FROM certificates WHERE unit = ?", (unit,))
        at = [int((now + timedelta(days=days)).timestamp() * 1000) for days in (issued, expires)]
        units.add_certificate(
            unit,
            NewCertificate(
                serial=found.serial, issued_ms=at[0], expires_ms=at[1], content=found.content
            ),
        )


def test_a_young_certificate_is_given_again_and_an_old_one_renewed(place, candidate, tmp_path):
    first = candidate.enrol()
    assert candidate.renew() == first
    age(place, candidate.unit, issued=-20, expires=10)
    second = candidate.renew()
    assert second != first
    assert isinstance(upload(candidate, tmp_path, second), UnverifiedReceipt)
    assert candidate.renew() == second


def test_a_unit_that_was_offline_renews_within_the_grace(place, candidate, tmp_path):
    candidate.enrol()
    age(place, candidate.unit, issued=-119, expires=-89)
    assert isinstance(upload(candidate, tmp_path, candidate.renew()), UnverifiedReceipt)


def test_a_unit_that_was_offline_longer_needs_a_new_token(place, candidate, tickets, tmp_path):
    candidate.enrol()
    age(place, candidate.unit, issued=-121, expires=-91)
    with pytest.raises(RefusedError, match="403 grace-over"):
        candidate.renew()
    candidate.token = bytes(30) + b"\x01\x02"
    certificate = candidate.ticket(tickets).enrol()
    assert isinstance(upload(candidate, tmp_path, certificate), UnverifiedReceipt)


def test_a_renewal_by_another_key_is_refused(candidate):
    candidate.enrol()
    with pytest.raises(RefusedError, match="403 other-key"):
        candidate.renew(csr=sign_csr(generate_signer(), candidate.unit))


def test_a_renewal_for_another_unit_is_refused(candidate, tickets):
    candidate.enrol()
    other = Candidate(next(NAMES), candidate.endpoint).ticket(tickets)
    other.enrol()
    with pytest.raises(RefusedError, match="400 malformed"):
        candidate.renew(unit=other.unit)
    with pytest.raises(RefusedError, match="403 other-key"):
        candidate.renew(unit=other.unit, csr=sign_csr(candidate.signers.tls, other.unit))


def test_a_unit_that_was_never_enrolled_is_not_renewed(candidate):
    with pytest.raises(RefusedError, match="403 unknown-unit"):
        candidate.renew()


def test_what_was_enrolled_survives_kill_9(tmp_path):
    city = found_city(tmp_path)
    with serving(city) as running:
        unit = Candidate("unit-k", city.endpoint(running.port)).ticket(tmp_path / "tickets")
        certificate = unit.enrol()
        running.kill()
    with serving(city) as running:
        unit.endpoint = city.endpoint(running.port)
        assert unit.enrol() == certificate
        thief = Candidate("unit-k", unit.endpoint, token=unit.token, signers=new_signers())
        assert "409 token-used" in refused_enrolment(thief)


def test_the_list_tells_every_units_state(place, candidate):
    candidate.enrol()
    rows = json.loads(command(place[0], "list", "--json"))
    (row,) = [row for row in rows if row["unit"] == candidate.unit]
    assert (row["state"], row["reason"]) == ("active", None)
    assert f"{candidate.unit}" in command(place[0], "list")


def test_a_unit_of_no_register_is_told(place):
    for words in (("revoke", "unit-9999", "--reason", "x"), ("destruction", "unit-9999", "out")):
        done = run_endpoint("unit", *words, "--config", place[0].config)
        assert (done.returncode, done.stderr.count("\n")) == (78, 1)
        assert "in no register" in done.stderr


def test_the_open_routes_are_those_of_this_module():
    assert {ENROLL_PATH, RENEW_PATH, RETIRE_PATH} == OPEN
