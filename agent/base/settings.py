"""Settings of a unit: one TOML file, strict types, ranges, no unknown keys.

What the city decides (endpoint, keys, mode, retention, quota) is not here but in the policy;
secrets are credential files. Every setting has a default but the unit's name and the camera.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from agent.base.errors import ConfigError

Share = Annotated[float, Meta(ge=0, le=1)]
UnitId = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class CameraSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where frames come from."""

    source: Annotated[str, Meta(min_length=1)]
    """A video file, a folder of pictures, or an rtsp:// address."""
    realtime: bool = False
    """Play a file at its own pace; without, as fast as the agent goes."""
    lores_width_px: Annotated[int, Meta(ge=160, le=1920)] = 640


class DetectSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Finding plates."""

    threshold: Share | None = None
    """Lowest score of a plate; None = the manifest's recommendation."""
    max_plates: Annotated[int, Meta(ge=1, le=32)] = 16


class TrackSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Following plates over frames."""

    max_gap_frames: Annotated[int, Meta(ge=0, le=300)] = 10
    """Frames a plate may stay unseen before its passage is over."""
    min_frames: Annotated[int, Meta(ge=1, le=100)] = 2
    """Fewer sightings are no passage."""
    max_reads: Annotated[int, Meta(ge=1, le=1000)] = 30
    """Crops of one vehicle that are read at most until its text is certain."""


class ReadSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reading plates."""

    min_char_confidence: Share = 0.7
    """A read whose weakest character is below abstains."""
    min_frames_agreed: Annotated[int, Meta(ge=1, le=100)] = 2
    min_characters: Annotated[int, Meta(ge=1, le=16)] = 4


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The two networks."""

    directory: str = ""
    """Folder with manifest.toml; empty = the one that came with the agent."""
    threads: Annotated[int, Meta(ge=1, le=16)] = 1


class SpoolSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sealed frames on disk."""

    commit_interval_s: Annotated[float, Meta(ge=0.25, le=5)] = 1.0
    segment_limit_bytes: Annotated[int, Meta(ge=65_536, le=8_388_608)] = 4_194_304
    segment_limit_s: Annotated[float, Meta(ge=1, le=3600)] = 60.0


class UplinkSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The sender's pace."""

    poll_interval_s: Annotated[float, Meta(ge=0.05, le=60)] = 1.0
    batch_interval_s: Annotated[float, Meta(ge=0, le=600)] = 30.0
    """How long reads and crops are gathered for one upload; hits never wait."""
    timeout_s: Annotated[float, Meta(ge=1, le=120)] = 15.0
    max_back_off_s: Annotated[float, Meta(ge=1, le=3600)] = 300.0


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One unit's settings."""

    unit: UnitId
    state_directory: Annotated[str, Meta(min_length=1)] = "/var/lib/homeplate"
    """Holds spool/ and audit/."""
    policy: Annotated[str, Meta(min_length=1)] = "/etc/homeplate/policy.json"
    credentials: Annotated[str, Meta(min_length=1)] = "/etc/homeplate/credentials"
    """Folder with watch.key, send.key, tls.key, tls.crt."""
    hotlist: str = ""
    """Hotlist file; needed in the mode hits-only."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    camera: CameraSettings
    detect: DetectSettings = DetectSettings()
    track: TrackSettings = TrackSettings()
    read: ReadSettings = ReadSettings()
    models: ModelSettings = ModelSettings()
    spool: SpoolSettings = SpoolSettings()
    uplink: UplinkSettings = UplinkSettings()


def parse_settings(content: bytes, *, place: str) -> Settings:
    """Read settings from TOML.

    Args:
        content: The file's bytes.
        place: Its name, for the message.

    Raises:
        ConfigError: Not TOML, an unknown key, a wrong type or a value out of range; the message
            names the path within the file.
    """
    try:
        return msgspec.toml.decode(content, type=Settings)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        message = f"{place}: {error}; see deploy/agent.example.toml for every setting"
        raise ConfigError(message) from error
