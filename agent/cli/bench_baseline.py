"""Figures of an earlier run, kept to be compared with: `--save-baseline` and `--baseline`."""

from pathlib import Path
from typing import Any, Final

import msgspec

from agent.base.errors import ConfigError
from agent.base.files import read_bounded

Tree = dict[str, Any]
Baseline = dict[str, dict[str, float]]
"""Clip → figure → value."""

FIGURES: Final = {
    "gflop_per_frame": "GFLOP a frame",
    "kernels_per_frame": "CPU of the road a frame, by the yardstick",
    "share_outside_networks": "share outside the networks",
    "truth.strict_accuracy": "strict accuracy",
    "truth.wrong": "wrong reads",
    "truth.right_per_minute": "vehicles read exactly a minute",
    "frames_motionless": "frames without motion",
    "frames_passed": "frames passed over",
    "frames_shed": "frames shed",
    "peak_rss_mib": "memory, MiB",
}
"""What does not depend on the machine, or hardly: path in a clip's report → name."""
LIMIT_BYTES: Final = 1 << 20


def find_figure(report: Tree, path: str) -> float | None:
    """Return a number of a clip's report by its dotted path; None = it was not measured."""
    found: object = report
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return float(found) if isinstance(found, int | float) else None


def pick_figures(reports: list[Tree]) -> Baseline:
    """Return what is kept of the clips."""
    picked = {}
    for report in reports:
        values = {path: find_figure(report, path) for path in FIGURES}
        picked[report["clip"]] = {path: v for path, v in values.items() if v is not None}
    return picked


def load_baseline(path: Path) -> Baseline:
    """Return the figures of an earlier run.

    Raises:
        ConfigError: There are none.
    """
    content = read_bounded(path, limit_bytes=LIMIT_BYTES)
    try:
        return msgspec.json.decode(content, type=Baseline)
    except msgspec.MsgspecError as error:
        message = f"{path}: {error}; expected a file that --save-baseline wrote"
        raise ConfigError(message) from error


def compare_baseline(reports: list[Tree], baseline: Baseline) -> list[Tree]:
    """Return each figure then and now, and its change; clips that were not there are left out."""
    rows = []
    for report in reports:
        before = baseline.get(report["clip"], {})
        for path, name in FIGURES.items():
            now, then = find_figure(report, path), before.get(path)
            if now is None or then is None:
                continue
            change = (now - then) / then if then else None
            row = {"clip": report["clip"], "figure": path, "name": name}
            rows.append({**row, "before": then, "now": now, "change": change})
    return rows
