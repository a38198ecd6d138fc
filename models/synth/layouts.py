"""Where characters stand on a plate, how often each layout is drawn, and what the text is.

Patterns: `L` letter, `D` digit, `X` letter or digit (never 0: on such plates it looks like O),
space a gap, `-` a gap that may hold a dash, a dot or a logo. Where O and 0 share a glyph, the
label follows the pattern.
"""

from dataclasses import dataclass

import numpy as np

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = "0123456789"
VANITY_DIGITS = "23456789"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One kind of plate; lengths are parts of the plate's height or width.

    `decor` is 0 for a bare plate and 1 for American headers, footers, stickers and pictures.
    `band` is the side band of European plates.
    """

    name: str
    weight: float
    patterns: tuple[str, ...]
    aspect: float
    text_height: tuple[float, float]
    text_width: tuple[float, float]
    text_middle: tuple[float, float]
    decor: float
    band: float = 0.0


US = {"aspect": 2.0, "text_width": (0.78, 0.95), "text_middle": (0.47, 0.58), "decor": 1.0}
CALIFORNIA = {
    **US,
    "text_width": (0.83, 0.95),
    "text_height": (0.38, 0.52),
    "text_middle": (0.52, 0.65),
}
LAYOUTS: tuple[Layout, ...] = (
    Layout(name="ca", weight=30, patterns=("DLLLDDD",), **CALIFORNIA),
    Layout(
        name="ca_truck", weight=4, patterns=("DLDDDDD", "DDDDDLD"), **CALIFORNIA
    ),
    Layout(
        name="us",
        weight=32,
        patterns=(
            "LLLDDDD", "LLL-DDDD", "LLL DDD", "LLL-DDD", "DDD LLL", "DDD-LLL", "LLDDDDD",
            "LLD-LDDD", "DDDDDD", "DDD DDD", "DDD-DDD", "DDDDD", "LDD-LLL", "LLL-DDL", "DDLLDD",
            "DLLDDDD", "LLDDDD", "LL DDDD", "D-DDDDD",
            "DD-DDDDL", "DDDLL", "DDDDLL", "LDDDDD", "DLL DDD",
            "LDLDLD", "DDD-DDDD", "LDD-DDD", "DDLLL", "DD-LLDD", "DDLL DD", "DDD LDL", "L-DDDDD",
        ),
        text_height=(0.36, 0.54), **US,
    ),
    Layout(
        name="vanity",
        weight=12,
        patterns=("XX", "XXX", "XXXX", "XXXXX", "XXXXXX", "XXXXXXX", "XX XXX", "XXX XXX", "XXX-XXX",
                  "X XXXX", "XXXX XX"),
        text_height=(0.36, 0.54), **US,
    ),
    Layout(
        name="south_america", weight=9, patterns=("LLL-DDDD", "LLLDLDD", "LLL DDD"), aspect=3.05,
        text_height=(0.46, 0.62), text_width=(0.84, 0.94), text_middle=(0.54, 0.62), decor=0.35,
    ),
    Layout(
        name="europe",
        weight=8,
        patterns=("LLDD LLL", "LL DDD LL", "LL-DDD-LL", "L DDD LL", "LL DD LLL", "LLL DDDD",
                  "DDDD LLL", "DDL-DDDDD", "LL LL DDD", "LDD DDD", "XXXXXXX", "XXX-XXX"),
        aspect=4.6, text_height=(0.62, 0.8), text_width=(0.78, 0.92), text_middle=(0.47, 0.53),
        decor=0.1, band=0.6,
    ),
    Layout(
        name="world",
        weight=5,
        patterns=("DDL-DDDDD", "DDD-DD-DDD", "LLLDDDD", "LLDDLLDDDD", "XXX XXX", "LLL DDDD"),
        aspect=3.2, text_height=(0.5, 0.72), text_width=(0.8, 0.94), text_middle=(0.48, 0.56),
        decor=0.25, band=0.2,
    ),
)  # fmt: skip


def choose_layout(rng: np.random.Generator, name: str | None) -> Layout:
    """Return the named layout, or one drawn by weight.

    Raises:
        KeyError: `name` is not a layout.
    """
    if name is not None:
        return {layout.name: layout for layout in LAYOUTS}[name]
    weights = np.array([layout.weight for layout in LAYOUTS])
    return LAYOUTS[int(rng.choice(len(LAYOUTS), p=weights / weights.sum()))]


def fill_pattern(rng: np.random.Generator, pattern: str) -> str:
    """Draw a text for `pattern`; letters and digits uniform, gaps kept."""
    draws = {"L": LETTERS, "D": DIGITS}
    out = []
    for mark in pattern:
        source = draws.get(mark, mark)
        if mark == "X":
            source = LETTERS if rng.random() < 0.78 else VANITY_DIGITS
        out.append(source[int(rng.integers(len(source)))])
    return "".join(out)


def spread_text(rng: np.random.Generator, layout: Layout, text: str | None) -> str:
    """Return the characters and gaps to draw; a given `text` takes a pattern of its length."""
    patterns = layout.patterns
    if text is None:
        return fill_pattern(rng, patterns[int(rng.integers(len(patterns)))])
    fitting = [p for p in patterns if sum(c not in " -" for c in p) == len(text)]
    if not fitting:
        return text
    letters = iter(text)
    pattern = fitting[int(rng.integers(len(fitting)))]
    return "".join(mark if mark in " -" else next(letters) for mark in pattern)
