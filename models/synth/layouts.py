"""Where characters stand on a plate and what the text is; how often stands in `weights.py`.

Patterns: `L` letter, `D` digit, `X` letter or digit (never 0: on such plates it looks like O),
space a gap, `-` a gap that may hold a dash, a dot or a logo. Where O and 0 share a glyph, the
label follows the pattern.
"""

from dataclasses import dataclass

import numpy as np

from models.synth.weights import ALIKE
from models.synth.weights import LAYOUTS as WEIGHTS

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ALIKE_LETTERS = "GIIIWWTZLHODQBSVY"
"""Taken for another: G for 6, I for T and 1, W for H and M, Z for 2, L for 4, O, D, Q, B, S, V."""
DIGITS = "0123456789"
ORDER = {" ": "", "-": "", "D": "D", "X": "X"}
"""What is left of a pattern, when only letters and digits count."""
VANITY_DIGITS = "23456789"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One kind of plate; lengths are parts of the plate's height or width.

    `decor` is 0 for a bare plate and 1 for American headers, footers, stickers and pictures.
    `band` is the side band of European plates.
    """

    name: str
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
    Layout(name="ca", patterns=("DLLLDDD",), **CALIFORNIA),
    Layout(name="ca_truck", patterns=("DLDDDDD", "DDDDDLD"), **CALIFORNIA),
    Layout(
        name="us",
        patterns=(
            "LLLDDDD", "LLL-DDDD", "LLL-DDDD", "LLL DDDD", "LLL DDD", "LLL-DDD", "DDD LLL",
            "DDD-LLL", "DDDLLL", "LLDDDDD", "LLD-LDDD", "DDDDDD", "DDD DDD", "DDD-DDD", "DDDDD",
            "LDD-LLL", "LDD LLL", "LDD DLL", "LLL-DDL", "LLL DDL", "LLL LDD", "DDLLDDD", "DDLLDD",
            "DLLDDDD", "DLL DDDD", "DLL LDD", "DLL DDD", "DLDDLDD", "DLLLDD", "LLDDDD", "LL DDDD",
            "LL-DDDD", "LL DDD", "LL-DDD", "LL DDDDD", "L-DDDDD", "L DDDDD", "D-DDDDD", "DD-DDDDL",
            "D-DDDDL", "DD-DDDL", "DD-LDDD", "DDDLL", "DDDDLL", "DDDD LL", "DDDDDLL", "LDDDDD",
            "LDDD LL", "LDDD DDD", "LDLDLD", "DLD LDL", "LLD LDL", "DDD-DDDD", "DDD DDDD",
            "LDD DDDD", "LDD-DDD", "LDD DDL", "DDLLL", "DD-LLDD", "DDLL DD", "DDL LDD", "DDL DDD",
            "DDD LDL", "DDD L", "DDD DLL", "DDDDL", "DDD-DDL", "DL DDDD", "DL DDDDD", "DL LDDDD",
            "DL LLDDD", "DL LDDDL", "DL DDD", "DLDDDDL", "LLL DLD", "DDDLLLD", "DDDD", "LDDD",
            "DDL-LLD", "LLLDLLL", "LDDDDL", "D-DDD", "DD-DDD", "L-DDDD", "LLLDDDL", "DDLDDDD",
        ),
        text_height=(0.36, 0.54), **US,
    ),
    Layout(
        name="vanity",
        patterns=("XX", "XXX", "XXXX", "XXXXX", "XXXXXX", "XXXXXXX", "XX XXX", "XXX XXX", "XXX-XXX",
                  "X XXXX", "XXXX XX", "LLLLLL", "LLLLLLL", "LLL-LLL", "LL LLLLL", "LLLL LL",
                  "LLLLLLLL", "LLL LLLLL", "XX-XXX"),
        text_height=(0.36, 0.54), **US,
    ),
    Layout(
        name="south_america", patterns=("LLL-DDDD", "LLL-DDDD", "LLL-DDDD", "LLL DDD"), aspect=3.05,
        text_height=(0.44, 0.62), text_width=(0.82, 0.95), text_middle=(0.54, 0.64), decor=0.7,
    ),
    Layout(
        name="mercosul", patterns=("LLLDLDD", "LLLDLDD", "LL DDD LL", "LLLDDDD"), aspect=3.05,
        text_height=(0.44, 0.6), text_width=(0.82, 0.95), text_middle=(0.58, 0.66), decor=0.6,
    ),
    Layout(
        name="europe",
        patterns=("LLDD LLL", "LL DDD LL", "LL-DDD-LL", "L DDD LL", "LL DD LLL", "LLL DDDD",
                  "DDDD LLL", "DDL-DDDDD", "LL LL DDD", "LDD DDD", "XXXXXXX",
                  "L-LL DDDD", "LL-LL DDD", "LLL-LL DD", "LL-L DDD", "L DD LLL", "B DDD LLL",
                  "LL DDDLL", "DLD DDDD", "LLL DDD", "D LLL DDD", "DD-LLL-D", "LL DDDDD",
                  "DDD-LLL", "LL-DDDD", "LLL-DDDD", "LLDDDLL", "LL DDDDLL"),
        aspect=4.6, text_height=(0.62, 0.82), text_width=(0.78, 0.94), text_middle=(0.46, 0.54),
        decor=0.1, band=0.7,
    ),
    Layout(
        name="world",
        patterns=("DDL-DDDDD", "DDD-DD-DDD", "LLLDDDD", "LLDDLLDDDD", "XXX XXX", "LLL DDDD",
                  "LL DD LL DDDD", "LLL-DDD-L", "L DDD LL", "DDDDDDD", "DD LLL DD"),
        aspect=3.2, text_height=(0.5, 0.72), text_width=(0.8, 0.94), text_middle=(0.48, 0.56),
        decor=0.25, band=0.2,
    ),
)  # fmt: skip


def share_patterns() -> dict[str, float]:
    """Return how often a plate shows letters (L) and digits (D) in an order, most frequent first.

    Plates with an `X` follow no order; they are what the shares leave over.
    """
    shares: dict[str, float] = {}
    for layout in LAYOUTS:
        share = WEIGHTS[layout.name] / sum(WEIGHTS.values()) / len(layout.patterns)
        for pattern in layout.patterns:
            order = "".join(ORDER.get(mark, "L") for mark in pattern)
            if "X" not in order:
                shares[order] = shares.get(order, 0.0) + share
    return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))


def measure_letters() -> dict[str, float]:
    """Return how many times as often as evenly each letter is drawn (`ALIKE`)."""
    even = (1 - ALIKE) / len(LETTERS)
    alike = {mark: ALIKE * ALIKE_LETTERS.count(mark) / len(ALIKE_LETTERS) for mark in LETTERS}
    return {mark: (even + alike[mark]) * len(LETTERS) for mark in LETTERS}


def choose_layout(rng: np.random.Generator, name: str | None) -> Layout:
    """Return the named layout, or one drawn by weight.

    Raises:
        KeyError: `name` is not a layout.
    """
    if name is not None:
        return {layout.name: layout for layout in LAYOUTS}[name]
    weights = np.array([WEIGHTS[layout.name] for layout in LAYOUTS])
    return LAYOUTS[int(rng.choice(len(LAYOUTS), p=weights / weights.sum()))]


def fill_pattern(rng: np.random.Generator, pattern: str) -> str:
    """Draw a text for `pattern`; digits uniform, letters that are hard to tell more often."""
    out = []
    for mark in pattern:
        source = {"L": LETTERS, "D": DIGITS}.get(mark, mark)
        if mark == "X":
            source = LETTERS if rng.random() < 0.78 else VANITY_DIGITS
        if source is LETTERS and rng.random() < ALIKE:
            source = ALIKE_LETTERS
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
