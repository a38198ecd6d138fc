"""How crops reach a network: a few at a time, and without a copy."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from agent.vision.session import LARGEST_BATCH, OnnxNetwork, run_batches

READER = Path(__file__).parents[2] / "models" / "reader.onnx"


class Counting:
    """A network that gives each picture's mean, and keeps the size of each call."""

    def __init__(self):
        self.calls = []

    def run(self, pixels, /):
        self.calls.append(len(pixels))
        return (pixels.mean(axis=(1, 2, 3), dtype=np.float32)[:, None],)


@pytest.mark.parametrize("count", [1, LARGEST_BATCH, LARGEST_BATCH + 1, 48])
def test_no_call_is_larger_than_the_largest_batch_and_the_order_stays(count):
    network, pixels = Counting(), np.zeros((count, 1, 4, 4), np.uint8)
    pixels += np.arange(count, dtype=np.uint8)[:, None, None, None]
    answer = run_batches(network, pixels)
    assert answer[:, 0].tolist() == list(range(count))
    assert max(network.calls) <= LARGEST_BATCH
    assert len(network.calls) == -(-count // LARGEST_BATCH)


def test_the_runtime_works_on_the_memory_that_it_is_given():
    options = {"inputs": "crops", "outputs": ("log_probs",), "threads": 1}
    network = OnnxNetwork(READER.read_bytes(), place="reader.onnx", **options)
    crops = np.zeros((1, 1, 48, 128), np.uint8)
    value = ort.OrtValue.ortvalue_from_numpy(crops)
    assert value.data_ptr() == crops.__array_interface__["data"][0]
    (bound,) = network._session.run(None, {"crops": value})
    np.testing.assert_array_equal(network.run(crops)[0], bound)
