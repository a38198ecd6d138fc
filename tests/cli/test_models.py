"""`homeplate models verify`."""

import json
import shutil
from pathlib import Path

import pytest

from agent.cli import main

MODELS = Path(__file__).parents[2] / "models"
FILES = ("manifest.toml", "detector.onnx", "reader.onnx")


@pytest.fixture
def folder(tmp_path):
    for name in FILES:
        shutil.copy(MODELS / name, tmp_path / name)
    return tmp_path


def test_the_models_that_come_with_the_agent_are_those_of_the_manifest(capsys):
    assert main(["models", "verify"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("ok") == 2
    assert "detector.onnx" in shown


def test_the_report_for_machines_names_the_output_shapes(folder, capsys):
    assert main(["models", "verify", "--models", str(folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["detector"]["output_shapes"] == [[32], [32, 4, 2]]
    assert report["reader"]["output_shapes"] == [[2, 32, 37]]
    assert len(report["models_sha256"]) == 64


@pytest.mark.parametrize("name", ["detector.onnx", "reader.onnx"])
def test_a_changed_network_is_refused_with_both_digests(folder, capsys, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    assert main(["models", "verify", "--models", str(folder)]) == 65
    message = capsys.readouterr().err
    assert name in message
    assert "found SHA-256" in message
    assert "the manifest expects" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, capsys, name):
    (folder / name).unlink()
    assert main(["models", "verify", "--models", str(folder)]) == 78
    assert f"{name}: cannot be read (No such file or directory)" in capsys.readouterr().err


def test_a_spoilt_manifest_is_a_fault_of_the_operator(folder, capsys):
    (folder / "manifest.toml").write_text("[detector]\n")
    assert main(["models", "verify", "--models", str(folder)]) == 78
    assert "missing required field" in capsys.readouterr().err
