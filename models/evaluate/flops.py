"""The work of a network, counted from its ONNX file.

ONNX Runtime is asked to run the file once as it stands, without rewriting the graph, and to note
the shapes that each operation takes and gives. So no second parser of the format is needed, and
what is counted is what is carried out.
"""

import json
import tempfile
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from agent.base.errors import InputError
from agent.vision.session import make_options

FREE = frozenset(
    {"Cast", "Concat", "Constant", "ConstantOfShape", "Expand", "Flatten", "Gather", "Identity"}
    | {"Pad", "Reshape", "Resize", "Shape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
)
"""Operations that move numbers and compute none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one run of a network takes."""

    shape: tuple[int, ...]
    """Of the input."""
    gmac: float
    """Thousand million multiplications with an addition: convolutions and matrix products."""
    other_gflop: float
    """Everything else, one operation for each number that comes out."""
    file_bytes: int

    @property
    def gflop(self) -> float:
        """A multiplication and an addition are two operations."""
        return 2 * self.gmac + self.other_gflop


def count_work(path: Path, shape: tuple[int, ...]) -> Work:
    """Return the work of one run on an input uint8 of `shape`.

    Raises:
        InputError: ONNX Runtime cannot run the file on that shape.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = make_options(threads=1)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            session.run(None, {session.get_inputs()[0].name: np.zeros(shape, np.uint8)})
        except Exception as error:  # the runtime's own classes share no base but Exception
            message = f"{path}: ONNX Runtime cannot run it on {shape}; expected a network of ours"
            raise InputError(message) from error
        events = json.loads(Path(session.end_profiling()).read_text())
    nodes = [event["args"] for event in events if event["name"].endswith("_kernel_time")]
    return Work(
        shape=shape,
        gmac=sum(count_macs(node) for node in nodes) / 1e9,
        other_gflop=sum(count_rest(node) for node in nodes) / 1e9,
        file_bytes=path.stat().st_size,
    )


def count_macs(node: dict[str, Any]) -> int:
    """Return the multiplications of a convolution or a matrix product; 0 of anything else.

    Raises:
        InputError: A kind of product that is not known here: silence would be a lie.
    """
    kind = node["op_name"]
    if kind == "Conv":  # weights (outward, inward of the group, height, width)
        return prod(list_shapes(node, "output")[0]) * prod(list_shapes(node, "input")[1][1:])
    if kind in {"Gemm", "MatMul"}:
        return prod(list_shapes(node, "output")[0]) * list_shapes(node, "input")[0][-1]
    if kind.startswith(("Conv", "Gemm", "MatMul", "LSTM", "GRU", "Q")):
        message = f"found the operation {kind}; expected float convolutions and matrix products"
        raise InputError(message)
    return 0


def count_rest(node: dict[str, Any]) -> int:
    """Return the operations that are no products: one for each number that comes out."""
    if node["op_name"] in FREE or count_macs(node):
        return 0
    return sum(prod(shape) for shape in list_shapes(node, "output"))


def list_shapes(node: dict[str, Any], side: str) -> list[list[int]]:
    """Return the shapes of a node's inputs or outputs."""
    return [shape for entry in node[f"{side}_type_shape"] for shape in entry.values()]
