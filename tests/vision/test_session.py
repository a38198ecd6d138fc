"""Opening networks."""

from pathlib import Path

import numpy as np
import pytest

from agent.base.errors import IntegrityError
from agent.vision.session import OnnxNetwork, check_digest

READER = Path(__file__).parents[2] / "models" / "reader.onnx"


def open_reader(content: bytes, **changed):
    options = {"inputs": "crops", "outputs": ("log_probs",), "threads": 1} | changed
    return OnnxNetwork(content, place="reader.onnx", **options)


def test_the_reader_takes_any_number_of_crops():
    network = open_reader(READER.read_bytes())
    for count in (1, 5):
        (columns,) = network.run(np.zeros((count, 1, 48, 128), np.uint8))
        assert columns.shape == (count, 32, 37)
        np.testing.assert_allclose(np.exp(columns).sum(axis=2), 1, rtol=1e-3)


def test_two_threads_give_the_same_answer_as_one():
    crops = np.random.default_rng(1).integers(0, 256, (2, 1, 48, 128), np.uint8)
    one, two = (open_reader(READER.read_bytes(), threads=n).run(crops)[0] for n in (1, 2))
    np.testing.assert_allclose(one, two, atol=1e-3)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda content: content[: len(content) // 2], id="cut off"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda _: b"plates" * 100, id="text"),
    ],
)
def test_what_is_no_graph_is_refused(spoil):
    with pytest.raises(IntegrityError, match=r"reader\.onnx: ONNX Runtime cannot open it"):
        open_reader(spoil(READER.read_bytes()))


@pytest.mark.parametrize("changed", [{"inputs": "image"}, {"outputs": ("scores", "corners")}])
def test_a_graph_with_other_inputs_or_outputs_is_refused(changed):
    with pytest.raises(IntegrityError, match=r"found inputs .*crops.* outputs .*log_probs"):
        open_reader(READER.read_bytes(), **changed)


def test_bytes_with_the_right_digest_come_back():
    empty = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855"
    assert check_digest(b"", sha256=empty, place="a.onnx") == b""


def test_bytes_with_another_digest_are_refused_and_both_digests_named():
    with pytest.raises(IntegrityError, match=r"a\.onnx: found SHA-256 ca978112.* expects abbbb"):
        check_digest(b"a", sha256="a" + "b" * 63, place="a.onnx")
