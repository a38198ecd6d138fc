"""The endpoint hands the list to the watcher that asked, and to nobody else."""

import time
from datetime import UTC, datetime

import pytest

from agent.base.clock import to_ms
from agent.base.errors import RefusedError
from agent.trust.hotlist import unseal_hotlist
from agent.trust.keys import generate_signer
from tests.endpoint.city import found_city, run_endpoint, serving
from tests.lists import HOUR_MS, make_request, sign_list

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    city = found_city(tmp_path_factory.mktemp("city"))
    with serving(city) as running:
        yield city, running


class Unit:
    def __init__(self, place, name="unit-a"):
        self.city, running = place
        self.name, self.watcher = name, self.city.logs[name].signer
        self.uplink = self.city.uplink(running.port, name)

    def request(self, *, watcher=None, unit=None, made_ms=None):
        made_ms = to_ms(datetime.now(UTC)) if made_ms is None else made_ms
        time.sleep(0.002)  # the next request is a later one
        return make_request(watcher or self.watcher, unit=unit or self.name, made_ms=made_ms)

    def ask(self, request, tag=""):
        headers = {"Content-Type": "application/cbor"}
        if tag:
            headers["If-None-Match"] = tag
        return self.uplink.exchange(
            "POST", "/v1/hotlist", request, headers=headers, limit_bytes=1_000_000
        )


@pytest.fixture
def unit(place):
    unit = Unit(place)
    serve(place)
    yield unit
    unit.uplink.close()


def serve(place, *plates, version=1, **changes):
    """Replace the list that the endpoint serves, as `homeplate hotlist sign` does."""
    now_ms = to_ms(datetime.now(UTC))
    content = sign_list(
        *(plates or ("7KXR482",)), version=version, **({"issued_ms": now_ms} | changes)
    )
    path = place[0].folder / "hotlist.signed"
    path.with_suffix(".new").write_bytes(content)
    path.with_suffix(".new").replace(path)
    return content


def test_the_watchers_key_opens_what_comes(unit, place):
    content = serve(place, "7KXR482")
    request, opener = unit.request()
    answer = unit.ask(request)
    assert answer.status == 200
    assert unseal_hotlist(answer.content, request, opener) == content
    assert b"7KXR482" not in answer.content


def test_what_a_unit_has_already_is_not_sent_again_until_there_is_another(unit, place):
    serve(place, version=1)
    request, opener = unit.request()
    tag = unit.ask(request).headers["etag"]
    assert unit.ask(request, tag).status == 304
    newer = serve(place, "3CEH915", version=2)
    answer = unit.ask(request, tag)
    assert answer.headers["etag"] != tag
    assert unseal_hotlist(answer.content, request, opener) == newer


def test_an_earlier_request_is_a_replay_and_gets_nothing(unit):
    older, _ = unit.request()
    newer, _ = unit.request()
    assert unit.ask(newer).status == 200
    with pytest.raises(RefusedError, match="409 replay"):
        unit.ask(older)
    assert unit.ask(newer).status == 200


def test_another_request_of_the_same_moment_is_refused(unit):
    now_ms = to_ms(datetime.now(UTC))
    first, _ = unit.request(made_ms=now_ms)
    second, _ = unit.request(made_ms=now_ms)
    assert unit.ask(first).status == 200
    with pytest.raises(RefusedError, match="409 replay"):
        unit.ask(second)


def test_a_request_that_another_key_signed_is_refused(unit):
    """Such as the sender's own: it holds the TLS key, not that of the watcher's log."""
    request, _ = unit.request(watcher=generate_signer())
    with pytest.raises(RefusedError, match="403 request"):
        unit.ask(request)


def test_a_request_of_another_unit_is_refused(unit, place):
    other = place[0].logs["unit-b"].signer
    for request, _ in (unit.request(watcher=other, unit="unit-b"), unit.request(unit="unit-b")):
        with pytest.raises(RefusedError, match="403"):
            unit.ask(request)


@pytest.mark.parametrize("body", [b"", b"\xa0", bytes(3000)], ids=["empty", "a map", "zeros"])
def test_what_is_no_request_is_refused(unit, body):
    with pytest.raises(RefusedError, match="403 request"):
        unit.ask(body)


def test_too_large_a_request_is_refused(unit):
    with pytest.raises(RefusedError, match="413"):
        unit.ask(bytes(5000))


def carry(place, tmp_path, unit, request):
    """Go from the unit to the endpoint with a stick; return what ended there."""
    (tmp_path / "hotlist.request").write_bytes(request)
    words = (unit, tmp_path / "hotlist.request", tmp_path / "hotlist.sealed")
    return run_endpoint("hotlist", *words, "--config", place[0].config)


def test_a_technician_carries_a_list_that_opens_in_the_watchers_memory_alone(unit, place, tmp_path):
    content = serve(place, "7KXR482")
    request, opener = unit.request()
    done = carry(place, tmp_path, unit.name, request)
    assert done.returncode == 0, done.stderr
    sealed = (tmp_path / "hotlist.sealed").read_bytes()
    assert unseal_hotlist(sealed, request, opener) == content
    assert b"7KXR482" not in sealed


def test_a_technician_gets_no_list_for_another_or_an_older_request(unit, place, tmp_path):
    Unit(place, "unit-b").uplink.close()
    older, _ = unit.request()
    newer, _ = unit.request()
    assert unit.ask(newer).status == 200
    for name, request, code, words in (
        (unit.name, older, 65, "replay"),
        ("unit-b", newer, 65, "request"),
        ("nobody", newer, 78, "in no register"),
        (unit.name, b"none", 65, "request"),
    ):
        done = carry(place, tmp_path, name, request)
        assert (done.returncode, words in done.stderr) == (code, True), done.stderr
        assert not (tmp_path / "hotlist.sealed").exists()


def put_nothing(path):
    path.unlink()


def put_damage(path):
    path.write_bytes(b"no list")


def put_expired(path):
    path.write_bytes(sign_list("7KXR482", issued_ms=to_ms(datetime.now(UTC)) - 25 * HOUR_MS))


@pytest.mark.parametrize("put", [put_nothing, put_damage, put_expired])
def test_without_a_list_that_holds_a_unit_gets_none(unit, place, put, tmp_path):
    put(place[0].folder / "hotlist.signed")
    request, _ = unit.request()
    assert unit.ask(request).status == 204
    assert carry(place, tmp_path, unit.name, request).returncode == 78


def test_the_memory_of_requests_is_for_the_endpoint_alone(unit, place):
    request, _ = unit.request()
    unit.ask(request)
    path = place[0].folder / "hotlist-requests.sqlite"
    assert path.stat().st_mode & 0o077 == 0
    assert b"7KXR482" not in path.read_bytes()
