"""OFL and Apache fonts for training, where they are installed; never committed, never needed.

To train as we did, on Debian: `apt-get install fonts-dosis fonts-opendin fonts-routed-gothic
fonts-bebas-neue fonts-league-spartan fonts-roboto-unhinted fonts-cabin fonts-manrope fonts-play
fonts-karla fonts-lato fonts-inter fonts-national-park fonts-league-mono`.
"""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

FACES = (
    "Dosis-Medium", "Dosis-SemiBold", "Dosis-Bold", "OSP-DIN", "routed-gothic-narrow",
    "routed-gothic", "routed-gothic-wide", "BebasNeue-Bold", "BebasNeue-Regular", "BebasNeue-Book",
    "LeagueSpartan-Regular", "LeagueSpartan-Bold", "RobotoCondensed-Regular",
    "RobotoCondensed-Bold", "Roboto-Medium", "Cabin-Medium", "Cabin-Bold", "Manrope-SemiBold",
    "Play-Bold", "Karla-Medium", "Karla-Bold", "Lato-Bold", "Inter-Medium", "InterDisplay-SemiBold",
    "NationalPark-Regular", "NationalPark-Heavy", "LeagueMono-CondensedMedium",
    "LeagueMono-NarrowSemiBold", "LeagueMono-CondensedBold",
)  # fmt: skip
HEIGHT_PX = 160  # drawn once at this cap height, then reduced


def installed_faces(root: Path) -> tuple[Path, ...]:
    """Return the font files of `FACES` found below `root`, in the order of `FACES`."""
    files = sorted(root.rglob("*.otf")) + sorted(root.rglob("*.ttf"))
    found = {path.stem: path for path in files}
    return tuple(found[name] for name in FACES if name in found)


@lru_cache(maxsize=4096)
def _large_mask(face: Path, character: str) -> NDArray[np.uint8]:
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415  training only

    font = ImageFont.truetype(str(face), HEIGHT_PX * 3 // 2)
    picture = Image.new("L", (HEIGHT_PX * 3, HEIGHT_PX * 3), 0)
    ImageDraw.Draw(picture).text((HEIGHT_PX // 2, HEIGHT_PX // 2), character, font=font, fill=255)
    mask = np.array(picture)
    rows, columns = np.nonzero(mask.max(1) > 96)[0], np.nonzero(mask.max(0) > 96)[0]
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def font_mask(
    character: str, face: Path, *, width_ratio: float, height_px: int
) -> NDArray[np.uint8]:
    """Draw one character of an installed font as a coverage mask.

    Args:
        character: One of A-Z0-9.
        face: Font file, from `installed_faces`.
        width_ratio: Width of the letter H after stretching, as a part of the height.
        height_px: Height of the mask.

    Returns:
        (height_px, w) coverage 0..255, cut close at both sides.
    """
    h_mask = _large_mask(face, "H")
    mask = _large_mask(face, character)
    stretch = width_ratio * height_px / h_mask.shape[1]
    width_px = max(round(mask.shape[1] * stretch), 2)
    return cv2.resize(mask, (width_px, height_px), interpolation=cv2.INTER_AREA)
