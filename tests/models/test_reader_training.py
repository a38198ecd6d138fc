"""The reader's training code; needs PyTorch, which the agent does not."""

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from models.reader import batches, curves, export, train  # noqa: E402
from models.reader.crops import PLATE_ON_CANVAS, Material, write_part  # noqa: E402
from models.reader.evaluate import ALPHABET, BLANK, open_reader, plate_in_crop  # noqa: E402
from models.reader.network import Reader  # noqa: E402


def test_columns_carry_the_character_at_its_centre() -> None:
    labels = batches.column_labels("A1", np.array([26.0, 90.0]))
    assert labels[6] == ALPHABET.index("A")
    assert labels[22] == ALPHABET.index("1")
    assert (labels[[5, 7, 21, 23]] == batches.IGNORED).all()
    assert (np.delete(labels, [5, 6, 7, 21, 22, 23]) == BLANK).all()


EXACT = batches.Jitter(
    corner_sigma=0, scale=(0, 0), shift_sigma=0, rolled=0, bare=0, inverted=0, noise=0
)


def test_jitter_without_errors_cuts_the_plate_with_its_margin() -> None:
    matrix = batches.jitter_matrix(np.random.default_rng(1), EXACT)
    x1, y1, x2, y2 = PLATE_ON_CANVAS
    corners = np.array([[[x1, y1], [x2, y2]]], np.float64)
    found = cv2.perspectiveTransform(corners, matrix)[0]
    assert found == pytest.approx(plate_in_crop()[[0, 2]], abs=3)


def test_the_errors_of_a_long_plate_are_larger_parts_of_its_height() -> None:
    def spread(aspect: float) -> np.ndarray:
        rng = np.random.default_rng(2)
        jitter = replace(EXACT, corner_sigma=0.03)
        middle = np.array([[[88.0, 12.0]]])
        found = [
            cv2.perspectiveTransform(middle, batches.jitter_matrix(rng, jitter, aspect))
            for _ in range(200)
        ]
        return np.std(found, axis=0).ravel()

    short, long = spread(2.0), spread(4.6)
    assert long[1] > 1.5 * short[1]
    assert long[1] / long[0] > 1.2 * short[1] / short[0]


def test_a_bare_crop_repeats_the_plates_edge_instead_of_the_surroundings() -> None:
    canvas = np.full((64, 176), 10, np.uint8)
    x1, y1, x2, y2 = (round(v) for v in PLATE_ON_CANVAS)
    canvas[y1 - 4 : y2 + 4, x1 - 4 : x2 + 4] = 200
    rng = np.random.default_rng(1)
    matrix = batches.jitter_matrix(rng, EXACT)
    assert batches.cut_crop(rng, canvas, matrix, EXACT).min() == 10
    assert batches.cut_crop(rng, canvas, matrix, replace(EXACT, bare=1.0)).min() > 190


