"""Settings of a unit: one TOML file, strict types, ranges, no unknown keys.

What the city decides (endpoint, keys, mode, retention, quota) is not here but in the policy;
secrets are credential files. Every setting has a default but the unit's name and the camera.
Why each is there and what it may be stands in deploy/unit.example.toml.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from agent.base.errors import ConfigError
from agent.base.forms import explain_misfit
from agent.base.shapes import check_line, check_polygon

Share = Annotated[float, Meta(ge=0, le=1)]
UnitId = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Path = Annotated[str, Meta(min_length=1, max_length=4096)]
Label = Annotated[str, Meta(max_length=100)]
Position = tuple[Annotated[float, Meta(ge=-90, le=90)], Annotated[float, Meta(ge=-180, le=180)]]
Point = tuple[Share, Share]
"""x, y in shares of the picture's width and height, from its top left corner."""
Size = tuple[Annotated[int, Meta(ge=64, le=8192)], Annotated[int, Meta(ge=64, le=8192)]]
"""Width, height in pixels."""
Gain = Annotated[float, Meta(ge=1, le=64)]
"""Of the sensor's amplifier; 2 = one stop."""
Polygon = Annotated[tuple[Point, ...], Meta(min_length=3, max_length=32)]


class SiteSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the unit stands: shown to people by `check` and `status`, never sent with a read."""

    name: Label = ""
    position: Position | None = None
    """Latitude, longitude in degrees, WGS 84."""
    heading_degrees: Annotated[float, Meta(ge=0, lt=360)] | None = None
    """Where the camera looks, clockwise from true north."""
    fastest_kmh: Annotated[float, Meta(ge=1, le=300)] = 70.0
    """Traffic is not faster, or its reads may be lost to blur."""


class CameraSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where frames come from. The sizes and what follows are for cameras on the unit itself."""

    source: Path
    """A video file, a folder of pictures, an rtsp:// address, `picamera2:0`, or /dev/video0."""
    realtime: bool = False
    """Play a file at its own pace; without, as fast as the agent goes."""
    lores_width_px: Annotated[int, Meta(ge=160, le=1920)] = 640
    size_px: Size = (1920, 1080)
    frames_per_s: Annotated[float, Meta(ge=1, le=120)] = 30.0
    sensor_size_px: Size | None = None
    """Of the sensor's mode; None = the smallest that is large and fast enough."""
    sensor_bits: Annotated[int, Meta(ge=8, le=16)] | None = None
    focus_m: Annotated[float, Meta(ge=0.1, le=1000)] | None = None
    """Where a lens that can be moved is focused, and stays; None = it is left alone."""


class ExposureSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the sensor may look: files and streams come with their own exposure."""

    longest_us: Annotated[int, Meta(ge=20, le=33_000)] = 1000
    mode: Literal["auto", "day", "night"] = "auto"
    max_gain: Gain = 16.0
    night_us: Annotated[int, Meta(ge=20, le=33_000)] = 500
    night_gain: Gain = 8.0
    hold_s: Annotated[float, Meta(ge=5, le=3600)] = 60.0
    """How long it must be dark, or bright, before night or day is believed."""


class GpsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the unit is, for units on vehicles; sealed with each read, never sent otherwise."""

    track: Annotated[str, Meta(max_length=4096)] = ""
    """File in memory that `homeplate gps` keeps; empty = a unit on a pole."""
    max_age_s: Annotated[float, Meta(ge=0.5, le=60)] = 3.0
    """A fix this much before or after a read still counts for it."""


class MaskSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parts of the picture that no stage may see."""

    polygons: Annotated[tuple[Polygon, ...], Meta(max_length=32)] = ()

    def __post_init__(self) -> None:
        for number, polygon in enumerate(self.polygons):
            check_polygon(polygon, place=f"polygons[{number}]")


class LaneSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One lane of the road: where it crosses the picture at the place where plates are read."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    left: Point
    """The lane's left edge, as the camera sees it."""
    right: Point
    width_m: Annotated[float, Meta(ge=2, le=10)] = 3.5

    def __post_init__(self) -> None:
        check_line(self.left, self.right, place="left, right")


class DetectSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Finding plates."""

    threshold: Share | None = None
    """Lowest score of a plate; None = the manifest's recommendation."""
    max_plates: Annotated[int, Meta(ge=1, le=32)] = 16
    skip_motionless: bool = True
    """Where nothing moved since the last look, its answer holds."""
    motion_levels: Annotated[int, Meta(ge=2, le=64)] = 6
    """Grey levels by which a place must change to count as moved."""
    longest_still_s: Annotated[float, Meta(ge=0.1, le=5)] = 0.5
    """A look is taken at least that often, also where nothing seems to move."""
    quiet_interval_s: Annotated[float, Meta(ge=0, le=0.2)] = 0.05
    """Where no plate is left to be read, frames sooner after the last look are passed over."""


class TrackSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Following plates over frames."""

    max_gap_frames: Annotated[int, Meta(ge=0, le=300)] = 10
    """Frames a plate may stay unseen before its passage is over."""
    min_frames: Annotated[int, Meta(ge=1, le=100)] = 2
    """Fewer sightings are no passage."""
    max_reads: Annotated[int, Meta(ge=1, le=1000)] = 30
    """Crops of one vehicle that are read at most until its text is certain."""
    reread_certain: bool = False
    """Read also those whose text is certain: for comparison."""
    choose_crops: bool = True
    """After the first looks, put off crops that are much smaller or less sharp than the best."""


class ReadSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reading plates."""

    min_char_confidence: Share = 0.5
    """A read whose weakest character is below abstains; so does one whose whole text is less
    probable than the reader's manifest asks."""
    min_frames_agreed: Annotated[int, Meta(ge=1, le=100)] = 2
    min_characters: Annotated[int, Meta(ge=1, le=16)] = 4
    weigh_looks: bool = True
    """A look at a plate counts by its size and by how sure it is; without, all count alike."""
    certain_early: bool = True
    """Two looks that are very sure together end the reading of a plate; without, it takes three."""
    spare_looks: bool = True
    """A doubtful look at a vehicle is repeated in the same frame only where that is likely to help;
    without, as if there were no next frame."""


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The two networks."""

    directory: Annotated[str, Meta(max_length=4096)] = ""
    """Folder with manifest.toml; empty = the one that came with the agent."""
    threads: Annotated[int, Meta(ge=1, le=16)] = 1
    precision: Literal["fp32", "int8"] = "fp32"
    """Which of the files that the manifest names."""


class SheddingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frames of a live camera that are left out when the unit is behind or hot."""

    enabled: bool = True
    hot_celsius: Annotated[float, Meta(ge=40, le=110)] = 78.0
    cool_celsius: Annotated[float, Meta(ge=30, le=105)] = 74.0
    """Once hot, it must fall below this."""
    thermal_zone: Annotated[str, Meta(max_length=4096)] = "/sys/class/thermal/thermal_zone0/temp"
    """File of the processor's temperature in thousandths of a degree."""

    def __post_init__(self) -> None:
        if self.cool_celsius >= self.hot_celsius:
            message = "cool_celsius: not below hot_celsius"
            raise ValueError(message)


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
    policy_interval_s: Annotated[float, Meta(ge=1, le=3600)] = 60.0
    """How often the city is asked for a newer policy."""
    heartbeat_interval_s: Annotated[float, Meta(ge=1, le=3600)] = 60.0
    """How often the city is told how the unit is; refused policies are told at once."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One unit's settings."""

    unit: UnitId
    state_directory: Path = "/var/lib/homeplate"
    """Holds spool/ and audit/."""
    policy: Path = "/etc/homeplate/policy.bundle"
    """The signed policy bundle as flashed; a newer accepted one lies in the state directory."""
    root: Path = "/etc/homeplate/root.json"
    """The city's trusted root as flashed."""
    exchange_directory: Path = "/run/homeplate"
    """A tmpfs folder through which the sender hands policy and hotlist to the watcher."""
    credentials: Path = "/etc/homeplate/credentials"
    """Folder with watch.key, send.key, tls.key, tls.crt."""
    monitoring_directory: Annotated[str, Meta(max_length=4096)] = ""
    """Where both services leave their numbers for the city's own monitoring; empty = nowhere."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    site: SiteSettings = SiteSettings()
    camera: CameraSettings
    exposure: ExposureSettings = ExposureSettings()
    gps: GpsSettings = GpsSettings()
    mask: MaskSettings = MaskSettings()
    lanes: Annotated[tuple[LaneSettings, ...], Meta(max_length=12)] = ()
    detect: DetectSettings = DetectSettings()
    track: TrackSettings = TrackSettings()
    read: ReadSettings = ReadSettings()
    models: ModelSettings = ModelSettings()
    shedding: SheddingSettings = SheddingSettings()
    spool: SpoolSettings = SpoolSettings()
    uplink: UplinkSettings = UplinkSettings()

    def __post_init__(self) -> None:
        names = [lane.name for lane in self.lanes]
        if len(set(names)) != len(names):
            message = "lanes: two have the same name"
            raise ValueError(message)


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
        found = explain_misfit(error, Settings)
        message = f"{place}: {found}; see deploy/unit.example.toml for every setting"
        raise ConfigError(message) from error
