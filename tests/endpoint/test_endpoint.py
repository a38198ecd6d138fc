"""The endpoint as a unit meets it: a real process behind mutual TLS."""

import contextlib
import itertools
import json
import re
import socket
import ssl
from dataclasses import replace

import pytest
from homeplate_endpoint.routes import OPEN, make_routes

from agent.base.errors import RefusedError, UplinkError
from agent.base.lanes import Lane
from agent.trust.answers import LogPosition
from agent.trust.frames import frame_hash
from agent.trust.merkle import root_of
from agent.trust.receipts import open_receipt, receipt_hash
from agent.trust.uploads import encode_upload, idempotency_key
from tests.certificates import LAST_YEAR, issue, make_authority
from tests.endpoint.city import (
    City,
    Running,
    found_city,
    make_frame,
    register,
    run_endpoint,
    serving,
)

pytestmark = pytest.mark.slow
SPANS = itertools.count(1)
"""Every unit object gets a thousand sequences of its own."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A city whose endpoint serves all tests of this module."""
    city = found_city(tmp_path_factory.mktemp("city"), body_limit_bytes=1_000_000)
    with serving(city) as running:
        yield city, running


class Unit:
    """A unit with its own log; every test takes a span of sequences of its own."""

    def __init__(self, city: City, running: Running, name: str = "unit-a") -> None:
        self.city, self.log, self.name = city, city.logs[name], name
        self.first = 1_000 * next(SPANS)
        self.uplink = city.uplink(running.port, name)

    def frame(self, number: int = 0, **changes) -> bytes:
        return make_frame(self.name, **({"first": self.first + number} | changes))

    def deliver(self, *frames: bytes):
        """Seal and deliver; the log grows by one entry."""
        self.log.grow(b"sealed")
        answer = self.uplink.deliver(self.upload(*frames))
        if not isinstance(answer, LogPosition):
            self.log.seen = max(self.receipt(answer).log_size, self.log.seen)
        return answer

    def upload(self, *frames: bytes):
        return self.log.upload(*frames, seen=self.log.seen)

    def receipt(self, answer):
        return open_receipt(answer.signed, (self.city.receipt_signer.public_key,))


@pytest.fixture
def unit(place):
    unit = Unit(*place)
    yield unit
    unit.uplink.close()


def status(city):
    return json.loads(run_endpoint("status", "--config", city.config, "--json").stdout)


def alarms(city):
    return status(city)["alarms"]


def exported(city):
    out = city.folder / "exported"
    done = run_endpoint("export", "--config", city.config, out)
    assert done.returncode == 0, done.stderr
    return out.read_bytes()


def test_an_upload_gets_a_receipt_for_its_frames_and_its_log(unit):
    frames = (unit.frame(0), unit.frame(1, lane=Lane.HITS))
    receipt = unit.receipt(unit.deliver(*frames))
    assert receipt.unit == "unit-a"
    assert receipt.frames == tuple(frame_hash(frame) for frame in frames)
    assert (receipt.log_size, receipt.log_root) == (len(unit.log.leaves), root_of(unit.log.leaves))


def test_the_same_frames_again_get_the_same_receipt(unit):
    frame = unit.frame()
    first = unit.deliver(frame)
    assert unit.deliver(frame).signed == first.signed
    assert exported(unit.city).count(frame) == 1


def test_each_receipt_names_the_one_that_the_unit_got_before(unit):
    first, second = unit.deliver(unit.frame(0)), unit.deliver(unit.frame(1))
    assert unit.receipt(second).previous == receipt_hash(first.signed)
    again = unit.deliver(unit.frame(0))
    assert again.signed == first.signed
    third = unit.deliver(unit.frame(2))
    assert unit.receipt(third).previous == receipt_hash(second.signed)


