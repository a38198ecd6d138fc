"""Everything on a plate that is not its number: words, pictures, stickers, bolts, frames, dirt.

All functions draw into the picture handed in, in place. Words use the Hershey strokes that come
with OpenCV, so that no font is needed.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synth import weights

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
COUNTRIES = ("D", "F", "I", "E", "P", "PL", "RO", "NL", "B", "A", "CZ", "SK", "H", "GB", "UK", "S",
             "DK", "FIN", "GR", "BG", "IRL", "L", "LT", "LV", "EST", "SLO", "HR", "UA", "N", "CH",
             "75", "13", "59", "2A")  # fmt: skip
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
    if rng.random() < weights.HILLS:
        base = rng.uniform(0.45, 0.95) * height
        count = int(rng.integers(4, 9))
        x = np.linspace(0, width, count)
        y = base + rng.uniform(-0.2, 0.2, count) * height
        hill = np.concatenate([np.stack([x, y], 1), [[width, height], [0, height]]])
        shade = np.clip(paper + rng.uniform(-45, 30), 0, 255)
        cv2.fillPoly(gray, [hill.astype(np.int32)], int(shade))
    if rng.random() < weights.BEHIND:
        box = (rng.uniform(0, 0.6) * width, rng.uniform(0, 0.4) * height)
        size = (rng.uniform(0.2, 0.5) * width, rng.uniform(0.4, 0.8) * height)
        shade = float(np.clip(paper + rng.uniform(-70, 30), 0, 255))
        draw_blot(rng, gray, box=(*box, box[0] + size[0], box[1] + size[1]), shade=shade,
                  strength=rng.uniform(0.3, 0.9))  # fmt: skip
    if rng.random() < weights.LARGE_SHAPE:
        centre = (int(rng.uniform(0.2, 0.8) * width), int(rng.uniform(0.3, 0.7) * height))
        axes = (int(rng.uniform(0.05, 0.25) * width), int(rng.uniform(0.1, 0.45) * height))
        shade = int(np.clip(paper + rng.uniform(-40, 30), 0, 255))
        cv2.ellipse(gray, centre, axes, 0, 0, 360, shade, int(rng.choice([-1, 3, 8])))


def draw_picture(
    rng: np.random.Generator, gray: Gray, *, box: tuple[float, float, float, float], ink: float
) -> None:
    """Draw something that is no character: a logo, a seal, or a blot like an animal."""
    kind = rng.random()
    if kind < 0.45:
        draw_logo(rng, gray, box=box, ink=ink)
    elif kind < 0.7:
        draw_seal(rng, gray, box=box, ink=ink)
    else:
        draw_blot(rng, gray, box=box, shade=ink, strength=rng.uniform(0.5, 1.0))


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


def draw_blot(
    rng: np.random.Generator,
    gray: Gray,
    *,
    box: tuple[float, float, float, float],
    shade: float,
    strength: float,
) -> None:
    """Draw an outline without rules, shaded within: an animal, a tree, a player from afar."""
    x1, y1 = max(int(box[0]), 0), max(int(box[1]), 0)
    part = gray[y1 : int(box[3]), x1 : int(box[2])]
    if min(part.shape) < SMALLEST_WORD_PX:
        return
    fine = int(rng.integers(4, 9))
    noise = rng.normal(0, 1, (2, fine, fine)).astype(np.float32)
    size = part.shape[::-1]
    outline, tone = (cv2.resize(n, size, interpolation=cv2.INTER_CUBIC) for n in noise)
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in part.shape)
    far = x[None] ** 2 + y[:, None] ** 2
    cover = np.clip((outline * 0.7 + 0.75 - far) * 6, 0, 1) * np.float32(strength)
    toned = np.float32(shade) + tone * np.float32(rng.uniform(0, 60))
    np.copyto(part, np.clip(part + cover * (toned - part), 0, 255).astype(np.uint8))


def draw_seal(
    rng: np.random.Generator, gray: Gray, *, box: tuple[float, float, float, float], ink: float
) -> None:
    """Draw a round or shield-like emblem: rings with something inside."""
    x1, y1, x2, y2 = box
    centre = (int((x1 + x2) / 2), int((y1 + y2) / 2))
    half = int(min(x2 - x1, y2 - y1) / 2)
    if half < SMALLEST_WORD_PX:
        return
    tall = int(half * rng.uniform(0.9, 1.25))
    if rng.random() < 0.4:
        shade = int(np.clip(ink + rng.uniform(20, 110) * (1 if ink < 128 else -1), 0, 255))
        cv2.ellipse(gray, centre, (half, tall), 0, 0, 360, shade, -1, cv2.LINE_AA)
    for share in (1.0, rng.uniform(0.6, 0.85))[: int(rng.integers(1, 3))]:
        axes = (int(half * share), int(tall * share))
        thick = int(rng.integers(1, 4))
        cv2.ellipse(gray, centre, axes, 0, 0, 360, int(ink), thick, cv2.LINE_AA)
    inner = (centre[0] - half * 0.55, centre[1] - tall * 0.55)
    within = (*inner, centre[0] + half * 0.55, centre[1] + tall * 0.55)
    if rng.random() < 0.6:
        draw_blot(rng, gray, box=within, shade=ink, strength=rng.uniform(0.5, 1.0))
    else:
        word = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[int(rng.integers(26))]
        face = HERSHEY[int(rng.integers(4))]
        put_words(gray, word, box=within, ink=ink, face=face, thick=int(rng.integers(1, 3)))


def draw_band(rng: np.random.Generator, gray: Gray, *, left: bool, letters: float) -> None:
    """Draw a European side band: dark, with a ring of stars and the country's letters."""
    height, width = gray.shape
    wide = int(width * rng.uniform(0.06, 0.085))
    low = 0 if left else width - wide
    gray[:, low : low + wide] = int(rng.uniform(20, 140))
    ink = float(rng.uniform(170, 250))
    if rng.random() < 0.8:
        centre, ring = (low + wide / 2, height * rng.uniform(0.22, 0.36)), wide * 0.3
        for angle in np.linspace(0, 2 * np.pi, 12, endpoint=False):
            at = (int(centre[0] + ring * np.cos(angle)), int(centre[1] + ring * np.sin(angle)))
            cv2.circle(gray, at, 1, int(ink), -1)
    if rng.random() < letters:
        word = COUNTRIES[int(rng.integers(len(COUNTRIES)))]
        box = (low + 3.0, height * rng.uniform(0.5, 0.62), low + wide - 3.0, height * 0.92)
        face = HERSHEY[int(rng.integers(2))]
        put_words(gray, word, box=box, ink=ink, face=face, thick=int(rng.integers(1, 4)))


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


