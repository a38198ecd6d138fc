"""What the city opened, held against the truth of the clip. Counts only: no plate is printed."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent.base.clock import from_ms
from agent.base.records import Direction, PlateRead, PlateText
from agent.cli.bench_truth import compare_reads, load_truth


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How the opened reads compare with the vehicles of the clip."""

    vehicles: int
    """In the truth."""
    reads: int
    """Opened with the city's key."""
    crops: int
    """Pictures of plates, likewise."""
    right: int
    """Vehicles of which a read is exactly the truth."""
    wrong: int
    """Reads, not abstained, that are no vehicle's text at that time."""
    abstained: int

    @property
    def strict_percent(self) -> float:
        """Strict accuracy: vehicles read exactly, of all vehicles."""
        return 100.0 * self.right / max(self.vehicles, 1)

    def as_dict(self) -> dict[str, float]:
        """Return the figures by name."""
        return asdict(self) | {"strict_percent": self.strict_percent}


def score_reads(opened: list[dict[str, Any]], truth: Path) -> Score:
    """Compare what `homeplate open --json` printed with a truth file."""
    items = [item for item in opened if item["kind"] == "read"]
    vehicles = load_truth(truth)
    compared = compare_reads(tuple(_as_read(item) for item in items), vehicles)
    return Score(
        vehicles=len(vehicles),
        reads=len(items),
        crops=len(opened) - len(items),
        right=compared.right,
        wrong=compared.wrong,
        abstained=compared.abstained,
    )


def _as_read(item: dict[str, Any]) -> PlateRead:
    return PlateRead(
        text=PlateText(item["text"]),
        confidences=tuple(item["confidences"]),
        abstained=item["abstained"],
        frames_seen=item["frames_seen"],
        frames_agreed=item["frames_agreed"],
        first_seen=from_ms(item["first_ms"]),
        last_seen=from_ms(item["last_ms"]),
        first_frame=item["first_frame"],
        last_frame=item["last_frame"],
        direction=Direction(item["direction"]),
        corners=tuple(item["corners"]),
        crop_jpeg=b"",
    )
