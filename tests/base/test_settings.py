"""Settings: the example is true, slips are found with their path."""

from pathlib import Path

import msgspec
import pytest

from agent.base.errors import ConfigError
from agent.base.settings import Settings, parse_settings

EXAMPLE = Path(__file__).parents[2] / "deploy" / "agent.example.toml"
LEAST = b'unit = "unit-7"\n[camera]\nsource = "road.mp4"\n'


def test_the_example_is_read_and_shows_the_defaults():
    shown = parse_settings(EXAMPLE.read_bytes(), place="example")
    least = parse_settings(LEAST, place="least")
    named = msgspec.structs.replace(least, unit=shown.unit, camera=shown.camera)
    assert shown == named


def test_the_example_names_every_setting():
    text = EXAMPLE.read_text()
    for field in msgspec.structs.fields(Settings):
        assert field.name in text
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            assert f"[{field.name}]" in text
            for inner in msgspec.structs.fields(field.type):
                assert f"{inner.name} = " in text


@pytest.mark.parametrize(
    ("content", "found"),
    [
        pytest.param(LEAST + b"widht_px = 3\n", "widht_px", id="unknown-key"),
        pytest.param(LEAST + b'realtime = "yes"\n', "$.camera.realtime", id="wrong-type"),
        pytest.param(LEAST + b"lores_width_px = 8\n", "$.camera.lores_width_px", id="out-of-range"),
        pytest.param(b'unit = "Unit 7"\n[camera]\nsource = "x"\n', "$.unit", id="bad-name"),
        pytest.param(b'unit = "unit-7"\n', "camera", id="missing"),
        pytest.param(b"unit = \n", "line 1", id="not-toml"),
        pytest.param(b"\xff\xfe", "utf-8", id="not-text"),
    ],
)
def test_a_slip_is_refused_with_its_place(content, found):
    with pytest.raises(ConfigError, match=r"unit\.toml") as error:
        parse_settings(content, place="unit.toml")
    assert found in str(error.value)
