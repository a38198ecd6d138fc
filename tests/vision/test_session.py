"""Opening networks."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from agent.base.errors import ConfigError, IntegrityError
from agent.vision.session import OnnxNetwork, check_digest, check_runtime

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


@pytest.mark.parametrize("version", ["1.29.0", "1.31.1", "2.0.0"])
def test_a_runtime_that_reports_to_its_maker_is_refused(version):
    with pytest.raises(ConfigError, match=r"reports to its maker.*unit\.txt"):
        check_runtime(version)


@pytest.mark.parametrize("version", ["1.20.0", "1.28.0"])
def test_a_runtime_that_cannot_report_is_taken(version):
    check_runtime(version)


@pytest.mark.parametrize("trace", [b"events.data.microsoft.com", b"OneCollector", b"curl.se"])
def test_the_installed_runtime_has_no_code_that_reports(trace):
    libraries = list((Path(onnxruntime.__file__).parent / "capi").glob("*.so*"))
    assert libraries
    assert [path.name for path in libraries if trace in path.read_bytes()] == []


OPENS_A_NETWORK = """
import sys
from agent.vision.session import OnnxNetwork
content = open(sys.argv[1], "rb").read()
OnnxNetwork(content, place="", inputs="crops", outputs=("log_probs",), threads=1)
"""


def test_opening_a_network_leaves_nothing_in_the_home_folder(tmp_path):
    # Runtimes that report keep an identifier and a queue there; variables of CI keep them quiet.
    command = [sys.executable, "-c", OPENS_A_NETWORK, str(READER)]
    plain = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    subprocess.run(command, check=True, env=plain, timeout=60)
    assert list(tmp_path.rglob("*")) == []
