"""Own plate characters, drawn as strokes with round caps, close to American dies.

Each variant is a set of centre lines in a unit box (x right, y down). `O` closes a line; a corner
is rounded by the plate's radius unless the point carries `!`. Drawn at `SUPERSAMPLE` times the
size and area-reduced, so thin strokes keep their true weight.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synth.weights import STRESS, STRESSED, WOBBLE

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SUPERSAMPLE = 4
ARC_POINTS = 6
WAVES = np.array([[3.0, 1.1], [1.7, 4.0]])
ARC = np.linspace(0.0, 1.0, ARC_POINTS)[:, None]
RARE_POWER = 1.6  # later variants in a list are rarer

_BOX = "O 0,0 1,0 1,1 0,1"
_BOWL = "0,.48! .95,.48 .95,0 0,0! 0,1"
VARIANTS: dict[str, tuple[str, ...]] = {
    "0": (_BOX, "O .1,0 .9,0 .9,1 .1,1", "O .5,0 1,0 1,1 0,1 0,0", _BOX + " / .85,.12 .15,.88"),
    "1": (
        ".5,0 .5,1",
        ".15,.2 .55,0! .55,1",
        ".2,.16 .5,0! .5,1 / .1,1 .9,1",
        ".5,0 .5,1 / .1,1 .9,1 / .2,0 .5,0",
        ".2,.22 .35,.2 .55,0! .55,1",
    ),
    "2": (
        "0,.24 0,0 1,0 1,.4 0,1! 1,1",
        "0,.2 0,0 1,0 1,.5 0,.62 0,1! 1,1",
        "0,.24 0,0 1,0 1,.3 .05,.85! 0,1! 1,1",
        "0,.15 .1,0 1,0 1,.35 0,1! 1,1 1,.92",
    ),
    "3": (
        "0,.22 0,0 1,0 1,.48 .35,.48 / .5,.48 1,.48 1,1 0,1 0,.78",
        "0,.22 0,0 .94,0 .94,.47 .7,.48! 1,.49 1,1 0,1 0,.78",
        "0,0 1,0! .45,.4! 1,.42 1,1 0,1 0,.78",
        "0,.15 0,0 1,0 1,1 0,1 0,.85 / .3,.48 1,.48",
    ),
    "4": (
        ".78,1 .78,0! 0,.7! 1,.7",
        ".2,0 0,.66! 1,.66 / .72,.36 .72,1",
        ".6,0 0,.7! 1,.7 / .75,.4 .75,1",
        ".8,1 .8,0! .62,0! 0,.68! 1,.68",
    ),
    "5": (
        "1,0 .06,0! 0,.48! .1,.4 1,.4 1,1 0,1 0,.78",
        ".95,0 0,0! 0,.45! 1,.45 1,1 0,1 0,.8",
        "1,0 .12,0! .04,.5! .3,.38 1,.42 1,1 0,1 0,.8",
    ),
    "6": (
        "1,.22 1,0 0,0 0,1 1,1 1,.42 .3,.42 0,.55",
        ".85,0 .55,0 0,.4 0,1 1,1 1,.44 0,.44",
        ".7,0 .02,.58! / O 0,.42 1,.42 1,1 0,1",
        "1,.15 1,0 0,0 0,1 1,1 1,.45 0,.45",
    ),
    "7": (
        "0,0 1,0! .3,1",
        "0,0 1,0! 1,.15 .4,.55 .4,1",
        "0,.15 0,0! 1,0! .35,1",
        "0,0 1,0! 1,.25 .5,.6 .45,1",
        "0,0 1,0! .3,1 / .25,.5 .85,.5",
    ),
    "8": (
        "O .04,0 .96,0 .96,.46 .04,.46 / O 0,.46 1,.46 1,1 0,1",
        "O 0,0 1,0 1,1 0,1 / 0,.48 1,.48",
        "O .1,0 .9,0 .9,.44 .1,.44 / O 0,.44 1,.44 1,1 0,1",
        "0,.24 0,0 1,0 1,.3 0,.7 0,1 1,1 1,.7 0,.3 0,.2",
    ),
    "9": (
        "0,.78 0,1 1,1 1,0 0,0 0,.58 .7,.58 1,.45",
        ".15,1 .45,1 1,.6 1,0 0,0 0,.56 1,.56",
        ".3,1 .98,.42! / O 0,0 1,0 1,.58 0,.58",
        "0,.85 0,1 1,1 1,0 0,0 0,.55 1,.55",
    ),
    "A": (
        "0,1 .5,0! 1,1 / .2,.68 .8,.68",
        "0,1 .4,0! .6,0! 1,1 / .14,.7 .86,.7",
        "0,1 0,.3 .5,0 1,.3 1,1 / 0,.6 1,.6",
        "0,1 .36,0 .64,0 1,1 / .14,.66 .86,.66",
    ),
    "B": (
        "O 0,0! .92,0 .92,.46 0,.46! / O 0,.46! 1,.46 1,1 0,1!",
        "O 0,0! 1,0 1,.48 0,.48! / O 0,.48! 1,.48 1,1 0,1!",
        "O .12,0! .92,0 .92,.47 .12,.47! / O .12,.47! 1,.47 1,1 .12,1! / 0,0 .3,0 / 0,1 .3,1",
    ),
    "C": (
        "1,.25 1,0 0,0 0,1 1,1 1,.75",
        "1,.15 1,0 0,0 0,1 1,1 1,.85",
        "1,.3 1,0 0,0 0,1 1,1 1,.7",
    ),
    "D": (
        "O 0,0! 1,0 1,1 0,1!",
        "O 0,0! .6,0 1,.3 1,.7 .6,1 0,1!",
        "O .14,0! 1,0 1,1 .14,1! / 0,0 .3,0 / 0,1 .3,1",
    ),
    "E": (
        "1,0 0,0! 0,1! 1,1 / 0,.48 .8,.48",
        "1,0 0,0! 0,1! 1,1 / 0,.48 .95,.48",
        "1,0 0,0! 0,1! 1,1 / 0,.45 .6,.45",
    ),
    "F": (
        "1,0 0,0! 0,1 / 0,.48 .8,.48",
        "1,0 0,0! 0,1 / 0,.5 .95,.5",
        "1,0 0,0! 0,1 / 0,.46 .6,.46",
    ),
    "G": (
        "1,.25 1,0 0,0 0,1 1,1 1,.55! .55,.55",
        "1,.2 1,0 0,0 0,1 1,1 1,.5! .45,.5",
        "1,.25 1,0 0,0 0,1 .9,1 1,.85 / .5,.58 1,.58! 1,1",
        "1,.22 1,0 0,0 0,1 1,1 1,.6 / .6,.6 1,.6",
    ),
    "H": ("0,0 0,1 / 1,0 1,1 / 0,.48 1,.48", "0,0 0,1 / 1,0 1,1 / 0,.55 1,.55"),
    "I": (
        ".5,0 .5,1",
        ".5,0 .5,1 / .05,0 .95,0 / .05,1 .95,1",
        ".5,0 .5,1 / .2,0 .8,0 / .2,1 .8,1",
    ),
    "J": (
        "1,0 1,1 0,1 0,.7",
        ".9,0 .9,1 0,1 0,.6",
        ".35,0 1,0! 1,1 0,1 0,.72",
        "1,0 1,.85 .7,1 0,1 0,.8",
    ),
    "K": (
        "0,0 0,1 / 1,0 0,.62 / .32,.43 1,1",
        "0,0 0,1 / 1,0 .1,.5! 1,1",
        "0,0 0,1 / 1,0 .5,.5! 1,1 / 0,.5 .5,.5",
    ),
    "L": ("0,0 0,1! 1,1", "0,0 0,1! .9,1"),
    "M": (
        "0,1 0,0! .5,.55! 1,0! 1,1",
        "0,1 0,0! .5,.95! 1,0! 1,1",
        "0,1 0,0! .5,.32! 1,0! 1,1",
        "0,1 .12,0! .5,.7! .88,0! 1,1",
        "0,1 0,0 .5,0 .5,.6 / .5,0 1,0 1,1",
    ),
    "N": ("0,1 0,0! 1,1! 1,0", "0,1 0,0! .95,.9! 1,1! 1,0", "0,1 0,0! 1,.8! / 1,0 1,1"),
    "O": (_BOX, "O .5,0 1,0 1,1 0,1 0,0", "O -.06,0 1.06,0 1.06,1 -.06,1"),
    "P": (_BOWL, "0,.56! 1,.56 1,0 0,0! 0,1", "0,.5! .9,.5 .9,0 0,0! 0,1"),
    "Q": (
        _BOX + " / .55,.72 1.05,1.05",
        _BOX + " / .5,.7 .95,.98",
        _BOX + " / .5,.85 .6,1.12 1,1.12",
        _BOX + " / .35,.7 .65,.75 1,1.04",
    ),
    "R": (
        _BOWL + " / .45,.48 1,1",
        _BOWL + " / .6,.48 .95,.6 .95,1",
        "0,.52! .95,.52 .95,0 0,0! 0,1 / .3,.52 1,1",
    ),
    "S": (
        "1,.22 1,0 0,0 0,.46 .5,.47 1,.5 1,1 0,1 0,.78",
        "1,.18 1,0 0,0 0,.42 1,.56 1,1 0,1 0,.82",
        "1,.25 1,0 0,0 0,.35 1,.65 1,1 0,1 0,.75",
    ),
    "T": ("0,0 1,0 / .5,0 .5,1",),
    "U": ("0,0 0,1 1,1 1,0",),
    "V": ("0,0 .5,1! 1,0", "0,0 .42,1! .58,1! 1,0", "0,0 0,.4 .5,1! 1,.4 1,0"),
    "W": (
        "0,0 .22,1! .5,.3! .78,1! 1,0",
        "0,0 0,1! .5,.5! 1,1! 1,0",
        "0,0 .1,1! .5,.55! .9,1! 1,0",
        "0,0 0,1! .5,.7! 1,1! 1,0",
        "0,0 .25,1! .5,0! .75,1! 1,0",
        "0,0 0,1 .5,1! .5,.4 / .5,1! 1,1 1,0",
        "0,0 .03,1! .5,.15! .97,1! 1,0",
    ),
    "X": ("0,0 1,1 / 1,0 0,1", "0,0 .5,.45! 1,0 / 0,1 .5,.45! 1,1"),
    "Y": (
        "0,0 .5,.5! 1,0 / .5,.5 .5,1",
        "0,0 .5,.6! 1,0 / .5,.6 .5,1",
        "0,0 0,.45 1,.45 1,0 / .5,.45 .5,1",
    ),
    "Z": ("0,0 1,0! 0,1! 1,1", "0,0 1,0! 1,.1 0,.9 0,1! 1,1", "0,0 1,0! 0,1! 1,1 / .25,.5 .75,.5"),
}
# California's die since the 1980s: narrow, open 4, barred I, 6 and 9 with a leaning stem.
# Where its plates differ, the shapes stand side by side (`|`).
CALIFORNIA: dict[str, str] = {
    "0": "O .5,0 1,0 1,1 0,1 0,0",
    "1": ".15,.2 .5,0! .5,1 / .15,1 .85,1 | .15,.22 .55,0! .55,1",
    "2": "0,.24 0,0 1,0 1,.4 0,1! 1,1",
    "3": "0,.2 0,0 .96,0 .96,.46 .5,.47 / .55,.47 1,.48 1,1 0,1 0,.8",
    "4": ".45,0 0,.81! 1,.81 / .78,.54 .78,1 | .55,0 0,.74! 1,.74 / .78,.4 .78,1",
    "5": "1,0 .1,0! .02,.46! .2,.4 1,.4 1,1 0,1 0,.8",
    "6": ".72,0 .05,.5 0,1 1,1 1,.46 .1,.46",
    "7": "0,0 1,0! .55,.5 .38,1",
    "9": ".28,1 .95,.5 1,0 0,0 0,.54 .9,.54",
    "G": "1,.25 1,0 0,0 0,1 1,1 1,.55! .55,.55",
    "I": ".5,0 .5,1 / .05,0 .95,0 / .05,1 .95,1",
    "J": "1,0 1,1 0,1 0,.72",
    "M": "0,1 0,0! .5,.55! 1,0! 1,1",
    "W": "0,0 .14,1! .5,.5! .86,1! 1,0 | 0,0 .05,1! .5,.45! .95,1! 1,0",
}
# Charles Wright's die and its Brazilian copy: bold, round-cornered boxes, hooked 6 and 9, bare I.
WRIGHT: dict[str, str] = {
    "0": _BOX,
    "1": ".2,.17 .55,0! .55,1",
    "2": "0,.26 0,0 1,0 1,.42 0,1! 1,1",
    "3": "0,.22 0,0 1,0 1,.47 .4,.47 / .5,.47 1,.47 1,1 0,1 0,.78",
    "4": ".74,1 .74,0! .56,0! 0,.74! 1,.74",
    "5": "1,0 .05,0! .02,.45! .1,.38 1,.38 1,1 0,1 0,.78",
    "6": "1,.22 1,0 0,0 0,1 1,1 1,.42 0,.42",
    "7": "0,0 1,0! .36,1",
    "8": "O .04,0 .96,0 .96,.46 .04,.46 / O 0,.46 1,.46 1,1 0,1",
    "9": "0,.78 0,1 1,1 1,0 0,0 0,.58 1,.58",
    "A": "0,1 .42,0! .58,0! 1,1 / .17,.7 .83,.7",
    "B": "O 0,0! .94,0 .94,.47 0,.47! / O 0,.47! 1,.47 1,1 0,1!",
    "D": "O 0,0! 1,0 1,1 0,1!",
    "G": "1,.25 1,0 0,0 0,1 1,1 1,.54! .55,.54",
    "I": ".5,0 .5,1",
    "J": "1,0 1,1 0,1 0,.7",
    "M": "0,1 0,0! .5,.6! 1,0! 1,1",
    "O": _BOX,
    "Q": _BOX + " / .5,.7 .98,1",
    "W": "0,0 .2,1! .5,.35! .8,1! 1,0",
    "Y": "0,0 .5,.52! 1,0 / .5,.52 .5,1",
}
# Germany's die of 1995, which Brazil's plates of 2018 and others follow: every pair unlike.
FE: dict[str, str] = {
    "0": "O .12,0 .88,0 .88,1 .12,1",
    "1": ".05,.26 .55,0! .55,1",
    "2": "0,.2 .1,0 1,0 1,.4 0,1! 1,1",
    "3": "0,.14 .1,0 .96,0 .96,.46 .4,.46 / .5,.46 1,.46 1,1 0,1 0,.86",
    "4": ".5,0 0,.72! 1,.72 / .74,.44 .74,1",
    "6": ".72,0 0,.55 0,1 1,1 1,.44 .08,.44",
    "7": "0,0 1,0! .4,1",
    "9": ".28,1 1,.45 1,0 0,0 0,.56 .92,.56",
    "C": "1,.2 1,0 0,0 0,1 1,1 1,.8",
    "G": "1,.2 1,0 0,0 0,1 1,1 1,.5! .5,.5",
    "I": ".5,0 .5,1 / .15,0 .5,0 / .15,1 .85,1",
    "J": ".3,0 1,0! 1,1 0,1 0,.8",
    "M": "0,1 0,0! .5,.6! 1,0! 1,1",
    "O": "O -.04,0 1.04,0 1.04,1 -.04,1",
    "Q": "O 0,0 1,0 1,1 0,1 / .5,.72 1,1.02",
    "W": "0,0 .2,1! .5,.3! .8,1! 1,0",
}
# Virginia's: upright strokes heavy, arms that end in serifs, so that E and F are nearly closed.
SERIF: dict[str, str] = {
    "1": ".1,.2 .5,0! .5,1 / .1,1 .9,1",
    "2": "0,.24 0,0 1,0 1,.4 0,1! 1,1! 1,.88",
    "4": ".7,1 .7,0! 0,.7! 1,.7 / .45,1 .95,1",
    "5": "1,0 .06,0! 0,.48! .1,.4 1,.4 1,1 0,1 0,.78",
    "7": "0,.13 0,0! 1,0! .4,1",
    "C": "1,.3 1,0 0,0 0,1 1,1 1,.7",
    "E": "1,.15 1,0! 0,0! 0,1! 1,1! 1,.85 / 0,.48 .62,.48 / .62,.38 .62,.58",
    "F": "1,.17 1,0! 0,0! 0,1 / 0,.48 .62,.48 / .62,.38 .62,.58",
    "G": "1,.25 1,0 0,0 0,1 1,1 1,.58 / .6,.58 1.0,.58",
    "H": "0,0 0,1 / 1,0 1,1 / 0,.5 1,.5",
    "I": ".5,0 .5,1 / .1,0 .9,0 / .1,1 .9,1",
    "J": "1,0 1,1 0,1 0,.7",
    "L": "0,0 0,1! 1,1! 1,.82",
    "S": "1,.24 1,0 0,0 0,.44 .5,.48 1,.53 1,1 0,1 0,.76",
    "T": "0,.15 0,0! 1,0! 1,.15 / .5,0 .5,1",
    "Z": "0,.13 0,0! 1,0! 0,1! 1,1! 1,.87",
}
DIES = {"": {}, "serif": SERIF, "california": CALIFORNIA, "wright": WRIGHT, "fe": FE}
BOLD = {"wright": (0.13, 0.2), "california": (0.065, 0.16), "fe": (0.1, 0.15)}
NARROW = {"1": 0.62, "I": 0.62}
WIDE = {"M": 1.12, "W": 1.15}
BARRED = {"1": 0.74, "I": 0.86}
"""California's 1 and I stand on bars nearly as wide as the T's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StrokeStyle:
    """How one plate's die looks; lengths are parts of the character height.

    `picks` holds one number in 0..1 per character of `ALPHABET` and chooses its variant, where
    `die` (a key of `DIES`) does not know the character. `stress` is how much heavier upright
    strokes are than level ones, `wobble` how far points stray from the die (parts of the box).
    """

    stroke: float
    radius: float
    picks: tuple[float, ...]
    die: str = ""
    stress: float = 1.0
    wobble: float = 0.0


