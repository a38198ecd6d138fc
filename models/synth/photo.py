"""What a camera does to a picture of a plate: light, lens, movement, sensor, compression.

Chances and strengths are in `Camera`; one is drawn per picture. Sizes follow the plate's width,
because a blur of two pixels hides a plate of 30 px and hardly touches one of 200.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """Chances (0..1) and largest strengths of each effect.

    Blur is a part of the plate's width, noise is the deviation in grey levels.
    """

    shadow: float = 0.18
    glare: float = 0.1
    contrast: float = 0.7
    defocus: float = 0.55
    defocus_sigma: float = 0.013
    motion: float = 0.3
    motion_length: float = 0.04
    noise: float = 0.7
    noise_sigma: float = 9.0
    noise_limit: float = 0.11
    """Noise is at most this part of the contrast, or nobody could read the plate."""
    interlace: float = 0.03
    halo: float = 0.25
    jpeg: float = 0.5
    jpeg_quality: tuple[int, int] = (25, 95)


USUAL = Camera()


def degrade(
    gray: Gray,
    rng: np.random.Generator,
    *,
    plate_width_px: float | None = None,
    camera: Camera = USUAL,
) -> Gray:
    """Return the picture as a camera would have taken it; same size.

    Args:
        gray: (H, W) clean picture, already at the size the sensor sees.
        rng: Source of every choice.
        plate_width_px: Width of the plate in it; the picture's width when absent.
        camera: Chances and strengths.
    """  # fmt: skip
    width_px = float(plate_width_px or gray.shape[1])
    out = gray.astype(np.float32)
    if rng.random() < camera.shadow:
        out = cast_shadow(out, rng)
    if rng.random() < camera.glare:
        out = add_glare(out, rng)
    if rng.random() < camera.contrast:
        out = change_contrast(out, rng)
    out = blur(out, rng, width_px=width_px, camera=camera)
    if rng.random() < camera.noise:
        low, high = np.percentile(out[::3, ::3], (10, 90))
        sigma = min(camera.noise_sigma * rng.random() ** 2, camera.noise_limit * (high - low))
        out += rng.standard_normal(out.shape, np.float32) * np.float32(sigma)
    taken = np.clip(out, 0, 255).astype(np.uint8)
    return compress(taken, rng, camera.jpeg_quality) if rng.random() < camera.jpeg else taken


def blur(
    out: NDArray[np.float32], rng: np.random.Generator, *, width_px: float, camera: Camera
) -> NDArray[np.float32]:
    """Blur by defocus and movement, comb the lines, sharpen: each by chance."""
    if rng.random() < camera.defocus:
        sigma = rng.uniform(0.2, max(camera.defocus_sigma * width_px, 0.5))
        out = cv2.GaussianBlur(out, (0, 0), sigma)
    if rng.random() < camera.motion:
        out = move(out, rng, length_px=rng.uniform(1, max(camera.motion_length * width_px, 1.6)))
    if rng.random() < camera.interlace:
        out[1::2] = np.roll(out[1::2], int(rng.integers(1, 3)), axis=1)
    if rng.random() < camera.halo:
        out += (out - cv2.GaussianBlur(out, (0, 0), 1.1)) * np.float32(rng.uniform(0.3, 1.8))
    return out


def cast_shadow(out: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Darken one side of a random line."""
    height, width = out.shape
    angle, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.85)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    across = (x - rng.uniform(0.2, 0.8) * width) * np.cos(angle)
    across = across + (y - rng.uniform(0.2, 0.8) * height) * np.sin(angle)
    soft = np.clip(across / max(rng.uniform(0.01, 0.2) * height, 1) + 0.5, 0, 1)
    return (out * (depth + (1 - depth) * soft)).astype(np.float32)


def add_glare(out: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Add one soft bright spot."""
    height, width = out.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    far = ((x - rng.uniform(0, width)) / (rng.uniform(0.1, 0.4) * width)) ** 2
    far = far + ((y - rng.uniform(0, height)) / (rng.uniform(0.2, 0.6) * height)) ** 2
    return (out + np.exp(-far) * rng.uniform(20, 150)).astype(np.float32)


def change_contrast(out: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Apply gamma, gain and offset: from flat and dark to overexposed."""
    bent = (np.clip(out, 0, 255) / 255) ** np.float32(np.exp(rng.uniform(-0.6, 0.6)))
    gain = rng.uniform(0.2, 0.6) if rng.random() < 0.3 else rng.uniform(0.6, 1.5)
    room = 255 * (1 - gain)
    low = rng.uniform(0, room) if room > 0 else rng.uniform(room, 0) * 0.6
    return (bent * np.float32(255 * gain) + np.float32(low)).astype(np.float32)


def move(
    out: NDArray[np.float32], rng: np.random.Generator, *, length_px: float
) -> NDArray[np.float32]:
    """Smear along one direction, mostly level."""
    size = int(np.ceil(length_px)) | 1
    size = max(size, 3)
    kernel = np.zeros((size, size), np.float32)
    angle = rng.normal(0, 0.35) if rng.random() < 0.7 else rng.uniform(0, np.pi)
    half, centre = length_px / 2, (size - 1) / 2
    for t in np.linspace(-half, half, 2 * size + 1):
        x, y = centre + t * np.cos(angle), centre + t * np.sin(angle)
        kernel[int(np.clip(round(y), 0, size - 1)), int(np.clip(round(x), 0, size - 1))] += 1
    return cv2.filter2D(out, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def compress(gray: Gray, rng: np.random.Generator, quality: tuple[int, int]) -> Gray:
    """Return the picture after one JPEG round trip."""
    level = int(rng.integers(*quality))
    _, data = cv2.imencode(".jpg", gray, [cv2.IMWRITE_JPEG_QUALITY, level])
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
