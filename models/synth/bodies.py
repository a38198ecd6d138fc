"""Shapes and colours of vehicles on the road."""

from models.synth.space import Colour

BODIES: dict[str, tuple[tuple[float, float, str], ...]] = {
    "sedan-rear": (
        (0.06, 0.96, "face"),
        (0.52, 1.02, "paint"),
        (1.15, 1.36, "glass"),
        (2.60, 1.41, "paint"),
        (3.40, 1.00, "glass"),
        (4.55, 0.78, "paint"),
    ),
    "hatch-rear": (
        (0.08, 0.92, "face"),
        (0.48, 1.40, "glass"),
        (2.45, 1.47, "paint"),
        (3.15, 1.02, "glass"),
        (4.00, 0.82, "paint"),
    ),
    "suv-rear": (
        (0.06, 1.06, "face"),
        (0.38, 1.62, "glass"),
        (2.90, 1.70, "paint"),
        (3.60, 1.16, "glass"),
        (4.65, 1.00, "paint"),
    ),
    "van-rear": (
        (0.04, 1.12, "face"),
        (0.16, 1.84, "glass"),
        (3.90, 1.95, "paint"),
        (4.70, 1.20, "glass"),
        (5.10, 0.95, "paint"),
    ),
    "pickup-rear": (
        (0.03, 1.06, "face"),
        (1.65, 1.05, "bed"),
        (1.85, 1.68, "glass"),
        (3.00, 1.74, "paint"),
        (3.75, 1.18, "glass"),
        (5.20, 1.05, "paint"),
    ),
    "sedan-front": (
        (0.10, 0.76, "face"),
        (1.15, 0.98, "paint"),
        (1.90, 1.36, "glass"),
        (3.25, 1.41, "paint"),
        (3.95, 1.02, "glass"),
        (4.55, 0.97, "paint"),
    ),
    "hatch-front": (
        (0.10, 0.80, "face"),
        (0.90, 1.00, "paint"),
        (1.65, 1.42, "glass"),
        (3.90, 1.46, "paint"),
    ),
    "suv-front": (
        (0.08, 0.98, "face"),
        (1.05, 1.14, "paint"),
        (1.65, 1.64, "glass"),
        (4.50, 1.70, "paint"),
    ),
    "van-front": (
        (0.08, 1.00, "face"),
        (0.65, 1.16, "paint"),
        (1.35, 1.86, "glass"),
        (4.90, 1.95, "paint"),
    ),
}
"""Side views: (metres behind the face, metres above the road, what ends there), face first."""

PAINTS: tuple[Colour, ...] = (
    (226, 228, 228),
    (222, 224, 225),
    (178, 180, 180),
    (120, 122, 124),
    (70, 70, 72),
    (34, 34, 36),
    (30, 30, 34),
    (110, 62, 34),
    (70, 40, 26),
    (34, 30, 140),
    (30, 26, 92),
    (140, 160, 172),
    (60, 84, 52),
    (150, 110, 70),
)
"""The colours of most cars sold: white, silver, grey and black first, then blue, red, beige."""
