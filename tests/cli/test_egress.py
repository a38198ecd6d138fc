"""What may leave a unit: rules from the signed policy, tried in a network of their own."""

import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.base.errors import DeviceError
from agent.cli.egress import DROP_IN, RULES, TIME_DROP_IN
from agent.cli.egress_rules import Egress, plan_egress, write_drop_in, write_rules
from agent.cli.lockdown import DISCARD_PORT, FORBIDDEN, INTERVAL_NS, Lockdown
from agent.trust.policy import parse_policy
from deploy.demo.city import found_city, publish_policy, settle_unit
from tests.fakes import FakeClock
from tests.policies import policy_fields

ROOT = Path(__file__).parents[2]
SENDER, OTHER = 4321, 4322
"""Numbers of users."""
EGRESS = Egress(
    senders=(SENDER,), addresses=("10.9.0.2",), port=8443, dhcp=False, time_servers=("10.9.0.3",)
)


def why_not() -> str:
    if os.geteuid() != 0 or shutil.which("nft") is None:
        return "needs root and nftables"
    run = subprocess.run(
        ["unshare", "--net", "nft", "list", "ruleset"], capture_output=True, check=False
    )
    return "" if run.returncode == 0 else "network namespaces or nftables are not to be had here"


in_a_network = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")

TRY = """
import os, socket, sys
uid, kind, address, port = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
os.setuid(uid)
family = socket.AF_INET6 if ":" in address else socket.AF_INET
with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as one:
    one.settimeout(0.3)
    try:
        one.sendto(b"x", (address, port)) if kind == "udp" else one.connect((address, port))
        print("out")
    except (PermissionError, TimeoutError) as error:
        print("kept in")
    except OSError as error:  # refused by the far side: it got there
        print("out", error)
"""
SCENE = """
set -e
unshare --net=$1/city.net true
ip link set lo up
ip link add here type veth peer name there
ip link set there netns $1/city.net
nsenter --net=$1/city.net sh -c '
ip link set lo up; ip link set there up
for n in 2 3 4; do ip addr add 10.9.0.$n/24 dev there; done'
ip addr add 10.9.0.1/24 dev here
ip link set here up
nft -f $1/rules.nft
shift
while [ $# -gt 0 ]; do $PYTHON -c "$TRY" $1; shift; done
nft list counters
"""


