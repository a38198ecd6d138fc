"""The table of hostile endpoints, each met by the real sender with real TLS.

Two things hold in every row: nothing is deleted without a true receipt, and where certificate,
name or pin can tell, not one byte of a request arrives.
"""

import socket

import pytest

from agent.base.errors import UplinkError
from agent.trust.entries import Deleted, DeleteIntent, Uploaded
from agent.trust.receipts import Receipt, sign_receipt
from tests.custody_net.counts import count
from tests.custody_net.hostile import (
    NOT_THE_CITY,
    THE_CITY_LYING,
    found_town,
    signing,
)
from tests.pipeline.test_send import Road
from tests.tls_servers import plain_listener

pytestmark = pytest.mark.custody
OLD = Receipt(unit="u", frames=(b"o" * 32,), log_size=1, log_root=bytes(32), time_ms=1)


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    return found_town(tmp_path_factory.mktemp("town"))


@pytest.fixture
def road(town, tmp_path):
    """A unit with three finished segments, and a sender that trusts the town's receipt key."""
    road = Road(tmp_path)
    road.city.signer = town.receipts
    road.restart()
    return road


def meet(town, road, act):
    """Do one round against an endpoint; return what reached a hostile party."""
    before = road.spool.segments()
    with act(town, sign_receipt(town.receipts, OLD)) as stage:
        uplink = town.uplink(stage.port, timeout_s=stage.timeout_s)
        road.sending._delivery._uplink = uplink
        with pytest.raises(UplinkError):  # to be tried again: nobody ends the sender from outside
            road.sending.work()
        uplink.close()
    assert road.spool.segments() == before
    assert road.entries(Uploaded, DeleteIntent, Deleted) == []
    count("hostile endpoints met")
    return stage.body()


@pytest.mark.parametrize("act", NOT_THE_CITY.values(), ids=NOT_THE_CITY)
def test_who_is_not_the_city_gets_no_byte_and_brings_no_deletion(town, road, act):
    assert meet(town, road, act) == b""


@pytest.mark.parametrize("act", THE_CITY_LYING.values(), ids=THE_CITY_LYING)
def test_a_city_that_lies_brings_no_deletion(town, road, act):
    meet(town, road, act)


def deliver_all(town, road):
    with signing(lambda town, true, _: sign_receipt(town.receipts, true))(town, b"") as stage:
        uplink = town.uplink(stage.port)
        road.sending._delivery._uplink = uplink
        road.sending.work()
        uplink.close()
    assert road.spool.segments() == ()
    count("hostile endpoints met")


@pytest.mark.parametrize("liar", THE_CITY_LYING)
def test_after_every_liar_the_honest_city_gets_everything(town, road, liar):
    """Without this, a sender that never deletes would pass the whole table."""
    meet(town, road, THE_CITY_LYING[liar])
    deliver_all(town, road)


def test_a_proxy_in_the_environment_gets_no_byte(town, road, monkeypatch):
    with plain_listener() as (port, came):
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
            monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{port}")
        deliver_all(town, road)
    assert came == []


def test_a_hostile_resolver_is_not_asked(town, road, monkeypatch):
    with plain_listener() as (port, came):

        def lie(*_arguments, **_options):
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(socket, "getaddrinfo", lie)
        deliver_all(town, road)
    assert came == []


def test_no_session_key_is_written_for_an_eavesdropper(town, road, monkeypatch, tmp_path):
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    deliver_all(town, road)
    assert not (tmp_path / "keys").exists()


def test_the_table_has_the_rows_that_the_threat_model_promises():
    assert len(NOT_THE_CITY) + len(THE_CITY_LYING) + 3 >= 20