def draw_frame(
    rng: np.random.Generator,
    gray: Gray,
    *,
    free: tuple[float, float],
    tight: bool | None = None,
) -> None:
    """Lay a dealer's frame over the edges; rows between `free` (pixels) stay visible.

    `tight` makes it reach the lower (True) or the upper (False) of these rows.
    """
    height, width = gray.shape
    shade = int(rng.choice([12, 25, 45, 150, 200]) + rng.uniform(-10, 10))
    top = min(rng.uniform(0.03, 0.24) * height, free[0] - 1)
    bottom = max((1 - rng.uniform(0.03, 0.24)) * height, free[1] + 1)
    top, bottom = (free[0] if tight is False else top), (free[1] if tight else bottom)
    side = int(rng.uniform(0.005, rng.choice((0.022, 0.045))) * width)
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


def draw_tow_ball(rng: np.random.Generator, gray: Gray, *, top: float) -> None:
    """Draw the shaft and ball of a hitch in front of the lower edge, up to the row `top`."""
    height, width = gray.shape
    middle, radius = int(width * rng.uniform(0.3, 0.7)), int(width * rng.uniform(0.025, 0.065))
    shade = float(rng.uniform(20, 190))
    half = max(int(radius * rng.uniform(0.4, 0.8)), 1)
    shaft = ((middle - half, int(top) + radius), (middle + half, height))
    cv2.rectangle(gray, *shaft, shade * 0.7, -1)
    for share, tone in ((1.0, shade), (0.6, min(shade * 1.4, 255)), (0.25, min(shade * 2, 255))):
        centre = (middle - int(radius * (1 - share) * 0.4), int(top + radius * share))
        cv2.circle(gray, centre, max(int(radius * share), 1), tone, -1, cv2.LINE_AA)


def draw_dirt(rng: np.random.Generator, gray: Gray) -> None:
    """Darken or lighten soft patches, as mud, dents and wear do."""
    height, width = gray.shape
    small = rng.normal(0, 1, (max(height // 30, 2), max(width // 30, 2))).astype(np.float32)
    patches = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    strength = rng.uniform(4, 20)
    np.copyto(gray, np.clip(gray + patches * strength, 0, 255).astype(np.uint8))
