"""Networks: ONNX graphs that were checked against the manifest before they were opened."""

import hashlib
from typing import Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from agent.base.errors import ConfigError, IntegrityError

ERRORS_ONLY = 3
"""ONNX Runtime's severity: warnings about graph clean-up are of no use on a unit."""
REPORTS_SINCE = (1, 29)
"""From this release on ONNX Runtime's packages send telemetry to their maker (ADR 0011)."""


LARGEST_BATCH = 8
"""Crops in one call: more are no faster each, and every batch size has memory of its own (48 crops:
40 MB more)."""


class Network(Protocol):
    """A function from grey pixels to arrays of numbers."""

    def run(self, pixels: NDArray[np.uint8], /) -> tuple[NDArray[np.float32], ...]:
        """Return the outputs for `pixels` (N, 1, h, w)."""
        ...


def run_batches(network: Network, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the first output for `pixels` (N, 1, h, w), N at least 1, few at a time."""
    if len(pixels) <= LARGEST_BATCH:
        return network.run(pixels)[0]
    starts = range(0, len(pixels), LARGEST_BATCH)
    return np.concatenate([network.run(pixels[at : at + LARGEST_BATCH])[0] for at in starts])


class OnnxNetwork:
    """A network that ONNX Runtime carries out on the CPU."""

    def __init__(
        self, content: bytes, *, place: str, inputs: str, outputs: tuple[str, ...], threads: int
    ) -> None:
        """Open the graph.

        Args:
            content: The ONNX file.
            place: Its name, for messages.
            inputs: Name of the one input, uint8 (N, 1, h, w).
            outputs: Names of the outputs wanted, in this order.
            threads: Of one call, the calling thread included.

        Raises:
            ConfigError: The installed ONNX Runtime reports to its maker.
            IntegrityError: Not an ONNX graph, or one with other inputs or outputs.
        """
        check_runtime(ort.__version__)
        try:
            self._session = ort.InferenceSession(
                content, make_options(threads=threads), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime's own classes share no base but Exception
            message = f"{place}: ONNX Runtime cannot open it; expected the graph of the manifest"
            raise IntegrityError(message) from error
        check_graph(self._session, place=place, inputs=inputs, outputs=outputs)
        self._input, self._outputs = inputs, list(outputs)

    def run(self, pixels: NDArray[np.uint8], /) -> tuple[NDArray[np.float32], ...]:
        """Return the outputs for `pixels` (N, 1, h, w)."""
        return tuple(self._session.run(self._outputs, {self._input: pixels}))


def check_runtime(version: str) -> None:
    """Refuse a release of ONNX Runtime that can send anything anywhere.

    Raises:
        ConfigError: It is 1.29 or later; the message says what to install.
    """
    release = tuple(int(part) for part in version.split(".")[:2])
    if release >= REPORTS_SINCE:
        message = (
            f"ONNX Runtime {version} found; from 1.29 on it reports to its maker over the network; "
            "expected 1.20 to 1.28; install the packages of deploy/locks/unit.txt"
        )
        raise ConfigError(message)


def make_options(*, threads: int) -> ort.SessionOptions:
    """Return the session options for a small computer that has other work to do.

    Waiting threads sleep instead of spinning.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def check_graph(
    session: ort.InferenceSession, *, place: str, inputs: str, outputs: tuple[str, ...]
) -> None:
    """Compare the graph's input and outputs with the contract.

    Raises:
        IntegrityError: They differ; the message names what was found.
    """
    found = [(node.name, node.type, len(node.shape)) for node in session.get_inputs()]
    names = [node.name for node in session.get_outputs()]
    if found != [(inputs, "tensor(uint8)", 4)] or not set(outputs) <= set(names):
        message = (
            f"{place}: found inputs {found} and outputs {names}; expected {inputs!r} as "
            f"tensor(uint8) of 4 axes and {list(outputs)}; install the models of this version"
        )
        raise IntegrityError(message)


def check_digest(content: bytes, *, sha256: str, place: str) -> bytes:
    """Return `content` after its SHA-256 was found equal to `sha256` (hexadecimal).

    Raises:
        IntegrityError: It differs; both are named.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != sha256.lower():
        message = (
            f"{place}: found SHA-256 {found}, the manifest expects {sha256.lower()}; "
            "install the models again"
        )
        raise IntegrityError(message)
    return content
