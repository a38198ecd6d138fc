"""Does the camera give pictures, and are they good enough to read plates from?"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from agent.base.errors import DeviceError, HomeplateError
from agent.base.health import CameraState
from agent.base.settings import LaneSettings, Settings
from agent.camera.sources import open_camera
from agent.cli.check.findings import Finding, bad, doubt, good, grade, unknown, wrong
from agent.cli.check.kernel import list_processes
from agent.cli.check.look import STROKE_SHARE, Looks, open_detector, watch_road
from agent.cli.check.picture import combine_light
from agent.cli.check.subject import Subject

PLATE_M: Final = 0.305
"""SAE J686."""
SLOWEST_FPS, POOR_FPS = 10.0, 5.0
FINE_BLUR, POOR_BLUR = 0.7, 0.9
"""In strokes. Measured on the shipped clip, blurred by Gaussians: 30 of 30 vehicles read at 0.66,
28 at 0.81, 17 at 0.95, 6 at 1.08."""
SCENE_BLUR_PX: Final = 1.8
"""The same clip in its sharpest tiles: 1.4 where all are read, 1.7 where the first fail."""
FINE_WIDTH_PX, POOR_WIDTH_PX = 60, 40
"""The detector's card: below 45 pixels corners are off by twice as much."""
FINE_CONTRAST, POOR_CONTRAST = 40.0, 20.0
FINE_CLIPPED, POOR_CLIPPED = 0.5, 0.9
"""Shares of a plate that are white or black."""
FINE_MOVE, POOR_MOVE = 1.5, 2.5
"""In strokes. A move of two blurs like a lens by 0.6 of a stroke."""
MASK_LIMIT: Final = 0.6
PICTURE: Final = ("HP-102", "HP-103", "HP-104", "HP-105", "HP-106", "HP-107", "HP-108")


def look_at_camera(subject: Subject) -> Iterator[Finding]:
    """Answer HP-101 to HP-108."""
    state = CameraState()
    try:
        with open_camera(subject.settings, clock=subject.clock, state=state) as camera:
            looks = watch_road(camera, subject, open_detector(subject.settings))
    except HomeplateError as error:
        yield explain_failure(subject, error)
        for code in PICTURE:
            yield unknown(code, "no picture to look at: see HP-101")
        return
    rows, columns = looks.shape
    yield good("HP-101", f"{looks.frames} frames of {columns}x{rows} pixels")
    yield judge_rate(looks, state)
    yield judge_light(looks, state)
    yield judge_contrast(looks)
    yield judge_focus(looks)
    yield judge_width(looks, subject.settings)
    exposure_us = state.exposure_us or subject.settings.exposure.longest_us
    yield judge_move(looks, subject.settings, exposure_us)
    yield judge_mask(looks)


def explain_failure(subject: Subject, error: HomeplateError) -> Finding:
    """Return why there is no picture; a camera on the unit itself has one user at a time."""
    if isinstance(error, DeviceError) and any(
        process.command == "watch" for process in list_processes(subject.machine)
    ):
        remedy = "the watcher runs and may hold the camera: stop it, check, start it again"
        return bad("HP-101", str(error), remedy=remedy)
    return wrong("HP-101", error)


def judge_rate(looks: Looks, state: CameraState) -> Finding:
    """Judge HP-102."""
    if looks.frames == 1:
        return unknown("HP-102", "a single picture has no frame rate")
    found = f"{looks.fps:.1f} frames a second, {looks.broken} damaged"
    found += f", {state.stalls} times none came" if state.stalls else ""
    is_doubtful = looks.fps < SLOWEST_FPS or looks.broken > 0 or state.stalls > 0
    return grade("HP-102", found, is_bad=looks.fps < POOR_FPS, is_doubtful=is_doubtful)


def judge_light(looks: Looks, state: CameraState) -> Finding:
    """Judge HP-103, on plates where any passed; also by the exposure of a camera on the unit."""
    parts, where = (looks.lights, "on plates") if looks.lights else (looks.scenes, "on the road")
    if not parts:
        return unknown("HP-103", "all of the picture is hidden by the mask")
    light = combine_light(parts)
    clipped = max(light.dark_share, light.bright_share)
    found = (
        f"{where}: middle level {light.middle:.0f} of 255, {light.bright_share:.0%} white, "
        f"{light.dark_share:.0%} black"
    )
    if state.exposure_us:
        found += f"; {state.exposure_us} µs at gain {state.gain:.1f}"
        found += ", as much as [exposure] allows, and too dark" if state.at_ceiling else ""
    is_doubtful = clipped > FINE_CLIPPED or state.at_ceiling
    return grade("HP-103", found, is_bad=clipped > POOR_CLIPPED, is_doubtful=is_doubtful)