def draw_style(rng: np.random.Generator, *, thickest: float, die: str = "") -> StrokeStyle:
    """Draw the look of one plate of a die with strokes up to `thickest` (part of the height)."""
    stressed = die == "serif" or (rng.random() < STRESSED and die in {"", "fe"})
    return StrokeStyle(
        stroke=float(min(rng.uniform(*BOLD.get(die, (0.085, 0.19))), thickest)),
        radius=float(rng.uniform(0.1, 0.34)),
        picks=tuple(rng.random(len(ALPHABET)).tolist()),
        die=die,
        stress=float(rng.uniform(*STRESS)) if stressed else 1.0,
        wobble=float(rng.uniform(0, WOBBLE)),
    )


@lru_cache(maxsize=512)
def _parse(variant: str) -> tuple[tuple[bool, tuple[tuple[float, float, bool], ...]], ...]:
    lines = []
    for part in variant.split(" / "):
        words = part.split()
        closed = words[0] == "O"
        points = []
        for word in words[1:] if closed else words:
            x, y = word.rstrip("!").split(",")
            points.append((float(x), float(y), not word.endswith("!")))
        lines.append((closed, tuple(points)))
    return tuple(lines)


def _find_variants(character: str, die: str) -> tuple[str, ...]:
    """Return the shapes of a character: those of the die, or all there are."""
    own = DIES[die].get(character)
    return tuple(own.split(" | ")) if own else VARIANTS[character]


