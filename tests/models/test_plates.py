"""Rendered plates and the reader that learned from them."""

import hashlib
import tomllib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.reader.crops import MAX_CHARACTERS, PLATE_ON_CANVAS, make_canvas
from models.reader.evaluate import (
    ALPHABET,
    MARGIN_X,
    MARGIN_Y,
    decode,
    open_reader,
    read_onnx,
    rectify,
    score,
)
from models.synth import decor, gallery, weights
from models.synth.glyphs import DIES, VARIANTS, StrokeStyle, stroke_mask
from models.synth.layouts import LAYOUTS, choose_layout, fill_pattern
from models.synth.photo import degrade
from models.synth.plates import WIDTH_PX, render_plate

MODELS = Path(__file__).resolve().parents[2] / "models"
LAYOUT_NAMES = [layout.name for layout in LAYOUTS]


def test_the_same_seed_renders_the_same_plate() -> None:
    first, second = (render_plate(np.random.default_rng(7)) for _ in range(2))
    assert first.text == second.text
    assert np.array_equal(first.gray, second.gray)
    assert np.array_equal(first.boxes, second.boxes)


@pytest.mark.parametrize("layout", LAYOUT_NAMES)
def test_characters_stand_apart_and_inside_the_plate(layout: str) -> None:
    for seed in range(20):
        plate = render_plate(np.random.default_rng(seed), layout=layout)
        height, width = plate.gray.shape
        assert width == WIDTH_PX
        assert 1 <= len(plate.text) == len(plate.boxes) <= MAX_CHARACTERS
        assert set(plate.text) <= set(ALPHABET)
        assert (plate.boxes >= 0).all()
        assert (plate.boxes <= [width, height, width, height]).all()
        middles = plate.boxes[:, [0, 2]].mean(1)
        assert (np.diff(middles) > 8).all()


@pytest.mark.parametrize("layout", LAYOUT_NAMES)
def test_a_plate_has_the_shape_of_its_layout(layout: str) -> None:
    height, width = render_plate(np.random.default_rng(3), layout=layout).gray.shape
    assert width / height == pytest.approx(choose_layout(None, layout).aspect, rel=0.08)


@pytest.mark.parametrize("text", ["7ABC123", "GO", "HOMEPL8", "ABCD123456"])
def test_a_given_text_is_the_text(text: str) -> None:
    plate = render_plate(np.random.default_rng(5), text=text)
    assert plate.text == text
    assert len(plate.boxes) == len(text)


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(KeyError, match="moon"):
        render_plate(np.random.default_rng(1), layout="moon")


@pytest.mark.parametrize("character", ALPHABET)
def test_every_variant_fills_the_height_of_its_cell(character: str) -> None:
    count = len(VARIANTS[character])
    masks = set()
    for pick in np.linspace(0, 1, 40):
        style = StrokeStyle(stroke=0.12, radius=0.2, picks=(float(pick),) * len(ALPHABET))
        mask = stroke_mask(character, style, width_px=48, height_px=80)
        assert mask.shape[0] == 80
        assert mask[:8].max() > 200
        assert mask[-8:].max() > 200
        masks.add(mask.tobytes())
    assert len(masks) == count


@pytest.mark.parametrize("die", [name for name in DIES if name])
def test_a_die_draws_its_own_shapes(die: str) -> None:
    picks = (0.0,) * len(ALPHABET)
    for character in DIES[die]:
        styles = [StrokeStyle(stroke=0.12, radius=0.2, picks=picks, die=name) for name in ("", die)]
        plain, own = (stroke_mask(character, s, width_px=48, height_px=80) for s in styles)
        same = VARIANTS[character][0] == DIES[die][character]
        assert np.array_equal(plain, own) == same
        assert own[:8].max() > 200
        assert own[-8:].max() > 200