def test_two_steps_run_and_a_checkpoint_continues(tmp_path: Path) -> None:
    write_part(tmp_path / "data" / "part", count=8, seed=1, faces=())
    settings = train.Settings(steps=2, batch=4)
    run = train.start_run(settings)
    train.train(run, tmp_path / "data", tmp_path, settings, {})
    again = train.start_run(settings)
    again.load(tmp_path / "last.pt")
    assert again.steps == 2
    crops = torch.randint(0, 256, (2, 1, 48, 128), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(again.average(crops), run.average(crops))


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    write_part(tmp_path / "data" / "part", count=8, seed=1, faces=())
    settings = train.Settings(steps=3, batch=4)
    runs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        runs.append(train.start_run(settings))
        train.train(runs[-1], tmp_path / "data", tmp_path / name, settings, {})
    one, two = (run.average.state_dict() for run in runs)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_warm_run_begins_with_the_averaged_weights(tmp_path: Path) -> None:
    first = train.start_run(train.Settings(steps=1, seed=5))
    first.save(tmp_path / "last.pt")
    warm = train.start_run(train.Settings(steps=1, seed=6), tmp_path / "last.pt")
    wanted = first.average.state_dict()
    assert all(torch.equal(value, wanted[n]) for n, value in warm.network.state_dict().items())
    assert warm.steps == 0


def test_only_missing_parts_are_rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Now:
        def __init__(self, *, target: object, args: tuple) -> None:
            made.extend(args[1])

        def start(self) -> None: ...
        def join(self) -> None: ...

    monkeypatch.setattr(
        train.multiprocessing, "get_context", lambda _: SimpleNamespace(Process=Now)
    )
    (tmp_path / "part3000").mkdir()
    (tmp_path / "part3000" / "centres.npy").touch()
    train.render_missing(tmp_path, plates=30_000, workers=2, seed=3, fonts=tmp_path)
    assert sorted(made) == ["part3001", "part3002"]


def test_the_command_goes_from_material_to_a_file_and_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_part(tmp_path / "material" / "part1", count=40, seed=1, faces=())
    out = ["--export", str(tmp_path / "reader.onnx"), "--material", str(tmp_path / "material")]
    monkeypatch.setattr(
        "sys.argv", ["train", str(tmp_path / "run"), "--steps", "2", "--seed", "3", *out]
    )
    assert train.main() == 0
    table = tomllib.loads((tmp_path / "manifest.toml").read_text())["reader"]
    assert table["file"] == "reader.onnx"
    assert next(iter(table["patterns"])) == "DLLLDDD"
    assert 0.5 < sum(table["patterns"].values()) < 1
    crops = np.zeros((2, 1, 48, 128), np.uint8)
    (log_probs,) = open_reader(tmp_path / "reader.onnx").run(None, {"crops": crops})
    assert log_probs.shape == (2, table["columns"], table["blank"] + 1)


def test_letters_that_are_drawn_more_often_are_not_expected_more_often() -> None:
    network = Reader()
    before = network.head.bias.detach().clone()
    export.even_out(network)
    change = (network.head.bias.detach() - before).numpy()
    assert change[ALPHABET.index("I")] < change[ALPHABET.index("G")] < 0
    assert change[ALPHABET.index("C")] > 0
    assert (change[:10] == 0).all()
    assert change[BLANK] == 0


def test_a_crop_without_a_plate_is_to_be_read_as_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.synth.weights.NO_PLATE", 1.0)
    write_part(tmp_path / "part1", count=4, seed=1, faces=())
    rng = np.random.default_rng(1)
    batch = batches.make_batch(rng, Material(tmp_path), np.arange(4), batches.Jitter())
    assert batch.lengths.tolist() == [0, 0, 0, 0]
    assert (batch.columns == BLANK).all()
    assert batch.crops.float().std() > 1
    log_probs = Reader()(batch.crops)
    assert torch.isfinite(train.reading_loss(log_probs, batch, 0.2))


def test_the_curves_show_every_data_set(tmp_path: Path) -> None:
    lines = [{"minutes": m, "steps": 100 * m, "loss": 2 / m, "set_a": 60.0 + m} for m in (1, 2, 3)]
    (tmp_path / "log.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    curves.draw_curves(tmp_path / "log.jsonl", tmp_path / "curves.svg")
    svg = (tmp_path / "curves.svg").read_text()
    points = re.findall(r'points="([^"]*)"', svg)
    assert [len(line.split()) for line in points] == [3, 3]
    assert "set_a: 63.0" in svg


def test_folding_does_not_change_what_is_read() -> None:
    network = Reader().eval()
    crops = torch.randint(0, 256, (2, 1, 48, 128), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.allclose(network(crops), export.fold_normalisation(network)(crops), atol=1e-4)


def test_the_network_stays_within_its_budget() -> None:
    assert export.count_macs(Reader().eval()) <= 60e6


def test_only_the_readers_own_table_is_replaced(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.toml"
    manifest.write_text(
        '[reader]\nversion = "old"\n[reader.accuracy]\na = 1\n\n[detector]\nstride = 4\n'
    )
    export.replace_table(manifest, '[reader]\nversion = "new"\n')
    assert tomllib.loads(manifest.read_text()) == {
        "reader": {"version": "new"},
        "detector": {"stride": 4},
    }
