"""What `homeplate check` looks at: one code a question, as operating.md lists them.

A code never changes its meaning: people write it into tickets and search for it.
"""

from dataclasses import dataclass
from typing import Final

from agent.base.errors import (
    ConfigError,
    CredentialError,
    DeviceError,
    HomeplateError,
    IntegrityError,
    SpoolFullError,
    UplinkError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One question."""

    code: str
    name: str
    expected: str
    """What a healthy unit shows."""
    remedy: str
    """What to do when it does not, if the finding knows nothing better."""
    error: type[HomeplateError]
    """Who mends it, and the exit code when it is wrong."""


_ROWS: Final[tuple[tuple[str, str, str, str, type[HomeplateError]], ...]] = (
    (
        "HP-001",
        "settings",
        "unit.toml is there and every line of it is understood",
        "write or correct that file; deploy/unit.example.toml explains every setting",
        ConfigError,
    ),
    (
        "HP-101",
        "camera",
        "the source opens and gives frames",
        "look at [camera] source in unit.toml, then at the camera's cable and power",
        DeviceError,
    ),
    (
        "HP-102",
        "frames",
        "at least 10 frames a second, none damaged",
        "look at the cable, the network of the camera and its settings",
        DeviceError,
    ),
    (
        "HP-103",
        "light",
        "plates neither white nor black all over",
        "change exposure, gain or the lamp; at night infrared light beside the camera",
        DeviceError,
    ),
    (
        "HP-104",
        "contrast",
        "40 levels or more between the characters and their ground",
        "clean lens and window, look for sun or lamps in the picture, add light",
        DeviceError,
    ),
    (
        "HP-105",
        "focus",
        "edges no wider than two thirds of a character's stroke",
        "focus on a plate at the place where plates are read; clean the lens",
        DeviceError,
    ),
    (
        "HP-106",
        "plate width",
        "plates 60 pixels wide or more where they are read",
        "zoom in, move closer, or use a larger picture",
        DeviceError,
    ),
    (
        "HP-107",
        "motion blur",
        "a plate moves less than one and a half strokes of a character in the exposure",
        "shorten [exposure] longest_us and add light, or look along the road, not across it",
        ConfigError,
    ),
    (
        "HP-108",
        "privacy mask",
        "the mask leaves the lanes free",
        "correct [mask] polygons in unit.toml",
        ConfigError,
    ),
    (
        "HP-201",
        "clock",
        "a plausible time, not before the last entry of the logs",
        "set the clock (timedatectl), then see why it was lost: battery, time server",
        DeviceError,
    ),
    (
        "HP-202",
        "time source",
        "the clock is kept right by a time server or GPS",
        "allow the time server in the firewall, or start chrony or systemd-timesyncd",
        DeviceError,
    ),
    (
        "HP-203",
        "disk room",
        "room for all that the policy's quotas allow",
        "use a larger disk, or see why nothing is uploaded and deleted",
        SpoolFullError,
    ),
    (
        "HP-204",
        "disk health",
        "mounted for writing, no errors noted by the kernel, not worn out",
        "replace the card or disk; what is sealed on it needs the city's key anyway",
        DeviceError,
    ),
    (
        "HP-205",
        "disk speed",
        "a write is safe on the disk within 250 ms",
        "use a card of class A2 or an SSD; see what else writes",
        DeviceError,
    ),
    (
        "HP-206",
        "temperature",
        "below 78 °C: from there on frames are left out",
        "shade, airflow, a heat sink; clean the vents",
        DeviceError,
    ),
    (
        "HP-207",
        "power and throttling",
        "the processor runs at full speed and the voltage holds",
        "use the supply and cable that came with the board; cool it",
        DeviceError,
    ),
    (
        "HP-208",
        "pace",
        "the watcher keeps up: at most 1 frame in 100 left out in the last minute",
        "end what else runs here, cool it (HP-206), or ask for fewer frames a second",
        DeviceError,
    ),
    (
        "HP-301",
        "policy",
        "signed by enough of the city's keys, valid now and for 7 days more",
        "bring a new policy from the city, by network or stick",
        ConfigError,
    ),
    (
        "HP-302",
        "hotlist",
        "the watcher holds a list that has not expired",
        "see why none arrives: the route to the city, or nobody publishes one",
        UplinkError,
    ),
    (
        "HP-303",
        "route to the city",
        "the endpoint answers with the pinned key and takes this unit's certificate",
        "check the network, then the addresses and pins in the policy",
        UplinkError,
    ),
    (
        "HP-304",
        "certificate",
        "this unit's, valid for 7 days more",
        "see why it is not renewed (HP-303), or enroll the unit again: homeplate enroll",
        CredentialError,
    ),
    (
        "HP-305",
        "last receipt",
        "younger than 24 hours, or nothing waits",
        "see why nothing is uploaded: homeplate status, and the sender's journal",
        UplinkError,
    ),
    (
        "HP-401",
        "models",
        "both networks are those of the manifest, and run",
        "install the models again",
        IntegrityError,
    ),
    (
        "HP-402",
        "credentials",
        "four files that only the services' users can read",
        "enroll the unit, or: chmod 600 on the files, 700 on their folder",
        CredentialError,
    ),
    (
        "HP-403",
        "folders",
        "state, settings and policy that nobody else can write",
        "chmod o-w, and give the folder to the services' user",
        ConfigError,
    ),
    (
        "HP-404",
        "exchange folder",
        "in memory (tmpfs), so that nothing there reaches a disk",
        "make it by systemd (RuntimeDirectory=homeplate) or set exchange_directory",
        ConfigError,
    ),
    (
        "HP-405",
        "listening sockets",
        "no process of ours listens",
        "stop the unit and report this: it must not be",
        IntegrityError,
    ),
    (
        "HP-406",
        "swap",
        "none, or compressed in memory: plates in memory must not reach a disk",
        "swapoff -a, and remove the swap file or partition for good",
        ConfigError,
    ),
    (
        "HP-407",
        "core dumps",
        "no core of our processes is written",
        "set kernel.core_pattern to |/bin/false and restart the services",
        ConfigError,
    ),
    (
        "HP-408",
        "way out",
        "the sender has tried other addresses, and the system let nothing out",
        "start the services by systemd: homeplate-egress.service and send --locked",
        ConfigError,
    ),
)
"""Code, name, expected, remedy, error."""

TOPICS: Final = {
    code: Topic(code=code, name=name, expected=expected, remedy=remedy, error=error)
    for code, name, expected, remedy, error in _ROWS
}
"""In the order in which they are shown."""
SECTIONS: Final = {
    "HP-0": "Settings",
    "HP-1": "Camera and picture",
    "HP-2": "The unit",
    "HP-3": "The city",
    "HP-4": "Software and safety",
}
"""By the beginning of the code."""