def test_known_and_new_frames_together_get_a_receipt_for_both(unit):
    frames = (unit.frame(0), unit.frame(1))
    unit.deliver(frames[0])
    receipt = unit.receipt(unit.deliver(*frames))
    assert receipt.frames == tuple(frame_hash(frame) for frame in frames)
    assert exported(unit.city).count(frames[0]) == 1


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({}, id="same sequence"),
        pytest.param({"first": -2, "last": 0}, id="span that ends within"),
        pytest.param({"first": 3, "last": 9}, id="span that begins within"),
        pytest.param({"first": -5, "last": 9}, id="span around it"),
    ],
)
def test_another_frame_in_a_place_is_a_fork_with_an_alarm(unit, other):
    unit.first += 10
    unit.deliver(unit.frame(0, last=unit.first + 3))
    before = len(alarms(unit.city))
    span = {name: unit.first + value for name, value in other.items()}
    forged = unit.frame(0, **({"last": unit.first + 3} | span), sealed=b"forged")
    with pytest.raises(RefusedError, match="409 fork"):
        unit.deliver(forged)
    assert len(alarms(unit.city)) == before + 1
    assert forged not in exported(unit.city)
    assert '"event": "ALARM"' in (unit.city.folder / "stderr").read_text()


def test_a_fork_stores_nothing_of_its_upload(unit):
    unit.deliver(unit.frame(0))
    fresh = unit.frame(1, sealed=b"fresh frame of a refused upload")
    with pytest.raises(RefusedError, match="409 fork"):
        unit.deliver(fresh, unit.frame(0, sealed=b"forged"))
    assert fresh not in exported(unit.city)


OTHER_BOOT = bytes(16)
NOT_LOGGED = {
    "a frame that nobody logged": lambda unit, upload: replace(
        upload, frames=(unit.frame(0, sealed=b"forged"),)
    ),
    "of another boot": lambda unit, upload: replace(
        upload, frames=(unit.frame(0, boot=OTHER_BOOT),)
    ),
    "at another index": lambda _, upload: replace(upload, places=((0, upload.places[0][1]),)),
    "at another time": lambda _, upload: replace(upload, places=((upload.places[0][0], 1),)),
    "of another segment": lambda _, upload: replace(
        upload, segment=upload.segment.replace("-000000", "-000001")
    ),
    "behind the end of the log": lambda _, upload: replace(upload, places=((1 << 40, 1),)),
    "without a proof": lambda _, upload: replace(upload, membership=()),
    "with too long a proof": lambda _, upload: replace(
        upload, membership=(*upload.membership, bytes(32))
    ),
}
"""By name: what a sender without the watcher's key may try."""


@pytest.mark.parametrize("forge", NOT_LOGGED.values(), ids=NOT_LOGGED)
def test_frames_that_the_watcher_did_not_log_are_refused_with_an_alarm(unit, forge):
    unit.log.grow(b"sealed")
    upload = forge(unit, unit.upload(unit.frame(0)))
    before, stored = len(alarms(unit.city)), exported(unit.city)
    with pytest.raises(RefusedError, match="403 not-logged"):
        unit.uplink.deliver(upload)
    assert len(alarms(unit.city)) == before + 1
    assert exported(unit.city) == stored


def test_two_frames_cannot_stand_at_one_place_of_the_log(unit):
    upload = unit.upload(unit.frame(0), unit.frame(1))
    with pytest.raises(RefusedError, match="two frames at one place"):
        unit.uplink.deliver(replace(upload, places=upload.places[:1] * 2))


def test_frames_of_another_unit_are_refused(unit):
    with pytest.raises(RefusedError, match="403 other-unit"):
        unit.deliver(make_frame("unit-b", first=unit.first))


def test_a_unit_that_is_not_enrolled_is_refused(place):
    city, running = place
    uplink = city.uplink(running.port, "unit-z")
    with pytest.raises(RefusedError, match="403 unknown-unit"):
        uplink.deliver(city.logs["unit-a"].upload(make_frame("unit-z")))
    uplink.close()