def test_stress_makes_upright_strokes_heavier_than_level_ones() -> None:
    def widths(stress: float) -> tuple[int, int]:
        picks = (0.0,) * len(ALPHABET)
        style = StrokeStyle(stroke=0.12, radius=0.2, picks=picks, stress=stress)
        mask = stroke_mask("L", style, width_px=60, height_px=90)
        return int((mask[30] > 128).sum()), int((mask[:, 40] > 128).sum())

    upright, level = widths(1.7)
    plain_upright, plain_level = widths(1.0)
    assert upright > plain_upright
    assert level < plain_level


def test_every_layout_has_a_weight_and_every_weight_a_layout() -> None:
    assert set(weights.LAYOUTS) == set(LAYOUT_NAMES)
    assert set(weights.DIES) <= set(LAYOUT_NAMES)
    assert {die for die, _ in weights.DIES.values()} <= set(DIES)


def test_a_clean_plate_shows_all_of_its_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "FRAME", 1.0)
    monkeypatch.setattr(weights, "FRAME_CUTS", 1.0)
    monkeypatch.setattr(weights, "DIRT", 0.0)

    def count_hidden(*, clean: bool) -> int:
        hidden = 0
        for seed in range(30):
            plate = render_plate(np.random.default_rng(seed), layout="ca", text="HHHHHHH",
                                 clean=clean)  # fmt: skip
            top, bottom = plate.boxes[0, [1, 3]].astype(int)
            low, high = plate.boxes[:, 0].min().astype(int), plate.boxes[:, 2].max().astype(int)
            rows = plate.gray[[top + 1, bottom - 2], low + 2 : high - 2]
            hidden += bool((np.ptp(rows.astype(int), axis=1) == 0).any())
        return hidden

    assert count_hidden(clean=True) == 0
    assert count_hidden(clean=False) > 15


def test_pictures_and_bands_stay_where_they_belong() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        gray = np.full((120, 360), 200, np.uint8)
        decor.draw_blot(rng, gray, box=(10, 20, 60, 90), shade=20.0, strength=1.0)
        decor.draw_band(rng, gray, left=False, letters=1.0)
        assert (gray[:, 60:320] == 200).all()
        assert (gray[:20, :60] == 200).all()
        assert (gray[20:90, 10:60] != 200).any()


def test_the_tow_ball_leaves_the_upper_half_of_the_characters_free() -> None:
    gray = np.full((180, 360), 200, np.uint8)
    decor.draw_tow_ball(np.random.default_rng(1), gray, top=120)
    assert (gray[:118] == 200).all()
    assert (gray[130:] != 200).any()


def test_digits_are_drawn_evenly_and_no_letter_is_rare() -> None:
    rng = np.random.default_rng(2)
    drawn = Counter("".join(fill_pattern(rng, "LLLDDD") for _ in range(6000)))
    assert min(drawn[c] for c in ALPHABET[10:]) > 0.55 * 18000 / 26
    assert drawn["G"] > drawn["C"] > 0
    assert min(drawn[c] for c in ALPHABET[:10]) > 0.9 * 18000 / 10


def test_a_vanity_plate_never_holds_a_zero_that_looks_like_an_o() -> None:
    rng = np.random.default_rng(2)
    assert "0" not in "".join(fill_pattern(rng, "XXXXXXX") for _ in range(2000))


def test_the_camera_keeps_the_size_and_its_input() -> None:
    plate = render_plate(np.random.default_rng(4))
    before = plate.gray.copy()
    taken = [degrade(plate.gray, np.random.default_rng(seed)) for seed in range(30)]
    assert np.array_equal(plate.gray, before)
    assert {t.shape for t in taken} == {before.shape}
    assert {t.dtype for t in taken} == {np.dtype(np.uint8)}
    assert sum(not np.array_equal(t, before) for t in taken) > 25


