"""Every packet of a unit, on its cable: only the city's endpoint is ever spoken to."""

import re
from collections import Counter

import pytest

from deploy.demo.city import publish_policy
from tests.system.capture import summarize
from tests.system.conftest import PORT, World
from tests.system.container import CITY_ADDRESS, UNIT_ADDRESS, await_true

pytestmark = pytest.mark.system
ALLOWED = {("tcp", f"{CITY_ADDRESS} {PORT}"), ("arp", "neighbours")}
TRAPS = """
import socket, sys, threading
def udp(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((sys.argv[1], port))
        while True:
            one.recvfrom(2000)
def tcp(port):
    with socket.create_server((sys.argv[1], port)) as one:
        while True:
            with one.accept()[0] as taken:
                taken.sendall(b"HTTP/1.1 307 Elsewhere\\r\\nLocation: http://10.77.0.3/\\r\\n\\r\\n")
for port in (53, 123, 67):
    threading.Thread(target=udp, args=(port,)).start()
for port in (53, 80, 443, 3128, 8080):
    threading.Thread(target=tcp, args=(port,)).start()
"""
"""A resolver, a time server and proxies that answer everybody; all of them send elsewhere."""
HOSTILE = f"""[Service]
Environment=HTTPS_PROXY=http://{CITY_ADDRESS}:3128 https_proxy=http://{CITY_ADDRESS}:3128
Environment=ALL_PROXY=socks5://{CITY_ADDRESS}:8080 HTTP_PROXY=http://{CITY_ADDRESS}:3128
Environment=SSL_CERT_FILE=/tmp/elsewhere.pem SSLKEYLOGFILE=/run/homeplate/keys
"""


def sent(world: World) -> Counter[tuple[str, str]]:
    """Count the packets of the unit by kind and destination."""
    return summarize(world.packets, sender=UNIT_ADDRESS)


def counter(world: World, name: str) -> int:
    text = world.machine.run("nft", "list", "counter", "inet", "homeplate", name)
    return int(re.findall(r"packets (\d+)", text)[0])


def test_resolvers_and_proxies_are_not_spoken_to(world):
    world.start_in_city("-c", TRAPS, CITY_ADDRESS)
    machine = world.machine
    machine.run("sh", "-c", f"echo nameserver {CITY_ADDRESS} >/etc/resolv.conf")
    for service in ("homeplate-send", "homeplate-watch"):
        folder = f"/run/systemd/system/{service}.service.d"
        machine.run("sh", "-c", f"mkdir -p {folder}; echo '{HOSTILE}' >{folder}/hostile.conf")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "homeplate-watch", "homeplate-send")
    world.play()
    await_true(lambda: world.sender().get("frames_uploaded", 0) > 0, "reads arrive all the same")
    found = sent(world)
    print("packets that left the unit:")
    for (kind, to), count in sorted(found.items()):
        print(f"  {count:6} {kind} to {to}")
    assert set(found) <= ALLOWED
    assert machine.run("ls", "/run/homeplate").split().count("keys") == 0


def test_nothing_else_even_tried(world):
    assert counter(world, "denied") == 0
    assert counter(world, "tried") > 0


def test_who_is_in_the_senders_place_reaches_the_endpoint_alone(world):
    """A sender that was broken into: its user, its namespaces and its packet filter."""
    world.play()
    code = "import socket; s = socket.socket(); s.settimeout(2); print(s.connect_ex(({!r}, {})))"
    answers = {}
    for address, port in ((CITY_ADDRESS, PORT), (CITY_ADDRESS, 80), ("10.77.0.3", 443)):
        answers[address, port] = world.machine.run(
            "systemd-run", "--quiet", "--pipe", "--wait", "--uid=homeplate-send",
            "/usr/bin/python3", "-c", code.format(address, port), check=False,
        ).strip()  # fmt: skip
    assert answers[CITY_ADDRESS, PORT] == "0"
    assert answers[CITY_ADDRESS, 80] != "0"
    assert answers["10.77.0.3", 443] != "0"
    assert set(sent(world)) <= ALLOWED


def test_a_sender_that_is_not_locked_in_does_not_run(world):
    machine = world.machine
    machine.run("systemctl", "stop", "homeplate-egress.path", "homeplate-send")
    machine.run("nft", "delete", "table", "inet", "homeplate")
    folder = "/run/systemd/system/homeplate-send.service.d"
    machine.run("sh", "-c", f"printf '[Service]\\nIPAddressDeny=\\n' >{folder}/99-open.conf")
    machine.run("systemctl", "daemon-reload")
    try:
        started = machine.run("systemctl", "start", "homeplate-send", check=False)
        assert "failed" in started
        journal = machine.journal("--unit", "homeplate-send")
        assert "egress not locked" in journal
        print(next(line for line in journal.splitlines() if "was let out" in line))
    finally:
        machine.run("rm", f"{folder}/99-open.conf")
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "restart", "homeplate-egress", "homeplate-egress.path")
        machine.run("systemctl", "reset-failed", "homeplate-send")
        world.packets.write_text("")


def test_a_policy_that_moves_the_endpoint_moves_the_filter(world):
    world.play()
    old = world.processes[0]
    publish_policy(world.city, port=PORT + 1)
    config = world.city.endpoint_config
    await_true(
        lambda: (
            f"dport {PORT + 1}" in world.machine.run("nft", "list", "table", "inet", "homeplate")
        ),
        "the filter follows the policy",
    )
    rules = world.machine.run("nft", "list", "table", "inet", "homeplate")
    assert f"dport {PORT} " not in rules
    old.terminate()
    old.wait(30)
    config.write_text(config.read_text().replace(f"port = {PORT}", f"port = {PORT + 1}"))
    world.processes[0] = world.serve()
    before = world.sender().get("frames_uploaded", 0)
    await_true(
        lambda: world.sender().get("frames_uploaded", 0) > before, "reads arrive at the new place"
    )