def test_a_log_signed_by_another_unit_is_refused(place):
    city, running = place
    uplink = city.uplink(running.port, "unit-b")
    with pytest.raises(RefusedError, match="403 checkpoint"):
        uplink.deliver(city.logs["unit-a"].upload(make_frame("unit-b")))
    uplink.close()


def test_a_log_position_that_is_not_the_last_seen_is_corrected(unit):
    unit.deliver(unit.frame(0))
    known, unit.log.seen = unit.log.seen, 0
    assert unit.deliver(unit.frame(1)) == LogPosition(known)
    unit.log.seen = known
    assert unit.receipt(unit.deliver(unit.frame(1))).log_size == len(unit.log.leaves)


def test_an_older_checkpoint_that_was_seen_is_good_enough(unit):
    unit.log.store(unit.frame(1))
    unit.deliver(unit.frame(0))
    older = unit.upload(unit.frame(1))
    unit.deliver(unit.frame(2))
    receipt = unit.receipt(unit.uplink.deliver(older))
    assert receipt.frames == (frame_hash(unit.frame(1)),)


def test_a_log_that_was_rewritten_is_a_fork_with_an_alarm(place):
    city, running = place
    unit = Unit(city, running, "unit-b")
    unit.deliver(unit.frame(0))
    unit.deliver(unit.frame(1))
    before = len(alarms(city))
    honest = list(unit.log.leaves)
    unit.log.leaves[0] = bytes(32)
    with pytest.raises(RefusedError, match="does not continue"):
        unit.deliver(unit.frame(2))
    unit.log.leaves[:] = [bytes(32), *honest[1:]]
    with pytest.raises(RefusedError, match="another log"):
        unit.uplink.deliver(unit.upload(unit.frame(0), unit.frame(1)))
    assert len(alarms(city)) == before + 2
    unit.log.leaves[:] = honest
    unit.uplink.close()


