"""`homeplate models verify`."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from agent.base.errors import ConfigError
from agent.base.settings import DetectSettings, ModelSettings
from agent.cli import main
from agent.cli.models import open_models, try_reader

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


def name_small_reader(folder, content):
    """Have the manifest name an 8-bit reader with that content, or with another digest."""
    (folder / "reader.int8.onnx").write_bytes(content)
    digest = hashlib.sha256((MODELS / "reader.onnx").read_bytes()).hexdigest()
    with (folder / "manifest.toml").open("a") as manifest:
        manifest.write(f'\n[reader.int8]\nfile = "reader.int8.onnx"\nsha256 = "{digest}"\n')


def test_the_setting_chooses_between_the_files_that_the_manifest_names(folder):
    name_small_reader(folder, (MODELS / "reader.onnx").read_bytes())
    (folder / "reader.onnx").unlink()
    settings = ModelSettings(directory=str(folder), precision="int8")
    models = open_models(settings, DetectSettings())  # the detector has one file only
    assert try_reader(models) == [[2, 32, 37]]
    with pytest.raises(ConfigError, match=r"reader\.onnx"):
        open_models(ModelSettings(directory=str(folder)), DetectSettings())


def test_int8_is_refused_where_the_manifest_names_no_such_file(folder):
    settings = ModelSettings(directory=str(folder), precision="int8")
    with pytest.raises(ConfigError, match=r"manifest\.toml: names no int8 file"):
        open_models(settings, DetectSettings())


def test_verify_checks_the_8_bit_files_too(folder, capsys):
    name_small_reader(folder, b"something else")
    assert main(["models", "verify", "--models", str(folder)]) == 65
    assert "reader.int8.onnx" in capsys.readouterr().err
