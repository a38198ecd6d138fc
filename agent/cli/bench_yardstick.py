"""The bench's yardstick: fixed arithmetic beside the road, so that machines can be compared.

It is one convolution of ONNX Runtime, as most of the road is, and not a product of matrices by
NumPy: which instructions that takes depends on the build of OpenBLAS and on an environment
variable, and the yardstick was once twice as long for it.
"""

import time
from collections.abc import Sequence
from math import ceil
from typing import Final

import numpy as np
import onnxruntime as ort

from agent.vision.session import make_options

ROUNDS, CHANNELS, SIDE, REACH = 4, 32, 48, 3
"""Small enough for a core's own caches; a good layer of either network is about as large."""
KERNEL_GFLOP: Final = 2e-9 * ROUNDS * SIDE**2 * CHANNELS**2 * REACH**2
IR_VERSION, OPSET, FLOAT, INTS = 8, 13, 1, 7
"""Numbers of the ONNX format, onnx.proto."""


class Kernel:
    """Fixed work that is done now and then beside the road: the yardstick of its CPU time.

    Another machine, another load of its memory and cores, or another clock rate changes the time
    of both; their ratio stays.
    """

    def __init__(self) -> None:
        """Open the graph and make the numbers it works on."""
        rng = np.random.default_rng(1)
        weights = rng.standard_normal((CHANNELS, CHANNELS, REACH, REACH), np.float32)
        self._session = ort.InferenceSession(
            encode_convolution(weights, side=SIDE),
            make_options(threads=1),
            providers=["CPUExecutionProvider"],
        )
        shape = (1, CHANNELS, SIDE, SIDE)
        self._input = {"x": rng.standard_normal(shape, np.float32)}
        self.spent_ns: list[int] = []

    def run(self) -> None:
        """Do the work once and note the CPU time of this thread."""
        began = time.thread_time_ns()
        for _ in range(ROUNDS):
            self._session.run(None, self._input)
        self.spent_ns.append(time.thread_time_ns() - began)

    @property
    def cpu_ms(self) -> float:
        """The mean, as that of the stages is, without the tenth that took longest; 0 = not run."""
        usual = np.sort(np.array(self.spent_ns, float))[: ceil(0.9 * len(self.spent_ns))]
        return float(usual.mean()) / 1e6 if len(usual) else 0.0

    @property
    def total_ns(self) -> int:
        """All of it together."""
        return sum(self.spent_ns)

    @property
    def gflop_per_s(self) -> float:
        """How fast this machine convolves, one thread."""
        return KERNEL_GFLOP / self.cpu_ms * 1e3 if self.spent_ns else 0.0


def encode_convolution(
    weights: np.ndarray[tuple[int, ...], np.dtype[np.float32]], *, side: int
) -> bytes:
    """Return an ONNX file: one convolution with `weights` (C, C, k, k) over (1, C, side, side).

    By hand, as the agent does not depend on the package that writes such files.
    """
    channels, reach = weights.shape[0], weights.shape[2]
    pads = b"".join(_number(8, reach // 2) for _ in range(4))
    attribute = _bytes(1, b"pads") + pads + _number(20, INTS)
    node = _bytes(1, b"x") + _bytes(1, b"w") + _bytes(2, b"y") + _bytes(4, b"Conv")
    tensor = b"".join(_number(1, size) for size in weights.shape) + _number(2, FLOAT)
    tensor += _bytes(8, b"w") + _bytes(9, weights.astype("<f4").tobytes())
    shape = (1, channels, side, side)
    graph = _bytes(1, node + _bytes(5, attribute)) + _bytes(2, b"yardstick") + _bytes(5, tensor)
    graph += _bytes(11, _value(b"x", shape)) + _bytes(12, _value(b"y", shape))
    return _number(1, IR_VERSION) + _bytes(7, graph) + _bytes(8, _number(2, OPSET))


def _value(name: bytes, shape: Sequence[int]) -> bytes:
    """Return the name and type of an input or output."""
    sizes = b"".join(_bytes(1, _number(1, size)) for size in shape)
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, FLOAT) + _bytes(2, sizes)))


def _bytes(field: int, content: bytes) -> bytes:
    """Return a field of protocol buffers that holds bytes."""
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _number(field: int, value: int) -> bytes:
    """Return a field of protocol buffers that holds a number of 0 or more."""
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    """Return a number of 0 or more, seven bits a byte, the lowest first."""
    parts = []
    while value > 0x7F:  # noqa: PLR2004  seven bits
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