def raw_request(city, running, head: bytes, body: bytes, *, identity=None) -> bytes:
    """Send bytes as they are, over TLS with a client certificate, and return the answer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=city.authority.pem)
    context.check_hostname = False
    if identity is not None:
        context.load_cert_chain(*identity.write(city.folder, "raw"))
    with (
        socket.create_connection(("127.0.0.1", running.port), timeout=30) as plain,
        context.wrap_socket(plain) as secured,
    ):
        secured.sendall(head + body)
        answer = b""
        while not is_whole(answer) and (chunk := secured.recv(65_536)):
            answer += chunk
        return answer


def is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return bool(end) and len(body) >= int(length[1] if length else 0)


def head_of(body: bytes, *, length: int | None = None, media_type="application/cbor", key="x"):
    size = len(body) if length is None else length
    lines = ("POST /v1/frames HTTP/1.1", "Host: x", f"Content-Type: {media_type}")
    lines += (f"Content-Length: {size}", f"Idempotency-Key: {key}", "", "")
    return "\r\n".join(lines).encode()


CHUNKED = (
    b"POST /v1/frames HTTP/1.1\r\nHost: x\r\nContent-Type: application/cbor\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        pytest.param(head_of(b"x" * 99), b"x" * 99, b" 400 ", id="garbage"),
        pytest.param(head_of(b"\xa0"), b"\xa0", b" 400 ", id="another map"),
        pytest.param(head_of(b"x", length=1_000_001), b"x", b" 413 ", id="too long by its head"),
        pytest.param(
            CHUNKED, b"10000\r\n" + b"x" * 65_536 + b"\r\n", b"", id="chunks that never end"
        ),
        pytest.param(
            head_of(b"x", media_type="text/plain"), b"x", b" 415 ", id="another media type"
        ),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"", b" 404 ", id="another address"),
        pytest.param(
            b"GET /v1/frames HTTP/1.1\r\nHost: x\r\n\r\n", b"", b" 405 ", id="another method"
        ),
        pytest.param(b"\x00\x01\x02\r\n\r\n", b"", b" 400 ", id="not HTTP"),
    ],
)
def test_hostile_requests_are_refused_and_the_next_is_served(place, head, body, expected):
    city, running = place
    identity = city.identity("unit-a")
    if expected:
        assert expected in raw_request(city, running, head, body, identity=identity).split(b"\r")[0]
    else:
        endless = body * 16
        answer = raw_request(city, running, head, endless, identity=identity)
        assert b" 413 " in answer.split(b"\r\n")[0]
    unit = Unit(city, running)
    unit.receipt(unit.deliver(unit.frame()))
    unit.uplink.close()


def test_a_wrong_idempotency_key_is_refused(unit, place):
    unit.log.grow(b"sealed")
    body = encode_upload(unit.upload(unit.frame()))
    identity = unit.city.identity("unit-a")
    answer = raw_request(*place, head_of(body, key="0" * 64), body, identity=identity)
    assert b" 400 " in answer.split(b"\r\n")[0]
    assert b"idempotency-key" in answer


@pytest.mark.parametrize("damage", ["cut", "flipped", "twice"])
def test_frames_that_are_none_are_refused(unit, damage):
    frame = unit.frame()
    frames = {
        "cut": (frame[:-1],),
        "flipped": (frame[:-1] + bytes([frame[-1] ^ 1]),),
        "twice": (frame, frame),
    }[damage]
    with pytest.raises(RefusedError, match="400 malformed"):
        unit.deliver(*frames)


def test_a_body_above_the_limit_is_refused(unit):
    with pytest.raises((RefusedError, UplinkError)):
        unit.deliver(unit.frame(sealed=bytes(1_100_000)))


def closed_routes():
    """All methods and addresses but those that prove in the request itself who sends it."""
    routes = [route for route in make_routes(None) if route.path not in OPEN]
    return [(method, route.path) for route in routes for method in route.methods]


@pytest.mark.parametrize(("method", "path"), closed_routes())
def test_a_client_without_a_certificate_gets_nothing(place, method, path):
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    answer = raw_request(*place, head.encode(), b"")
    assert b" 401 " in answer.split(b"\r\n")[0]


@pytest.mark.parametrize(("method", "path"), closed_routes())
def test_a_certificate_of_our_ca_that_the_register_does_not_know_gets_nothing(place, method, path):
    city, running = place
    city.identity("unit-a")
    stray = issue(city.authority, "unit-a")
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    answer = raw_request(city, running, head.encode(), b"", identity=stray)
    assert b" 403 " in answer.split(b"\r\n")[0]


def test_a_certificate_out_of_its_time_gets_no_further_than_the_handshake(place):
    city, running = place
    ended = issue(city.authority, "unit-a", valid=LAST_YEAR)
    register(city.folder, "unit-a", ended, city.logs["unit-a"].signer)
    answer = b""
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        answer = raw_request(city, running, head_of(b"x"), b"x", identity=ended)
    assert answer == b""


def test_a_client_of_another_ca_gets_nothing(place):
    city, running = place
    uplink = city.uplink(running.port, "unit-a", authority=make_authority())
    with pytest.raises(UplinkError, match=r"without an answer; .* this unit's certificate"):
        uplink.deliver(city.logs["unit-a"].upload(make_frame(first=1)))
    uplink.close()


@pytest.mark.parametrize("rounds", [3])
def test_what_was_receipted_is_there_after_kill_9(tmp_path, rounds):
    city = found_city(tmp_path)
    frames, answers = [], []
    for _ in range(rounds):
        with serving(city) as running:
            unit = Unit(city, running)
            frames.append(unit.frame())
            answers.append(unit.deliver(frames[-1]))
            running.kill()
            unit.uplink.close()
    assert exported(city) == b"".join(frames)
    with serving(city) as running:
        unit = Unit(city, running)
        again = unit.uplink.deliver(unit.upload(frames[0]))
        assert again.signed == answers[0].signed
        unit.uplink.close()


def test_the_key_is_the_hash_of_the_frames():
    frames = (b"one", b"two")
    assert idempotency_key(frames) == frame_hash(b"onetwo").hex()