def try_ways(folder: Path, rules: str, *ways: str) -> tuple[list[str], str]:
    """Return for each way (user, kind, address, port) whether it is open; and the counters."""
    (folder / "rules.nft").write_text(rules)
    (folder / "city.net").touch()
    try:
        run = subprocess.run(
            ["unshare", "--net", "sh", "-c", SCENE, "sh", folder, *ways],
            env={**os.environ, "TRY": TRY, "PYTHON": sys.executable},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        subprocess.run(["umount", folder / "city.net"], capture_output=True, check=False)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    return [line.split(" [")[0] for line in lines[: len(ways)]], "\n".join(lines[len(ways) :])


@in_a_network
def test_only_the_senders_way_is_open(tmp_path):
    ways = {
        f"{SENDER} tcp 10.9.0.2 8443": "out",
        f"{SENDER} tcp 10.9.0.2 443": "kept in",
        f"{SENDER} udp 10.9.0.2 8443": "kept in",
        f"{SENDER} tcp 10.9.0.4 8443": "kept in",
        f"{SENDER} udp 10.9.0.4 53": "kept in",
        f"{SENDER} udp 10.9.0.3 123": "kept in",
        f"{SENDER} tcp 127.0.0.1 2947": "kept in",
        f"{SENDER} tcp ::1 2947": "kept in",
        f"{OTHER} tcp 10.9.0.2 8443": "kept in",
        f"{OTHER} udp 10.9.0.4 53": "kept in",
        f"{OTHER} tcp 127.0.0.1 2947": "out",
        f"{OTHER} udp 10.9.0.3 123": "out",
        "0 tcp 10.9.0.2 8443": "kept in",
        "0 udp 10.9.0.4 53": "kept in",
        "0 udp 10.9.0.2 67": "kept in",
    }
    found, counters = try_ways(tmp_path, write_rules(EGRESS), *ways)
    assert dict(zip(ways, found, strict=True)) == ways
    assert "counter denied {\n\t\tpackets 0 " not in counters


@in_a_network
def test_the_senders_tries_count_apart(tmp_path):
    _, counters = try_ways(
        tmp_path, write_rules(EGRESS), f"{SENDER} udp 127.0.0.1 9", f"{SENDER} tcp 10.9.0.2 8443"
    )
    denied, tried = counters.split("counter denied")[1].split("counter tried")
    assert "packets 0 " in denied
    assert "packets 1 " in tried


def test_rules_come_from_the_policy_alone():
    fields = policy_fields(dhcp=False, time_servers=["192.0.2.123"])
    policy = parse_policy(json.dumps(fields).encode(), place="p")
    egress = plan_egress(policy, (7,))
    rules = write_rules(egress)
    assert "meta skuid 7 ip daddr { 192.0.2.7 } tcp dport 8443 accept" in rules
    assert "ip daddr { 192.0.2.123 } udp dport 123 accept" in rules
    assert "ip daddr { 192.0.2.7 } tcp dport 8443 ct state established accept" in rules
    assert "dport 67" not in rules
    assert write_drop_in(egress).splitlines()[1:] == [
        "[Service]", "IPAddressAllow=", "IPAddressAllow=192.0.2.7",
    ]  # fmt: skip


def test_names_are_never_resolved():
    assert " 53 " not in write_rules(EGRESS)


@pytest.fixture
def city(tmp_path):
    city = found_city(tmp_path / "city")
    publish_policy(city, port=9443)
    settle_unit(city, source=Path("none.mp4"), realtime=False)
    return city


def render(city, *words):
    name = pwd.getpwuid(os.getuid()).pw_name
    return subprocess.run(
        [sys.executable, "-m", "agent", "egress", "render", "--user", name, *words,
         "--config", city.unit_settings],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip


def test_the_command_writes_rules_and_drop_ins(city, tmp_path):
    run = render(city, "--into", tmp_path / "run")
    assert run.returncode == 0, run.stderr
    assert "tcp dport 9443 accept" in (tmp_path / "run" / RULES).read_text()
    assert "IPAddressAllow=127.0.0.1" in (tmp_path / "run" / DROP_IN).read_text()
    assert "FallbackNTP=\n" in (tmp_path / "run" / TIME_DROP_IN).read_text()


def test_a_policy_that_the_sender_took_over_changes_the_rules_and_an_older_one_does_not(city):
    assert "dport 9443 accept" in render(city).stdout
    first = (city.unit / "policy.bundle").read_bytes()
    publish_policy(city, port=9444)
    taken = city.unit / "state/policy/send/current.bundle"
    taken.parent.mkdir(parents=True)
    taken.write_bytes((city.unit / "policy.bundle").read_bytes())
    (city.unit / "policy.bundle").write_bytes(first)
    assert "dport 9444 accept" in render(city).stdout
    taken.write_bytes(first)  # a sender that was broken into goes back
    assert "dport 9444 accept" in render(city).stdout


def test_a_policy_without_enough_signatures_changes_nothing(city):
    assert "dport 9443 accept" in render(city).stdout
    publish_policy(city, port=9444, signed_by=("police",))
    taken = city.unit / "state/policy/send/current.bundle"
    taken.parent.mkdir(parents=True)
    taken.write_bytes((city.book.folder / "pending.bundle").read_bytes())
    assert "dport 9443 accept" in render(city).stdout


def test_root_may_reach_the_endpoint_until_the_unit_is_enrolled(city):
    assert "meta skuid 0 ip" not in render(city).stdout.replace(f"skuid {os.getuid()} ip", "", 1)
    (city.unit / "credentials/tls.crt").unlink()
    assert "meta skuid 0 ip" in render(city).stdout.replace(f"skuid {os.getuid()} ip", "", 1)


def test_a_user_that_is_not_there_is_named(city):
    run = subprocess.run(
        [sys.executable, "-m", "agent", "egress", "render", "--config", city.unit_settings],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 78
    assert "homeplate-send" in run.stderr


class Ways:
    """A packet filter with some ways open, that remembers what was tried."""

    def __init__(self, *opened: str) -> None:
        self.opened = opened
        self.tried: list[tuple[str, int]] = []

    def __call__(self, address: str, port: int) -> bool:
        self.tried.append((address, port))
        return address in self.opened


def endpoint():
    return parse_policy(json.dumps(policy_fields()).encode(), place="p").endpoint


def test_a_locked_sender_begins():
    ways = Ways()
    Lockdown(FakeClock(), ways).begin(endpoint())
    assert {address for address, _ in ways.tried} == {*FORBIDDEN, "192.0.2.7"}
    assert {port for _, port in ways.tried} == {DISCARD_PORT}


@pytest.mark.parametrize("address", [*FORBIDDEN, "192.0.2.7"])
def test_one_open_way_keeps_the_sender_from_beginning(address):
    with pytest.raises(DeviceError, match=f"a packet to {address} was let out"):
        Lockdown(FakeClock(), Ways(address)).begin(endpoint())


def test_a_lock_that_goes_later_ends_the_sender():
    clock, ways = FakeClock(), Ways()
    lockdown = Lockdown(clock, ways)
    lockdown.begin(endpoint())
    ways.opened = ("127.0.0.1",)
    lockdown.work()
    clock.advance(INTERVAL_NS / 1e9)
    with pytest.raises(DeviceError):
        lockdown.work()


def test_the_sender_does_not_run_where_nothing_locks_it_in(city):
    run = subprocess.run(
        [sys.executable, "-m", "agent", "send", "--locked", "--drain",
         "--config", city.unit_settings],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 69
    assert "a packet to 127.0.0.1" in run.stderr
    assert "egress not locked" in run.stderr