def _corner(
    before: NDArray[np.float64], at: NDArray[np.float64], after: NDArray[np.float64], radius: float
) -> NDArray[np.float64]:
    """Return points of a quadratic curve that replaces the corner `at`."""
    back, ahead = before - at, after - at
    long_back, long_ahead = float(np.hypot(*back)), float(np.hypot(*ahead))
    start = at + back * min(radius, 0.5 * long_back) / max(long_back, 1e-6)
    end = at + ahead * min(radius, 0.5 * long_ahead) / max(long_ahead, 1e-6)
    pull = at + 0.12 * (at - (start + end) / 2)  # nearer to a circle than the plain curve
    return (1 - ARC) ** 2 * start + 2 * ARC * (1 - ARC) * pull + ARC**2 * end


def _round_line(
    points: NDArray[np.float64], soft: list[bool], *, closed: bool, radius: float
) -> NDArray[np.float64]:
    count = len(points)
    pieces = []
    for i in range(count):
        inner = closed or 0 < i < count - 1
        if inner and soft[i]:
            pieces.append(_corner(points[i - 1], points[i], points[(i + 1) % count], radius))
        else:
            pieces.append(points[i : i + 1])
    return np.concatenate(pieces)


def stroke_mask(
    character: str, style: StrokeStyle, *, width_px: int, height_px: int
) -> NDArray[np.uint8]:
    """Draw one character as a coverage mask.

    Args:
        character: One of `ALPHABET`.
        style: The plate's die.
        width_px: Outer width of an ordinary character; narrow and wide ones differ.
        height_px: Outer height, stroke included.

    Returns:
        (height_px, w) coverage 0..255, cut close at both sides.
    """
    variants = _find_variants(character, style.die)
    pick = style.picks[ALPHABET.index(character)] ** RARE_POWER
    variant = variants[min(int(pick * len(variants)), len(variants) - 1)]
    narrow = BARRED if style.die == "california" else NARROW
    factor = narrow.get(character, WIDE.get(character, 1.0))
    if variant == ".5,0 .5,1":
        factor = style.stroke * height_px / width_px
    scale = SUPERSAMPLE
    w, h = max(round(width_px * factor), 2), height_px
    thick = max(round(style.stroke * h * scale / style.stress**0.5), 1)
    wide = max(round(w * scale / style.stress), thick + 1)  # stretched to w below
    canvas = np.zeros((h * scale, wide), np.uint8)
    room = np.array([max(wide - thick, 1), h * scale - thick], np.float64)
    for closed, raw in _parse(variant):
        points = np.array([p[:2] for p in raw])
        # One wave over the box: points that meet stay together.
        waves = np.sin(points @ WAVES + 1e3 * style.picks[ALPHABET.index(character)])
        points = (points + style.wobble * waves) * room + thick / 2
        line = _round_line(
            points, [p[2] for p in raw], closed=closed, radius=style.radius * h * scale
        )
        cv2.polylines(canvas, [np.rint(line).astype(np.int32)], closed, 255, thick)
    return cv2.resize(canvas, (w, h), interpolation=cv2.INTER_AREA)
