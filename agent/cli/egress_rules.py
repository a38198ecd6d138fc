"""The packet filter of a unit, in words of nftables and systemd, from the signed policy alone.

Nothing goes out but the sender to the city's endpoint, and what the policy lets the system ask: its
address (DHCP) and the time (NTP). No name is ever resolved. Rules know users by number: the sender
is the only process of its user, and no other process of ours has a network at all.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from agent.cli.lockdown import DISCARD_PORT
from agent.trust.policy import Policy

TABLE: Final = "homeplate"
COUNTER: Final = "denied"
"""Counts packets that were to go somewhere else: 0 on a healthy unit."""
TRIED: Final = "tried"
"""Counts the packets with which the sender tries whether it is locked in."""
ROOT_UID: Final = 0
_V4: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """Who may speak to whom."""

    senders: tuple[int, ...]
    """Numbers of the users that may reach the endpoint: the sender's; root's while enrolling."""
    addresses: tuple[str, ...]
    """Of the endpoint, literal."""
    port: int
    dhcp: bool
    time_servers: tuple[str, ...]


def plan_egress(policy: Policy, senders: tuple[int, ...]) -> Egress:
    """Return what a policy allows."""
    return Egress(
        senders=senders,
        addresses=policy.endpoint.addresses,
        port=policy.endpoint.port,
        dhcp=policy.dhcp,
        time_servers=policy.time_servers,
    )


def write_rules(egress: Egress) -> str:
    """Return the rules for `nft -f`; they replace those before in one step."""
    out, into = list(_list_out(egress)), list(_list_in(egress))
    return "\n".join(
        [
            "# Written by `homeplate egress render` from the policy in force. Do not edit.",
            f"table inet {TABLE}",
            f"delete table inet {TABLE}",
            f"table inet {TABLE} {{",
            f"  counter {COUNTER} {{ }}",
            f"  counter {TRIED} {{ }}",
            *_chain("out", "output", [*out, f"counter name {COUNTER} drop"]),
            *_chain("in", "input", into),
            *_chain("through", "forward", []),
            "}",
            "",
        ]
    )


def write_drop_in(egress: Egress) -> str:
    """Return the sender's drop-in for systemd: `IPAddressDeny=any` stands in the unit itself."""
    lines = [f"IPAddressAllow={address}" for address in egress.addresses]
    return "\n".join(
        ["# Written by `homeplate egress render`.", "[Service]", "IPAddressAllow=", *lines, ""]
    )


def write_time_servers(egress: Egress) -> str:
    """Return the drop-in for systemd-timesyncd: the policy's time servers and no others."""
    named = " ".join(egress.time_servers)
    return "\n".join(
        ["# Written by `homeplate egress render`.", "[Time]", f"NTP={named}", "FallbackNTP=", ""]
    )


def _chain(name: str, hook: str, rules: Sequence[str]) -> list[str]:
    begin = f"    type filter hook {hook} priority 0; policy drop;"
    return [f"  chain {name} {{", begin, *(f"    {rule}" for rule in rules), "  }"]


def _list_out(egress: Egress) -> Iterable[str]:
    """Yield the rules for what leaves; the sender's own end before the rest of the system's."""
    for uid in egress.senders:
        for match in _match(egress.addresses, "daddr"):
            yield f"meta skuid {uid} {match} tcp dport {egress.port} accept"
    users = ", ".join(str(uid) for uid in egress.senders if uid != ROOT_UID)
    tries = f"meta skuid {{ {users} }} meta l4proto {{ tcp, udp }} th dport {DISCARD_PORT}"
    yield f"{tries} counter name {TRIED} drop"
    yield f"meta skuid {{ {users} }} counter name {COUNTER} drop"
    yield "oif lo accept"
    for match in _match(egress.addresses, "daddr"):  # its last packets: the process has ended
        yield f"{match} tcp dport {egress.port} ct state established accept"
    if egress.dhcp:
        yield "udp sport 68 udp dport 67 accept"
        yield "ip6 daddr { fe80::/10, ff02::1:2 } udp sport 546 udp dport 547 accept"
    for match in _match(egress.time_servers, "daddr"):
        yield f"{match} udp dport 123 accept"
    kinds = "nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit"
    if _has_v6(egress):
        yield f"icmpv6 type {{ {kinds} }} accept"
        yield "icmpv6 type mld2-listener-report drop"
    else:  # the kernel's own, at each start: no news
        yield f"icmpv6 type {{ {kinds}, mld2-listener-report }} drop"


def _list_in(egress: Egress) -> Iterable[str]:
    """Yield the rules for what arrives: answers, and nobody who begins."""
    yield "iif lo accept"
    for match in _match(egress.addresses, "saddr"):
        yield f"{match} tcp sport {egress.port} ct state established accept"
    if egress.dhcp:
        yield "udp sport 67 udp dport 68 accept"
        yield "ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept"
    for match in _match(egress.time_servers, "saddr"):
        yield f"{match} udp sport 123 ct state established accept"
    yield "icmp type { destination-unreachable, time-exceeded } ct state related accept"
    if _has_v6(egress):
        kinds = "nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert, packet-too-big"
        yield f"icmpv6 type {{ {kinds} }} accept"


def _match(addresses: Iterable[str], side: str) -> Iterable[str]:
    """Yield one match for each family that occurs."""
    found = [ipaddress.ip_address(address) for address in addresses]
    for version, family in ((_V4, "ip"), (6, "ip6")):
        named = ", ".join(str(address) for address in found if address.version == version)
        if named:
            yield f"{family} {side} {{ {named} }}"


def _has_v6(egress: Egress) -> bool:
    return any(":" in address for address in (*egress.addresses, *egress.time_servers))
