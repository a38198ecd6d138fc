"""Imaginary vehicles: a body in space, a face with lamps, and a plate whose corners are known."""

import itertools
from dataclasses import dataclass

import numpy as np

from models.synth.bodies import BODIES, PAINTS
from models.synth.faces import draw_face
from models.synth.plates import RenderedPlate
from models.synth.space import Camera, Colour, Picture, Points, darken, fill, paste

UNDERSIDE_M = 0.26
WHEEL_M = 0.32
SUN = 0.55
"""How much lighter a sunlit side is than one in the shade."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Where the middle of a vehicle's face stands, and how it is turned."""

    x_m: float
    y_m: float
    yaw_rad: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Vehicle:
    """One imaginary vehicle; the face is its rear or its front."""

    body: str
    width_m: float
    paint: Colour
    face: Picture
    plate: RenderedPlate
    plate_bgr: Picture
    plate_size_m: tuple[float, float]
    plate_centre: tuple[float, float]
    """Metres to the right of the middle, and above the road."""
    plate_tilt_rad: float
    frame: Colour | None
    """Colour of the holder around the plate."""
    holder_m: float
    """How far the holder reaches beyond the plate."""


def make_vehicle(
    rng: np.random.Generator,
    plate: RenderedPlate,
    *,
    front: bool,
    plate_width_m: float = 0.32,
    holder_m: float = 0.012,
) -> Vehicle:
    """Return a vehicle of random shape and colour that carries `plate`."""
    names = [name for name in BODIES if name.endswith("front" if front else "rear")]
    body = str(rng.choice(names))
    width_m = float(rng.uniform(1.68, 1.84)) + (0.12 if "van" in body else 0.0)
    tone = rng.uniform(0.9, 1.08)
    paint = tuple(min(235.0, v * tone) for v in PAINTS[rng.integers(len(PAINTS))])
    top_m = BODIES[body][0][1]
    face = draw_face(rng, width_m=width_m, height_m=top_m - UNDERSIDE_M, colour=paint, front=front)
    height, width = plate.gray.shape
    share = rng.choice((0.34, 0.60)) if not front else rng.uniform(0.56, 0.66)
    return Vehicle(
        body=body,
        width_m=width_m,
        paint=paint,
        face=face,
        plate=plate,
        plate_bgr=tint(plate.gray, rng),
        plate_size_m=(plate_width_m, plate_width_m * height / width),
        plate_centre=(float(rng.normal(0, 0.03)), top_m - share * (top_m - UNDERSIDE_M)),
        plate_tilt_rad=float(rng.normal(0, 0.012)),
        frame=(None, (30.0, 30.0, 30.0), (190.0, 192.0, 192.0))[rng.choice(3, p=(0.4, 0.4, 0.2))],
        holder_m=holder_m,
    )


def tint(gray: np.ndarray, rng: np.random.Generator) -> Picture:
    """Return the plate in colours: the dark end towards blue or black, the light end white."""
    dark = np.array([(70, 32, 22), (28, 26, 26), (34, 26, 60)][rng.integers(3)])
    light = np.array([(246, 247, 248), (222, 240, 246), (240, 240, 240)][rng.integers(3)])
    share = gray[..., None] / 255.0
    return np.clip(dark + share * (light - dark), 0, 255).astype(np.uint8)


