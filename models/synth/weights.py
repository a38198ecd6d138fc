"""How often a rendered plate shows what: every sampling weight of the renderer in one file.

Chances are 0 to 1, ranges are drawn evenly. The camera's chances stand in `photo.Camera`.
"""

LAYOUTS = {
    "ca": 25.0,
    "ca_truck": 7.0,
    "us": 30.0,
    "vanity": 7.0,
    "south_america": 12.0,
    "mercosul": 4.0,
    "europe": 13.0,
    "world": 4.0,
}
"""Shares of the layouts of `layouts.LAYOUTS`; any scale."""

ALIKE = 0.35
"""Letters drawn from those that are mistaken for others (`layouts.ALIKE_LETTERS`)."""

LIGHT_ON_DARK = 0.3
LIGHT_ON_DARK_OF = {"south_america": 0.45, "mercosul": 0.05, "europe": 0.12, "ca": 0.2}

# The die.
FONT_SHARE = 0.35
"""Of plates, when font files are given."""
DIES = {
    "ca": ("california", 0.75),
    "ca_truck": ("california", 0.75),
    "us": ("serif", 0.1),
    "vanity": ("serif", 0.1),
    "south_america": ("wright", 0.75),
    "mercosul": ("fe", 0.7),
    "europe": ("fe", 0.3),
}
"""The die a layout usually has, and how often; the others keep the network open."""
WRIGHT_IN_EUROPE = 0.25
STRESSED = 0.3
"""Upright strokes heavier than level ones, as in Virginia, or the reverse."""
STRESS = (0.75, 1.7)
WOBBLE = 0.045
"""Farthest that the points of a stroke stray from the die, in parts of the character's box."""
PROPORTIONAL = 0.25

# Beside the number.
SIDE_PICTURE = 0.5
"""The number makes room for a picture."""
SIDE_PICTURE_LAYOUTS = ("us", "vanity")
BESIDE = {"ca": 0.14, "south_america": 0.1, "mercosul": 0.15, "europe": 0.15}
BESIDE_ELSEWHERE = 0.75
BESIDE_EACH_SIDE = 0.7
STACKED = 0.45
"""Stacked letters rather than a picture."""
STACKED_IN_DIE = 0.6
"""Stacked letters in the die of the number rather than in print."""
GAP_DASH, GAP_DOT, GAP_PICTURE, GAP_STACK = 0.3, 0.2, 0.3, 0.12
SOUTH_AMERICAN_DOT = 0.75
BAND, BAND_LETTERS = 0.85, 0.7
BAND_RIGHT = 0.2

# Around and over the number.
HEADER, FOOTER = 0.9, 0.65
SCRIPT, SCRIPT_CALIFORNIA = 0.3, 0.7
HILLS, LARGE_SHAPE, BEHIND = 0.35, 0.2, 0.25
BOLTS, BORDER, DIRT = 0.6, 0.4, 0.3
FRAME = 0.45
FRAME_CUTS = 0.42
"""Of frames: they hide the first or the last rows of the characters."""
FRAME_CUT = (0.02, 0.13)
"""Share of the characters' height that is hidden."""
PRESSED = 0.5
WORN, OUTLINE = 0.04, 0.03
"""Paint gone from the characters: in places; from all but their rims."""
TOW_BALL = 0.07
TOW_BALL_TOP = (0.4, 0.9)
"""How far down the characters a hitch reaches up, in parts of their height."""

# Around the plate, in the reader's material.
HOLDER = 0.3
LETTERED_SURROUNDINGS = 0.25
BARS_BESIDE = 0.3
"""Upright edges right beside the plate: lamps, reflectors, the rims of a recess."""
NO_PLATE = 0.03
"""Of the crops: lettering and panels that a detector takes for a plate, to be read as nothing."""
