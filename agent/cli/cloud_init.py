"""The three files of cloud-init on a unit's boot partition: name, network, nothing secret.

Raspberry Pi OS reads them at the first boot since its release of October 2025 (trixie); what they
may say stands in cloud-init's documentation (NoCloud; network config version 2).
"""

import json
from dataclasses import dataclass
from typing import Final

MARK: Final = b"# homeplate unit "
"""Stands in each file, so that we know our own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How the unit gets its address: fixed, or by DHCP when None."""

    address: str | None = None
    """With its prefix, as in 192.0.2.7/24."""
    gateway: str | None = None


def user_data(unit: str) -> bytes:
    """Return `user-data`: the name; no password, no log-in over the network; then enrolment."""
    lines = (
        "#cloud-config",
        _mark(unit),
        f"hostname: {unit}",
        "manage_etc_hosts: true",
        "ssh_pwauth: false",
        "disable_root: true",
        "package_update: false",
        "runcmd:",
        "  - [systemctl, start, --no-block, homeplate-enroll.service]",
        "",
    )
    return "\n".join(lines).encode()


def network_config(unit: str, network: Network) -> bytes:
    """Return `network-config`: one wired interface. No wireless key stands on a boot partition."""
    if network.address is None:
        settings = ["dhcp4: true"]
    else:
        route = json.dumps([{"to": "default", "via": network.gateway}])
        addresses = json.dumps([network.address])
        settings = ["dhcp4: false", f"addresses: {addresses}", f"routes: {route}"]
    lines = ["network:", "  version: 2", "  ethernets:", "    eth0:"]
    lines = [_mark(unit), *lines, *(f"      {setting}" for setting in settings), ""]
    return "\n".join(lines).encode()


def meta_data(unit: str, bundle: str) -> bytes:
    """Return `meta-data`: a new bundle is a new instance, so cloud-init takes it up again."""
    lines = (_mark(unit), f"instance-id: {unit}-{bundle}", f"local-hostname: {unit}", "")
    return "\n".join(lines).encode()


def is_foreign(content: bytes) -> bool:
    """Tell whether a file has settings that are not ours.

    Comments, and what Raspberry Pi OS brings along, are not settings.
    """
    if MARK in content:
        return False
    lines = [line.split(b"#")[0].strip() for line in content.splitlines()]
    stock = (b"dsmode:", b"instance_id:", b"instance-id:")
    return any(line and not line.startswith(stock) for line in lines)


def _mark(unit: str) -> str:
    return f"{MARK.decode()}{unit}"
