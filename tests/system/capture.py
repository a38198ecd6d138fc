"""Writes down every packet on a cable: `python -m tests.system.capture INTERFACE FILE`.

One line of JSON a packet: kind, source and destination with their ports. Runs until it is ended.
"""

import ipaddress
import json
import socket
import struct
import sys
from collections import Counter
from pathlib import Path

ALL_KINDS = 3  # ETH_P_ALL
KINDS = {0x0800: "ip", 0x86DD: "ip6", 0x0806: "arp"}
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6"}
HEADER_BYTES = 14


def main() -> None:
    """Write packets down."""
    interface, path = sys.argv[1:]
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_KINDS)) as tap,
        Path(path).open("a") as file,
    ):
        tap.bind((interface, 0))
        while True:
            file.write(json.dumps(describe(tap.recv(65_536))) + "\n")
            file.flush()


def describe(packet: bytes) -> dict[str, str]:
    """Return what a packet is."""
    (number,) = struct.unpack("!H", packet[12:14])
    kind, body = KINDS.get(number, hex(number)), packet[HEADER_BYTES:]
    if kind == "arp":
        return {"kind": "arp", "from": str(ipaddress.ip_address(body[14:18])), "to": "neighbours"}
    if kind == "ip":
        protocol, start = body[9], (body[0] & 15) * 4
        ends = [ipaddress.ip_address(body[place : place + 4]) for place in (12, 16)]
    elif kind == "ip6":
        protocol, start = body[6], 40
        ends = [ipaddress.ip_address(body[place : place + 16]) for place in (8, 24)]
    else:
        return {"kind": kind, "from": "", "to": ""}
    name = PROTOCOLS.get(protocol, str(protocol))
    ports = struct.unpack("!HH", body[start : start + 4]) if name in {"tcp", "udp"} else ("", "")
    return {"kind": name, "from": f"{ends[0]} {ports[0]}", "to": f"{ends[1]} {ports[1]}"}


def summarize(path: Path, *, sender: str) -> Counter[tuple[str, str]]:
    """Count what an address sent: (kind, destination with port) → packets."""
    found: Counter[tuple[str, str]] = Counter()
    for line in path.read_text().splitlines():
        packet = json.loads(line)
        if packet["from"].split()[:1] == [sender] or ":" in packet["from"]:
            found[packet["kind"], packet["to"].strip()] += 1
    return found


if __name__ == "__main__":
    main()