def draw_vehicle(picture: Picture, vehicle: Vehicle, camera: Camera, pose: Pose) -> Points:
    """Paint `vehicle` onto `picture` and return its plate's corners (4, 2) TL, TR, BR, BL."""
    place = _Place(vehicle=vehicle, camera=camera, pose=pose)
    _draw_shadow(picture, place)
    _draw_tyres(picture, place)
    _draw_side(picture, place)
    _draw_strips(picture, place)
    half, (low, high) = vehicle.width_m / 2, (UNDERSIDE_M, BODIES[vehicle.body][0][1])
    face = place.face_pixels([[-half, high], [half, high], [half, low], [-half, low]])
    paste(picture, vehicle.face, face)
    return _draw_plate(picture, place)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A vehicle at its pose before a camera."""

    vehicle: Vehicle
    camera: Camera
    pose: Pose

    def pixels(self, points: object) -> Points:
        """Return pixels of points (N, 3) in the vehicle's own axes."""
        local = np.asarray(points, float)
        cos, sin = np.cos(self.pose.yaw_rad), np.sin(self.pose.yaw_rad)
        turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        return self.camera.project(local @ turn.T + [self.pose.x_m, self.pose.y_m, 0])

    def face_pixels(self, points: object) -> Points:
        """Return pixels of points (N, 2), right and up, on the slightly leaning face."""
        flat = np.asarray(points, float)
        lean, top = BODIES[self.vehicle.body][0][:2]
        depth = lean * (flat[:, 1] - UNDERSIDE_M) / (top - UNDERSIDE_M)
        return self.pixels(np.stack([flat[:, 0], depth, flat[:, 1]], axis=1))

    def half_width(self, height_m: float) -> float:
        """Return half the body's width at a height: cabins are narrower than doors."""
        return self.vehicle.width_m / 2 * (1 - 0.28 * max(0.0, height_m - 1.02))

    def side(self) -> int:
        """Return which long side is in view: 1 the right one, -1 the left one."""
        seen = self.camera.x_m - self.pose.x_m, -self.pose.y_m
        across = seen[0] * np.cos(self.pose.yaw_rad) - seen[1] * np.sin(self.pose.yaw_rad)
        return 1 if across > 0 else -1


def _lit(colour: Colour, factor: float) -> Colour:
    """Return the colour made lighter or darker."""
    return tuple(min(250.0, v * factor) for v in colour)  # type: ignore[return-value]


def _draw_shadow(picture: Picture, place: _Place) -> None:
    """Darken the road under the vehicle and on the side away from the sun."""
    half, length = place.vehicle.width_m / 2, BODIES[place.vehicle.body][-1][0]
    corners = [
        [-half - 0.05, -0.12, 0],
        [half + SUN, -0.12, 0],
        [half + SUN, length, 0],
        [-half - 0.05, length, 0],
    ]
    pixels = place.pixels(corners)
    soft = 0.02 * float(np.ptp(pixels[:, 0]))
    darken(picture, pixels, to=0.42, blur_px=max(0.5, soft))


def _draw_tyres(picture: Picture, place: _Place) -> None:
    """Paint the two tyres seen below the bumper, and the dark underneath."""
    half = place.vehicle.width_m / 2
    dark = [[-half, 0.3, 0.5], [half, 0.3, 0.5], [half, 0.3, 0.12], [-half, 0.3, 0.12]]
    fill(picture, place.pixels(dark), (16, 16, 16))
    for middle in (-half + 0.14, half - 0.14):
        tyre = [
            [middle - 0.1, 0.35, 0.4],
            [middle + 0.1, 0.35, 0.4],
            [middle + 0.1, 0.35, 0.0],
            [middle - 0.1, 0.35, 0.0],
        ]
        fill(picture, place.pixels(tyre), (22, 22, 22))


def _draw_side(picture: Picture, place: _Place) -> None:
    """Paint the long side in view: doors, windows, wheels."""
    side, body = place.side(), BODIES[place.vehicle.body]
    outline = [(0.0, UNDERSIDE_M), *((y, z) for y, z, _ in body), (body[-1][0], UNDERSIDE_M)]
    pixels = place.pixels([[side * place.half_width(z), y, z] for y, z in outline])
    factor = 0.62 if side > 0 else 0.92
    fill(picture, pixels, _lit(place.vehicle.paint, factor))
    _draw_side_windows(picture, place)
    length = body[-1][0]
    around = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    for middle in (0.78, length - 0.85):
        for radius, tone in ((WHEEL_M + 0.05, 14.0), (WHEEL_M, 26.0), (0.6 * WHEEL_M, 150.0)):
            ring = [
                [side * place.vehicle.width_m / 2, middle + radius * c, WHEEL_M + radius * s]
                for c, s in zip(np.cos(around), np.sin(around), strict=True)
            ]
            fill(picture, place.pixels(ring), (tone, tone, tone))


