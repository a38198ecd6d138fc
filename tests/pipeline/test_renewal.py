"""The unit's certificate stays good: the real endpoint, and any clock that a unit may have."""

import itertools
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from homeplate_endpoint.units import NewCertificate, Units

from agent.base.errors import CredentialError, UplinkError
from agent.pipeline.renewal import RETRY_INTERVAL_NS, Credentials, RenewingUplink
from agent.trust.answers import UnverifiedReceipt
from agent.trust.enrolment import read_certificate
from agent.trust.keys import encode_private_key, generate_signer, sign_csr
from agent.uplink import ClosedMeanwhileError, Uplink
from tests.certificates import issue_for
from tests.endpoint.city import WatchLog, found_city, make_frame, run_endpoint, serving
from tests.enrolling import Candidate
from tests.fakes import FakeClock

pytestmark = pytest.mark.slow
NAMES = (f"unit-{number:04}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    city = found_city(tmp_path_factory.mktemp("city"))
    with serving(city) as running:
        yield city, running


class Unit:
    """An enrolled unit with a clock of its own and a certificate of any age."""

    def __init__(self, place, folder, *, days, clock_days=0.0):
        city, running = place
        self.folder, self.city = folder, city
        self.clock = FakeClock(datetime.now(UTC) + timedelta(days=clock_days))
        self.candidate = Candidate(next(NAMES), city.endpoint(running.port))
        self.candidate.ticket(city.folder / "tickets").enrol()
        self.first, self.renewed = folder / "tls.crt", folder / "identity/tls.crt"
        (folder / "tls.key").write_bytes(encode_private_key(self.candidate.signers.tls))
        self.issue(*days)
        self.log = WatchLog(self.candidate.unit, signer=self.candidate.signers.watch)
        self.opened = []

    def issue(self, begin, end):
        """Give the unit a certificate that began and ends so many days from now."""
        tls = self.candidate.signers.tls.public_key
        span = (timedelta(days=begin), timedelta(days=end))
        found = issue_for(self.city.authority, self.candidate.unit, tls.point, valid=span)
        self.first.write_bytes(found.pem)
        with closing(Units(self.city.folder / "units.sqlite")) as units:
            units._index.execute("DELETE FROM certificates WHERE unit = ?", (self.candidate.unit,))
            now_ms = int(datetime.now(UTC).timestamp() * 1000)
            units.add_certificate(
                self.candidate.unit,
                NewCertificate(
                    serial=found.serial,
                    issued_ms=now_ms + begin * 86_400_000,
                    expires_ms=now_ms + end * 86_400_000,
                    content=found.der,
                ),
            )

    def uplink(self):
        signer = self.candidate.signers.tls
        credentials = Credentials(
            unit=self.candidate.unit,
            key=signer.public_key,
            csr=sign_csr(signer, self.candidate.unit),
            first=self.first,
            renewed=self.renewed,
        )
        return RenewingUplink(credentials, self.open_door, self.clock)

    def open_door(self, certificate):
        self.opened.append(certificate)
        key = self.folder / "tls.key" if certificate else None
        return Uplink(self.candidate.endpoint, certificate=certificate, key=key, timeout_s=30)

    def deliver(self, uplink):
        self.log.grow(b"sealed")
        size = len(self.log.leaves)
        frame = make_frame(self.candidate.unit, first=size)
        answer = uplink.deliver(self.log.upload(frame, seen=size - 1))
        assert isinstance(answer, UnverifiedReceipt)


def ends(path):
    return read_certificate(path.read_bytes(), place="test").ends


def days_from_now(instant):
    return (instant - datetime.now(UTC)) / timedelta(days=1)


def test_a_young_certificate_is_left_alone(place, tmp_path):
    unit = Unit(place, tmp_path, days=(-19, 11))
    with closing(unit.uplink()) as uplink:
        unit.deliver(uplink)
    assert not unit.renewed.exists()


def test_after_two_thirds_of_its_life_it_is_renewed_and_uploads_go_on(place, tmp_path):
    unit = Unit(place, tmp_path, days=(-21, 9))
    with closing(unit.uplink()) as uplink:
        unit.deliver(uplink)
        unit.deliver(uplink)
        assert days_from_now(uplink.certificate.ends) > 29
    assert unit.renewed.stat().st_mode & 0o777 == 0o600
    assert unit.renewed.parent.stat().st_mode & 0o777 == 0o700
    assert unit.opened == [unit.first, None, unit.renewed]


def test_the_next_start_shows_the_renewed_one(place, tmp_path):
    unit = Unit(place, tmp_path, days=(-21, 9))
    with closing(unit.uplink()) as uplink:
        unit.deliver(uplink)
    with closing(unit.uplink()) as uplink:
        unit.deliver(uplink)
    assert unit.opened[3:] == [unit.renewed]


def test_a_unit_that_was_offline_past_the_end_renews_within_the_grace(place, tmp_path):
    unit = Unit(place, tmp_path, days=(-100, -70))
    with closing(unit.uplink()) as uplink:
        unit.deliver(uplink)
    assert days_from_now(ends(unit.renewed)) > 29


def test_a_unit_whose_clock_is_behind_renews_when_the_city_refuses(place, tmp_path):
    unit = Unit(place, tmp_path, days=(-31, -1), clock_days=-20)
    with closing(unit.uplink()) as uplink:
        unit.deliver(uplink)
    assert days_from_now(ends(unit.renewed)) > 29


def test_a_unit_whose_clock_is_ahead_asks_in_vain_and_uploads_all_the_same(place, tmp_path):
    unit = Unit(place, tmp_path, days=(-1, 29), clock_days=400)
    with closing(unit.uplink()) as uplink:
        unit.deliver(uplink)
        unit.deliver(uplink)
        unit.clock.advance(RETRY_INTERVAL_NS / 1e9)
        unit.deliver(uplink)
    assert unit.opened.count(None) == 2
    assert days_from_now(ends(unit.renewed)) < 30


def test_a_city_that_hangs_up_for_another_reason_is_asked_once_an_hour(place, tmp_path):
    unit = Unit(place, tmp_path, days=(-1, 29))
    with closing(unit.uplink()) as uplink:
        renewals = 0
        for _ in range(3):
            with pytest.raises(ClosedMeanwhileError):
                uplink._with_certificate(hang_up)
            renewals = unit.opened.count(None)
    assert renewals == 1


def hang_up(_):
    raise ClosedMeanwhileError("closed")


def test_beyond_the_grace_it_is_said_what_to_do(place, tmp_path):
    unit = Unit(place, tmp_path, days=(-130, -100))
    with closing(unit.uplink()) as uplink, pytest.raises(CredentialError, match="new token"):
        unit.deliver(uplink)
    assert not unit.renewed.exists()


def test_a_revoked_unit_is_not_renewed(place, tmp_path):
    unit = Unit(place, tmp_path, days=(-21, -1))
    words = ("unit", "revoke", unit.candidate.unit, "--reason", "stolen")
    assert run_endpoint(*words, "--config", unit.city.config).returncode == 0
    with closing(unit.uplink()) as uplink, pytest.raises(CredentialError, match="revoked"):
        unit.deliver(uplink)


def test_a_disk_that_refuses_keeps_the_certificate_that_is_there(place, tmp_path):
    unit = Unit(place, tmp_path, days=(-21, 9))
    unit.renewed.parent.write_text("in the way")
    with closing(unit.uplink()) as uplink:
        unit.deliver(uplink)
    assert unit.opened == [unit.first, None]


class Silent:
    """A city that is not reached."""

    def deliver(self, upload):
        raise CredentialError("refused by the city")

    def exchange(self, *words, **more):
        raise UplinkError("not reached")

    def close(self):
        pass


def test_a_city_that_is_not_reached_is_asked_again_later(place, tmp_path):
    unit = Unit(place, tmp_path, days=(-31, -1))
    unit.open_door = lambda _: Silent()
    with closing(unit.uplink()) as uplink, pytest.raises(UplinkError, match="not reached"):
        unit.deliver(uplink)


def test_another_units_certificate_stops_the_start(place, tmp_path):
    unit = Unit(place, tmp_path, days=(-1, 29))
    unit.candidate.signers = type(unit.candidate.signers)(
        tls=generate_signer(), watch=generate_signer(), send=generate_signer()
    )
    with pytest.raises(CredentialError, match="its key"):
        unit.uplink()
