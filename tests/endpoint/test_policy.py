"""The endpoint gives out the policy and keeps heartbeats."""

import json
from hashlib import sha256

import pytest

from agent.base.errors import RefusedError
from agent.base.health_file import Facts, Health
from agent.trust.bundle_files import encode_bundle
from agent.trust.heartbeat import Heartbeat, PolicyState, encode_heartbeat
from tests.endpoint.city import found_city, run_endpoint, serving
from tests.trust.attacks import honest, policy_3

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A city whose endpoint serves all tests of this module."""
    city = found_city(tmp_path_factory.mktemp("city"))
    with serving(city) as running:
        uplink = city.uplink(running.port, "unit-a")
        yield city, uplink
        uplink.close()


def ask(uplink, tag=""):
    headers = {"If-None-Match": f'"{tag}"'} if tag else {}
    return uplink.exchange("GET", "/v1/policy", headers=headers, limit_bytes=1 << 20)


def ask_archive(uplink, asked, name="homeplate-1.0.0-x86_64-py3.13.tar.zst"):
    path = f"/v1/application/{name}"
    return uplink.exchange("GET", path, headers={"Range": asked}, limit_bytes=1 << 21)


@pytest.fixture
def archive(place):
    """An archive at the endpoint, and something beside the folder."""
    city, _ = place
    folder = city.folder / "applications"
    folder.mkdir(exist_ok=True)
    content = bytes(range(256)) * 8192
    (folder / "homeplate-1.0.0-x86_64-py3.13.tar.zst").write_bytes(content)
    (folder / "homeplate-1.0.1-x86_64-py3.13.tar.zst").unlink(missing_ok=True)
    (folder / "homeplate-1.0.1-x86_64-py3.13.tar.zst").symlink_to(city.folder / "endpoint.toml")
    return content


def test_an_archive_is_given_out_in_pieces(place, archive):
    _, uplink = place
    answer = ask_archive(uplink, "bytes=1000-1999")
    assert (answer.status, answer.content) == (206, archive[1000:2000])
    assert answer.headers["content-range"] == f"bytes 1000-1999/{len(archive)}"
    last = f"bytes={len(archive) - 5}-{len(archive) - 1}"
    assert ask_archive(uplink, last).content == archive[-5:]


@pytest.mark.parametrize(
    "asked", ["", "bytes=0-", "bytes=-5", "bytes=0-1048576", "bytes=5-4", "bytes=0-1,5-6", "x=0-1"]
)
def test_any_other_range_is_refused(place, archive, asked):
    with pytest.raises(RefusedError, match="range"):
        ask_archive(place[1], asked)


@pytest.mark.parametrize(
    "name",
    [
        "endpoint.toml",
        "..%2fendpoint.toml",
        "../endpoint.toml",
        "homeplate-1.0.1-x86_64-py3.13.tar.zst",
        "homeplate-9.9.9-x86_64-py3.13.tar.zst",
    ],
)
def test_nothing_but_archives_is_given_out(place, archive, name):
    with pytest.raises(RefusedError, match=r"unknown-application|no such address"):
        ask_archive(place[1], "bytes=0-9", name)


def watch_health(**facts):
    told = {
        "service": "watch", "unit": "unit-a", "pid": 1, "version": "1", "boot": "00",
        "started_ms": 1, "policy_version": 3, "policy_hash": "ab" * 32, "policy_expires_ms": 9,
        "mode": "hits-only",
    }  # fmt: skip
    return Health(at_ms=1, facts=Facts(**told, **facts), counters={}, lately={}, lately_s=0)


def beat(refused="", *, watch=None):
    policy = PolicyState(
        version=3,
        hash="ab" * 32,
        root_version=1,
        expires_ms=9,
        refusals=int(bool(refused)),
        last_refusal=refused,
    )
    return Heartbeat(
        at_ms=1, version="1", policy=policy, certificate_expires_ms=2, send={"a": 1}, watch=watch
    )


def tell(uplink, content):
    headers = {"Content-Type": "application/json"}
    return uplink.exchange("POST", "/v1/heartbeat", content, headers=headers, limit_bytes=1024)


def test_the_policy_is_given_out_and_only_when_it_is_another(place):
    city, uplink = place
    path = city.folder / "policy.bundle"
    path.unlink(missing_ok=True)
    assert ask(uplink).status == 204
    content = encode_bundle(policy_3())
    path.write_bytes(content)
    answer = ask(uplink)
    tag = sha256(content).hexdigest()
    assert (answer.status, answer.content, answer.headers["etag"]) == (200, content, f'"{tag}"')
    assert ask(uplink, tag).status == 304
    path.write_bytes(encode_bundle(honest()))
    assert ask(uplink, tag).content == encode_bundle(honest())


def test_the_last_heartbeat_of_a_unit_is_kept_and_shown(place):
    city, uplink = place
    assert tell(uplink, encode_heartbeat(beat())).status == 204
    assert "REFUSED" not in run_endpoint("status", "--config", city.config).stdout
    tell(uplink, encode_heartbeat(beat("signature: one alone")))
    told = run_endpoint("status", "--config", city.config).stdout
    assert "policy 3 (abababababababab)" in told
    assert "REFUSED by the sender, 1 since its start, the last: signature: one alone" in told
    found = json.loads(run_endpoint("status", "--config", city.config, "--json").stdout)
    assert found["heartbeats"]["unit-a"]["beat"]["policy"]["version"] == 3


def test_what_the_watcher_tells_of_its_hotlist_is_shown(place):
    city, uplink = place
    tell(uplink, encode_heartbeat(beat(watch=watch_health(hotlist_version=7))))
    told = run_endpoint("status", "--config", city.config).stdout
    assert "hotlist 7" in told
    assert "REFUSED hotlist" not in told
    watch = watch_health(hotlist_refusals=1, hotlist_refusal="hotlist: version 2 has expired")
    tell(uplink, encode_heartbeat(beat(watch=watch)))
    told = run_endpoint("status", "--config", city.config).stdout
    refused = "REFUSED hotlist, 1 since its start, the last: hotlist: version 2 has expired"
    assert f"hotlist none; {refused}" in told
    tell(uplink, encode_heartbeat(beat()))
    assert "its watcher does not run" in run_endpoint("status", "--config", city.config).stdout


def test_what_both_processes_refused_is_shown_of_each(place):
    city, uplink = place
    watch = watch_health(policy_refusals=2, last_refusal="models: allows others")
    tell(uplink, encode_heartbeat(beat("signature: one alone", watch=watch)))
    told = run_endpoint("status", "--config", city.config).stdout
    assert "REFUSED by the sender, 1 since its start, the last: signature: one alone" in told
    assert "REFUSED by the watcher, 2 since its start, the last: models: allows others" in told


def test_a_unit_that_was_never_heard_from_is_named(place):
    city, uplink = place
    tell(uplink, encode_heartbeat(beat()))
    city.identity("unit-b")
    told = run_endpoint("status", "--config", city.config).stdout
    assert "NEVER HEARD FROM" in next(one for one in told.splitlines() if one.startswith("unit-b"))
    assert told.count("NEVER HEARD FROM") == 1
    found = json.loads(run_endpoint("status", "--config", city.config, "--json").stdout)
    assert found["never_heard_from"] == ["unit-b"]


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 9999, b'{"plate": "x"}'], ids=str)
def test_what_is_no_heartbeat_is_refused(place, content):
    with pytest.raises(RefusedError, match="heartbeat"):
        tell(place[1], content or b" ")


def test_a_kept_heartbeat_that_is_damaged_is_told(place):
    city, uplink = place
    tell(uplink, encode_heartbeat(beat()))
    (city.folder / "heartbeats/unit-a.json").write_bytes(b"{")
    run = run_endpoint("status", "--config", city.config)
    assert run.returncode == 78
    assert "remove it" in run.stderr
