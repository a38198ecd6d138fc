"""The manifest of the networks."""

import pytest

from agent.base.errors import ConfigError
from agent.vision.manifest import parse_manifest

DIGEST = "ab" * 32
GOOD = f"""
[detector]
file = "detector.onnx"
sha256 = "{DIGEST}"
stride = 32
input_width_px = 640
threshold = 0.4
[detector.accuracy]
ucsd_stills = 99.1
[reader]
file = "reader.onnx"
sha256 = "{DIGEST}"
input_width_px = 128
input_height_px = 48
alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
blank = 36
margin_x = 0.05
margin_y = 0.08
"""


def test_a_manifest_tells_how_the_networks_are_fed():
    manifest = parse_manifest(GOOD.encode(), place="manifest.toml")
    assert manifest.detector.stride == 32
    assert manifest.reader.size_px == (128, 48)


def test_a_manifest_may_tell_how_often_plates_show_which_order_of_letters_and_digits():
    content = f"{GOOD}[reader.patterns]\nDLLLDDD = 0.25\n"
    manifest = parse_manifest(content.encode(), place="manifest.toml")
    assert manifest.reader.patterns == {"DLLLDDD": 0.25}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("stride = 32", "", r"missing required field `stride` - at `\$\.detector`"),
        (DIGEST, "ab", r"at `\$\.detector\.sha256`"),
        ('"reader.onnx"', '"../reader.onnx"', r"at `\$\.reader\.file`"),
        ("threshold = 0.4", "threshold = 4", r"at `\$\.detector\.threshold`"),
        ("blank = 36", "blank = 0", "blank is 0; expected 36"),
        ("0.08\n", "0.08\n[reader.patterns]\nLXD = 0.1\n", r"at `key` in `\$\.reader\.patterns`"),
        ("0.08\n", "0.08\npatterns = {L = 0.6, D = 0.5}\n", r"patterns add up to 1\.1; expected"),
        ("margin_x", "margin_left", "unknown field `margin_left`"),
        ("[reader]", "[readers]", "unknown field `readers`"),
        ("[reader]", "[reader", r"manifest\.toml: "),
    ],
    ids=[
        "gone",
        "digest",
        "path",
        "range",
        "blank",
        "pattern",
        "shares",
        "key",
        "table",
        "no TOML",
    ],
)
def test_a_spoilt_manifest_is_refused_with_its_place(old, new, message):
    with pytest.raises(ConfigError, match=message):
        parse_manifest(GOOD.replace(old, new).encode(), place="manifest.toml")


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(ConfigError, match=r"manifest\.toml"):
        parse_manifest(b"\xff\xfe\x00", place="manifest.toml")
