"""Everything on a plate that is not its number: words, pictures, stickers, bolts, frames, dirt.

All functions draw into the picture handed in, in place. Words use the Hershey strokes that come
with OpenCV, so that no font is needed.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
HERSHEY = (
    cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX,
)  # fmt: skip
SCRIPTS = HERSHEY[4:]
WORDS = (
    "California", "Florida", "Texas", "New York", "Idaho", "Oregon", "Nevada", "Arizona", "Ohio",
    "Virginia", "Wyoming", "Georgia", "Hawaii", "Maine", "Vermont", "Iowa", "Missouri", "Utah",
    "GARDEN STATE", "EMPIRE STATE", "SUNSHINE STATE", "LIVE FREE OR DIE", "dmv.ca.gov", "DEALER",
    "Famous Potatoes", "GRAND CANYON STATE", "Aloha State", "Land of Lincoln", "TOYOTA", "HONDA",
    "FORD", "BMW OF", "UNIVERSITY", "ALUMNI", "SAN DIEGO", "Great Lakes", "First in Flight",
    "SP-SAO PAULO", "MG-BELO HORIZONTE", "BRASIL", "www.cars.com", "MOTORS", "VETERAN", "HISTORIC",
)  # fmt: skip
SMALLEST_WORD_PX = 5
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


def _words(rng: np.random.Generator) -> str:
    word = WORDS[int(rng.integers(len(WORDS)))]
    return word.upper() if rng.random() < 0.4 else word


def put_words(
    gray: Gray,
    words: str,
    *,
    box: tuple[float, float, float, float],
    ink: float,
    face: int,
    thick: int,
) -> None:
    """Write `words` centred in `box` (x1, y1, x2, y2), as large as fits."""
    x1, y1, x2, y2 = box
    if min(x2 - x1, y2 - y1) < SMALLEST_WORD_PX:
        return
    (wide, high), low = cv2.getTextSize(words, face, 1.0, 1)
    scale = min((x2 - x1) / max(wide, 1), (y2 - y1) / max(high + low * 0.4, 1))
    at = (int((x1 + x2 - wide * scale) / 2), int((y1 + y2 + high * scale) / 2))
    cv2.putText(gray, words, at, face, scale, int(ink), thick, cv2.LINE_AA)


def draw_words(
    rng: np.random.Generator, gray: Gray, *, top: float, bottom: float, ink: float, script: float
) -> None:
    """Write a header or footer between two heights (parts of the plate)."""
    height, width = gray.shape
    faces = SCRIPTS if rng.random() < script else HERSHEY
    half = rng.uniform(0.12, 0.42)
    middle = 0.5 + rng.normal(0, 0.03)
    put_words(
        gray, _words(rng),
        box=((middle - half) * width, top * height, (middle + half) * width, bottom * height),
        ink=ink, face=faces[int(rng.integers(len(faces)))], thick=int(rng.integers(1, 4)),
    )  # fmt: skip


def draw_scenery(rng: np.random.Generator, gray: Gray, paper: float) -> None:
    """Shade the ground: a gradient, and sometimes hills or a large pale shape."""
    height, width = gray.shape
    if rng.random() < 0.5:
        ramp = np.linspace(-1, 1, height)[:, None] * rng.uniform(-25, 25)
        ramp = ramp + np.linspace(-1, 1, width)[None] * rng.uniform(-12, 12)
        np.copyto(gray, np.clip(gray + ramp, 0, 255).astype(np.uint8))
    if rng.random() < 0.35:
        base = rng.uniform(0.45, 0.95) * height
        count = int(rng.integers(4, 9))
        x = np.linspace(0, width, count)
        y = base + rng.uniform(-0.2, 0.2, count) * height
        hill = np.concatenate([np.stack([x, y], 1), [[width, height], [0, height]]])
        shade = np.clip(paper + rng.uniform(-45, 30), 0, 255)
        cv2.fillPoly(gray, [hill.astype(np.int32)], int(shade))
    if rng.random() < 0.2:
        centre = (int(rng.uniform(0.2, 0.8) * width), int(rng.uniform(0.3, 0.7) * height))
        axes = (int(rng.uniform(0.05, 0.25) * width), int(rng.uniform(0.1, 0.45) * height))
        shade = int(np.clip(paper + rng.uniform(-40, 30), 0, 255))
        cv2.ellipse(gray, centre, axes, 0, 0, 360, shade, int(rng.choice([-1, 3, 8])))


def draw_logo(
    rng: np.random.Generator, gray: Gray, *, box: tuple[float, float, float, float], ink: float
) -> None:
    """Draw a meaningless picture of blots, rings and strokes into `box`."""
    x1, y1, x2, y2 = box
    size = np.array([x2 - x1, y2 - y1])
    corner = np.array([x1, y1])
    for _ in range(int(rng.integers(1, 5))):
        shade = int(np.clip(ink + rng.uniform(-10, 70) * (1 if ink < 128 else -1), 0, 255))
        kind = rng.random()
        if kind < 0.45:
            points = corner + rng.random((int(rng.integers(3, 9)), 2)) * size
            cv2.fillPoly(gray, [points.astype(np.int32)], shade)
        elif kind < 0.75:
            centre = (corner + rng.uniform(0.3, 0.7, 2) * size).astype(int)
            axes = np.maximum(size * rng.uniform(0.15, 0.48, 2), 1).astype(int)
            thick = int(rng.choice([-1, 2, 4]))
            cv2.ellipse(gray, centre.tolist(), axes.tolist(), 0, 0, 360, shade, thick)
        else:
            points = corner + rng.random((int(rng.integers(2, 7)), 2)) * size
            cv2.polylines(
                gray,
                [points.astype(np.int32)],
                isClosed=False,
                color=shade,
                thickness=int(rng.integers(2, 7)),
            )


def draw_stack(
    rng: np.random.Generator, gray: Gray, *, box: tuple[float, float, float, float], ink: float
) -> None:
    """Write one to three small letters above each other: a county or vehicle type."""
    x1, y1, x2, y2 = box
    count = int(rng.integers(1, 4))
    if count == 1:
        y1 += (y2 - y1) * rng.uniform(0.2, 0.55)
        y2 = min(y2, y1 + (x2 - x1) * 1.6)
    step = (y2 - y1) / count
    face = HERSHEY[int(rng.integers(4))]
    for i in range(count):
        letter = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"[int(rng.integers(36))]
        cell = (x1, y1 + i * step + 2, x2, y1 + (i + 1) * step - 2)
        put_words(gray, letter, box=cell, ink=ink, face=face, thick=int(rng.integers(2, 5)))


def draw_stickers(rng: np.random.Generator, gray: Gray, ink: float) -> None:
    """Put month and year stickers into the corners."""
    height, width = gray.shape
    for left in (True, False):
        for top in (True, False):
            if rng.random() > (0.55 if top else 0.2):
                continue
            w, h = rng.uniform(0.07, 0.15) * width, rng.uniform(0.09, 0.17) * height
            x = rng.uniform(0.03, 0.1) * width if left else width * rng.uniform(0.9, 0.97) - w
            y = rng.uniform(0.02, 0.07) * height if top else height * rng.uniform(0.93, 0.98) - h
            box = (x, y, x + w, y + h)
            shade = int(rng.uniform(20, 250))
            if rng.random() < 0.7:
                cv2.rectangle(gray, (int(x), int(y)), (int(x + w), int(y + h)), shade, -1)
                ink = 20 if shade > 120 else 235
            word = (
                MONTHS[int(rng.integers(12))] if rng.random() < 0.6 else f"{rng.integers(100):02}"
            )
            put_words(gray, word, box=box, ink=ink, face=HERSHEY[int(rng.integers(4))], thick=2)


def draw_bolts(rng: np.random.Generator, gray: Gray) -> None:
    """Draw the four bolt holes, some with bolts."""
    height, width = gray.shape
    x, y = rng.uniform(0.17, 0.28), rng.uniform(0.06, 0.11)
    for side in (x, 1 - x):
        for level in (y, 1 - y):
            if rng.random() < 0.3:
                continue
            centre = (int(side * width), int(level * height))
            radius = int(rng.uniform(3, 8))
            cv2.circle(gray, centre, radius, int(rng.uniform(10, 200)), -1)
            if rng.random() < 0.4:
                cv2.circle(gray, centre, max(radius - 2, 1), int(rng.uniform(60, 250)), -1)


def draw_border(rng: np.random.Generator, gray: Gray, ink: float) -> None:
    """Draw the printed or pressed line along the edge."""
    height, width = gray.shape
    inset = int(rng.integers(1, 8))
    corner = (width - 1 - inset, height - 1 - inset)
    cv2.rectangle(gray, (inset, inset), corner, int(ink), int(rng.integers(1, 5)))


def draw_frame(rng: np.random.Generator, gray: Gray, *, free: tuple[float, float]) -> None:
    """Lay a dealer's frame over the edges; rows between `free` (pixels) stay visible."""
    height, width = gray.shape
    shade = int(rng.choice([12, 25, 45, 150, 200]) + rng.uniform(-10, 10))
    top = min(rng.uniform(0.03, 0.24) * height, free[0] - 1)
    bottom = max((1 - rng.uniform(0.03, 0.24)) * height, free[1] + 1)
    side = int(rng.uniform(0.005, 0.022) * width)
    gray[: int(top)] = shade
    gray[int(bottom) :] = shade
    gray[:, :side] = shade
    gray[:, width - side :] = shade
    ink = 235 if shade < 120 else 15
    for low, high in ((0, top), (bottom, height)):
        if high - low > 0.09 * height and rng.random() < 0.75:
            draw_words(
                rng, gray, top=(low + 2) / height, bottom=(high - 2) / height, ink=ink, script=0.1
            )


def draw_dirt(rng: np.random.Generator, gray: Gray) -> None:
    """Darken or lighten soft patches, as mud, dents and wear do."""
    height, width = gray.shape
    small = rng.normal(0, 1, (max(height // 30, 2), max(width // 30, 2))).astype(np.float32)
    patches = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    strength = rng.uniform(4, 20)
    np.copyto(gray, np.clip(gray + patches * strength, 0, 255).astype(np.uint8))
