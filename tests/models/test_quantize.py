"""8-bit files: what they take, what they give, and what the manifest says of them."""

import numpy as np
import pytest

from agent.vision.manifest import parse_manifest
from agent.vision.session import OnnxNetwork

onnx = pytest.importorskip("onnx", reason="training needs the extra `train`")
quantize = pytest.importorskip("models.quantize")


def noise(shape, count=4):
    rng = np.random.default_rng(3)
    soft = rng.integers(60, 200, (count, *shape[:2], shape[2] // 8, shape[3] // 8), np.uint8)
    return [np.kron(one, np.ones((1, 1, 8, 8), np.uint8)) for one in soft]


@pytest.fixture(scope="module", params=["detector", "reader"])
def small(request, tmp_path_factory):
    """Return the name of a network and its 8-bit file."""
    out = tmp_path_factory.mktemp("models") / f"{request.param}.int8.onnx"
    shape = (1, 1, 96, 128) if request.param == "detector" else (2, 1, 48, 128)
    quantize.quantise(quantize.MODELS / f"{request.param}.onnx", out, request.param, noise(shape))
    return request.param, out, shape


def open_both(name, out):
    outputs = ("scores", "corners") if name == "detector" else ("log_probs",)
    options = {"inputs": quantize.INPUTS[name], "outputs": outputs, "threads": 1}
    plain = quantize.MODELS / f"{name}.onnx"
    return [OnnxNetwork(path.read_bytes(), place=path.name, **options) for path in (plain, out)]


def test_an_8_bit_file_takes_and_gives_the_same_and_is_smaller(small):
    name, out, shape = small
    plain, eight = open_both(name, out)
    for picture in noise(shape):
        before, after = plain.run(picture)[0], eight.run(picture)[0]
        assert before.shape == after.shape
        assert np.abs(np.exp(before) - np.exp(after)).mean() < 0.05
    assert out.stat().st_size < (quantize.MODELS / f"{name}.onnx").stat().st_size


def test_the_detectors_quantised_input_is_the_cameras_byte(small):
    name, out, _ = small
    (taker,) = (node for node in onnx.load(out).graph.node if quantize.INPUTS[name] in node.input)
    assert taker.op_type == ("DequantizeLinear" if name == "detector" else "Cast")


def test_every_convolution_has_8_bit_weights(small):
    graph = onnx.load(small[1]).graph
    kinds = {node.output[0]: node.op_type for node in graph.node}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert convolutions
    assert {kinds[node.input[1]] for node in convolutions} == {"DequantizeLinear"}


def test_the_manifest_names_the_files_and_an_older_name_is_gone(small):
    name, out, _ = small
    old = (quantize.MODELS / "manifest.toml").read_text()
    once = quantize.name_files(old, {name: out})
    assert quantize.name_files(once, {name: out}) == once
    spec = getattr(parse_manifest(once.encode(), place="manifest.toml"), name)
    assert spec.int8.file == out.name
    bare = parse_manifest(quantize.name_files(once, {}).encode(), place="manifest.toml")
    assert bare == parse_manifest(old.encode(), place="manifest.toml")


@pytest.mark.parametrize(
    ("right", "ratio", "good"),
    [(95, 0.5, True), (94, 0.5, True), (93, 0.5, False), (96, 1.1, False)],
)
def test_only_what_is_quicker_and_loses_half_a_point_at_most_is_kept(right, ratio, good):
    before, after = {"a": (50, 100), "b": (45, 100)}, {"a": (50, 100), "b": (right - 50, 100)}
    lost = quantize.find_loss(before, after)
    assert lost == pytest.approx((95 - right) / 2)
    assert quantize.is_good({"points_lost": lost, "time_ratio": ratio}) is good