def test_centres_lie_on_the_plate_of_the_canvas() -> None:
    rng = np.random.default_rng(6)
    x1, y1, x2, y2 = PLATE_ON_CANVAS
    for _ in range(20):
        plate = render_plate(rng)
        _, centres = make_canvas(rng, plate)
        assert centres.shape == (len(plate.text), 2)
        assert (centres > [x1, y1]).all()
        assert (centres < [x2, y2]).all()


def test_decoding_joins_repeats_and_drops_blanks() -> None:
    columns = [36, 10, 10, 36, 10, 11, 36, 1, 1]
    assert decode(np.eye(37, dtype=np.float32)[None, columns]) == ["AAB1"]


def test_a_rectified_plate_leaves_the_margin_around_it() -> None:
    gray = np.full((100, 300), 10, np.uint8)
    gray[20:80, 50:250] = 200
    corners = np.array([[50, 20], [250, 20], [250, 80], [50, 80]], np.float32)
    crop = rectify(gray, corners)
    assert crop.shape == (48, 128)
    assert crop[24, 1] == crop[1, 64] == 10
    assert crop[24, 14] == crop[9, 64] == 200
    assert (crop > 100).mean() == pytest.approx(
        1 / (1 + 2 * MARGIN_X) / (1 + 2 * MARGIN_Y), abs=0.03
    )


def reader_table() -> dict[str, object]:
    return tomllib.loads((MODELS / "manifest.toml").read_text())["reader"]


def test_the_manifest_names_the_file_that_is_there() -> None:
    table = reader_table()
    content = (MODELS / str(table["file"])).read_bytes()
    assert hashlib.sha256(content).hexdigest() == table["sha256"]
    assert len(content) <= 2_500_000
    assert float(str(table["gmac"])) <= 0.06


@pytest.mark.parametrize("count", [1, 3])
def test_the_reader_keeps_its_contract(count: int) -> None:
    session = open_reader(MODELS / "reader.onnx")
    crops = np.random.default_rng(1).integers(0, 256, (count, 1, 48, 128), np.uint8)
    log_probs = session.run(["log_probs"], {"crops": crops})[0]
    assert log_probs.shape == (count, 32, 37)
    assert np.exp(log_probs).sum(2) == pytest.approx(1, abs=1e-4)


def test_the_reader_does_not_mind_contrast_and_light() -> None:
    session = open_reader(MODELS / "reader.onnx")
    crop = canvas_crops(1)[0]
    dim = (crop // 3 + 20).astype(np.uint8)
    assert read_onnx(session, crop) == read_onnx(session, dim)


def canvas_crops(count: int) -> tuple[np.ndarray, list[str]]:
    """Return clean crops (count, 1, 48, 128) of California plates and their texts."""
    rng = np.random.default_rng(11)
    crops, texts = [], []
    for _ in range(count):
        plate = render_plate(rng, layout="ca")
        height, width = plate.gray.shape
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        crops.append(rectify(plate.gray, corners))
        texts.append(plate.text)
    return np.stack(crops)[:, None], texts


def test_the_reader_reads_clean_rendered_plates() -> None:
    crops, texts = canvas_crops(60)
    read = read_onnx(open_reader(MODELS / "reader.onnx"), crops)
    assert score(read, texts)["strict"] >= 85


@pytest.mark.parametrize(("extra", "tile"), [([], (200, 116)), (["--scenes"], (400, 300))])
def test_the_gallery_draws_a_sheet(tmp_path: Path, monkeypatch, extra: list, tile: tuple) -> None:
    out = tmp_path / "sheet.png"
    arguments = ["gallery", str(out), "--rows", "2", "--columns", "3", "--fonts", str(tmp_path)]
    monkeypatch.setattr("sys.argv", [*arguments, *extra])
    assert gallery.main() == 0
    sheet = cv2.imread(str(out), cv2.IMREAD_GRAYSCALE)
    assert sheet.shape == (2 * tile[1], 3 * tile[0])
    assert sheet.std() > 20