def judge_contrast(looks: Looks) -> Finding:
    """Judge HP-104, on plates."""
    if not looks.lights:
        return unknown("HP-104", "no plate passed", remedy="check again when a vehicle passes")
    contrast = combine_light(looks.lights).contrast
    found = f"{contrast:.0f} levels on {len(looks.lights)} looks at plates"
    return grade(
        "HP-104", found, is_bad=contrast < POOR_CONTRAST, is_doubtful=contrast < FINE_CONTRAST
    )


def judge_focus(looks: Looks) -> Finding:
    """Judge HP-105, on plates where any passed, else on the sharpest parts of the road."""
    if looks.strokes:
        blur = float(np.median(looks.strokes))
        found = f"on plates: edges {blur:.2f} strokes wide"
        return grade("HP-105", found, is_bad=blur > POOR_BLUR, is_doubtful=blur > FINE_BLUR)
    if not looks.scene_blurs_px:
        return unknown("HP-105", "nothing in the picture has an edge: fog, night or a covered lens")
    blur_px = float(np.median(looks.scene_blurs_px))
    found = f"on the road, no plate passed: edges {blur_px:.1f} pixels wide"
    if blur_px > SCENE_BLUR_PX:
        return doubt("HP-105", found)
    return good("HP-105", found)


def judge_width(looks: Looks, settings: Settings) -> Finding:
    """Judge HP-106, on plates where any passed, else by the lanes."""
    if looks.widths_px:
        width_px = float(np.percentile(looks.widths_px, 90))
        found = f"{width_px:.0f} pixels (the widest tenth of {len(looks.widths_px)} looks)"
    elif settings.lanes:
        widths = ((expect_width_px(lane, looks.shape), lane.name) for lane in settings.lanes)
        width_px, name = min(widths)
        found = f"{width_px:.0f} pixels expected from the width of lane {name!r}; no plate passed"
    else:
        remedy = "check again when a vehicle passes, or state [[lanes]] in unit.toml"
        return unknown("HP-106", "no plate passed and no lanes are stated", remedy=remedy)
    return grade(
        "HP-106", found, is_bad=width_px < POOR_WIDTH_PX, is_doubtful=width_px < FINE_WIDTH_PX
    )


def expect_width_px(lane: LaneSettings, shape: tuple[int, int]) -> float:
    """Return how wide a plate on `lane` will be in pictures of `shape`, rows and columns."""
    rows, columns = shape
    way_x = (lane.right[0] - lane.left[0]) * columns
    way_y = (lane.right[1] - lane.left[1]) * rows
    return float(np.hypot(way_x, way_y)) * PLATE_M / lane.width_m


def judge_move(looks: Looks, settings: Settings, exposure_us: int) -> Finding:
    """Judge HP-107: measured on vehicles that passed, else the most that it can be."""
    exposure_s = exposure_us * 1e-6
    at = f"in {exposure_us} µs"
    if looks.moves:
        strokes = float(np.percentile(looks.moves, 90)) * exposure_s / STROKE_SHARE
        found = f"{strokes:.1f} strokes {at}, as vehicles passed just now"
        return grade("HP-107", found, is_bad=strokes > POOR_MOVE, is_doubtful=strokes > FINE_MOVE)
    speed_mps = settings.site.fastest_kmh / 3.6
    strokes = speed_mps * exposure_s / (STROKE_SHARE * PLATE_M)
    found = f"at most {strokes:.1f} strokes {at} at {settings.site.fastest_kmh:.0f} km/h"
    if strokes <= FINE_MOVE:
        return good("HP-107", found)
    return unknown(
        "HP-107",
        f"{found}, seen from the side; no vehicle passed",
        remedy="check again when a vehicle passes",
    )


def judge_mask(looks: Looks) -> Finding:
    """Judge HP-108."""
    if not looks.hidden_share:
        return good("HP-108", "none: all of the picture is looked at")
    found = f"hides {looks.hidden_share:.0%} of the picture"
    if looks.hidden_lanes:
        return doubt("HP-108", f"{found}, and part of {', '.join(looks.hidden_lanes)}")
    return grade("HP-108", found, is_bad=False, is_doubtful=looks.hidden_share > MASK_LIMIT)