def _draw_side_windows(picture: Picture, place: _Place) -> None:
    """Paint the row of side windows between the two raked screens."""
    body, side = BODIES[place.vehicle.body], place.side()
    roof = [index for index, strip in enumerate(body) if strip[2] == "glass"]
    first, last = body[roof[0]], body[roof[-1]]
    start, end = first[0], last[0] if len(roof) > 1 else body[-1][0]
    belt, top = min(first[1], last[1], 1.08), first[1] - 0.08
    if top - belt < 0.15 or len(roof) < 2:
        belt = top - 0.36
    panes = np.linspace(start + 0.1, end - 0.35, 3)
    for left, right in itertools.pairwise(panes):
        pane = [
            [side * place.half_width(z), y, z]
            for y, z in (
                (left + 0.05, top),
                (right - 0.05, top),
                (right, belt),
                (left - 0.05, belt),
            )
        ]
        fill(picture, place.pixels(pane), (44, 40, 36))


def _draw_strips(picture: Picture, place: _Place) -> None:
    """Paint screens, roof and bonnet, far ones first, where they face the camera."""
    body = BODIES[place.vehicle.body]
    for (y0, z0, _), (y1, z1, kind) in reversed(list(itertools.pairwise(body))):
        far, near = place.half_width(z1), place.half_width(z0)
        quad = [[-far, y1, z1], [far, y1, z1], [near, y0, z0], [-near, y0, z0]]
        pixels = place.pixels(quad)
        if _signed_area(pixels) <= 0:
            continue
        slope = np.arctan2(z1 - z0, y1 - y0)
        factor = 1.02 - 0.25 * abs(slope)
        fill(picture, pixels, _lit(place.vehicle.paint, factor))
        if kind != "paint":
            _draw_screen(picture, pixels, kind)


def _draw_screen(picture: Picture, pixels: Points, kind: str) -> None:
    """Paint a screen (or an open load bed) inside its frame, with the sky in it."""
    middle = pixels.mean(axis=0)
    inner = middle + (pixels - middle) * [0.9, 0.84]
    shades = np.linspace(30, 24, 32) if kind == "bed" else np.linspace(118, 38, 32)
    texture = np.repeat(shades[:, None, None], 16, axis=1) * [1.08, 1.0, 0.94]
    paste(picture, np.clip(texture, 0, 255).astype(np.uint8), inner)


def _signed_area(pixels: Points) -> float:
    """Return the area of a polygon, positive when it runs clockwise on the screen."""
    x, y = pixels[:, 0], pixels[:, 1]
    return float(0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def _draw_plate(picture: Picture, place: _Place) -> Points:
    """Paint the plate in its recess or holder; return the corners of the plate itself."""
    vehicle = place.vehicle
    half = np.array(vehicle.plate_size_m) / 2
    square = np.array([[-1, 1], [1, 1], [1, -1], [-1, -1]])
    cos, sin = np.cos(vehicle.plate_tilt_rad), np.sin(vehicle.plate_tilt_rad)

    def around(grow_m: float) -> Points:
        flat = square * (half + grow_m) @ np.array([[cos, sin], [-sin, cos]])
        return place.face_pixels(flat + vehicle.plate_centre)

    fill(picture, around(0.035), _lit(vehicle.paint, 0.7))
    if vehicle.frame is not None:
        fill(picture, around(vehicle.holder_m), vehicle.frame)
    corners = around(0.0)
    paste(picture, vehicle.plate_bgr, corners)
    return corners
