"""Settings: the example explains every one of them and is true, slips are found with their path."""

import json
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect as look

from agent.base.errors import ConfigError
from agent.base.settings import Settings, parse_settings
from agent.base.shapes import measure_area

EXAMPLE = Path(__file__).parents[2] / "deploy" / "unit.example.toml"
LEAST = b'unit = "unit-7"\n[camera]\nsource = "road.mp4"\n'
UNSEEN = 'unit = "unit-7"\n[camera]\nsource = "road.mp4"\n[mask]\npolygons = '
SELF_TOUCHING = (
    ("runs-round-twice", 2 * [[0, 0], [0.5, 0], [0.5, 1], [0, 1]], "twice"),
    ("closed-by-hand", [[0, 0], [0.5, 0], [0.5, 1], [0, 0]], "twice"),
    ("meets-in-a-corner", [[0, 0], [0.5, 0.5], [1, 1], [1, 0.5], [0.5, 0.5], [0, 1]], "twice"),
    (
        "round-twice-on-other-corners",
        [[0, 0], [0.5, 0], [0.5, 1], [0, 1], [0, 0.5], [0.25, 0], [0.5, 0.5], [0.25, 1]],
        "touches",
    ),
    ("touches-an-edge", [[0, 0], [1, 0], [1, 1], [0.5, 0], [0, 1]], "touches"),
    ("lies-on-an-edge", [[0, 0], [1, 0], [1, 1], [0.6, 0], [0.4, 0], [0, 1]], "touches"),
    ("turns-back", [[0, 0], [1, 0], [0.5, 0], [0.5, 1]], "touches"),
    ("turns-back-at-the-first", [[0.1, 0.1], [0.5, 0.5], [0.5, 0.9], [0.3, 0.3]], "touches"),
)
ROW = re.compile(r"#?(\w+) = (.+)")
HEADER = re.compile(r"#?\[{1,2}(\w+)\]{1,2}")
RANGE = re.compile(r"# Range: (.+)\. (Default: (.+)|Must be given)\.")


def numbers(kind, low, high):
    end = f"below {kind.lt:g}" if kind.lt is not None else f"{high:g}"
    return f"{low:g} to {end}" if isinstance(kind, look.FloatType) else f"{low} to {high}"


def describe(kind):  # noqa: C901, PLR0911  one case a kind
    """Return in words what a value of `kind` may be."""
    match kind:
        case look.IntType() | look.FloatType():
            return numbers(kind, kind.ge, kind.le)
        case look.BoolType():
            return "true or false"
        case look.StrType(pattern=str(pattern)):
            return pattern
        case look.StrType():
            return f"text of {kind.min_length or 0} to {kind.max_length} characters"
        case look.LiteralType():
            words_of_rank = ["debug", "info", "warning", "error"]
            order = [*words_of_rank, "auto", "day", "night", "fp32", "int8"]
            words = [f'"{value}"' for value in sorted(kind.values, key=order.index)]
            return f"{', '.join(words[:-1])} or {words[-1]}"
        case look.TupleType():
            return f"[{', '.join(map(describe, kind.item_types))}]"
        case look.VarTupleType():
            item = kind.item_type
            inner = "" if isinstance(item, look.StructType) else f": {describe(item)}"
            return f"list of {kind.min_length or 0} to {kind.max_length}{inner}"
        case look.UnionType():
            (some,) = (kind for kind in kind.types if not isinstance(kind, look.NoneType))
            return describe(some)
    raise AssertionError(kind)


def default(field):
    """Return the default as TOML, "left out" for None, None where there is none."""
    if field.default is msgspec.NODEFAULT:
        return None
    if field.default is None:
        return "left out"
    return json.dumps(field.default)


def expected():
    """Return {(section, name): (range, default)} of all settings."""
    wanted = {}
    for field in look.type_info(Settings).fields:
        kind = field.type
        inner = kind if isinstance(kind, look.StructType) else getattr(kind, "item_type", None)
        if isinstance(inner, look.StructType):
            for part in inner.fields:
                wanted[field.name, part.name] = (describe(part.type), default(part))
        if not isinstance(kind, look.StructType):
            name = (field.name, "") if isinstance(inner, look.StructType) else ("", field.name)
            wanted[name] = (describe(kind), default(field))
    return wanted


def documented():
    """Return {(section, name): (range, default, value shown, reason)} as the example states it."""
    told, section, comment = {}, "", []
    for line in EXAMPLE.read_text().splitlines():
        if header := HEADER.fullmatch(line):
            section = header[1]
            if comment:
                told[section, ""] = (*split(comment), None, reason(comment))
        elif row := ROW.fullmatch(line):
            told[section, row[1]] = (*split(comment), row[0], reason(comment))
        if line.startswith("# "):
            comment.append(line)
        else:
            comment = []
    return told


def split(comment):
    found = RANGE.fullmatch(comment[-1])
    assert found, comment
    return found[1], found[3]


def reason(comment):
    return " ".join(line.removeprefix("# ") for line in comment[:-1])


def test_the_example_documents_every_setting_and_nothing_else():
    assert documented().keys() == expected().keys()


@pytest.mark.parametrize("name", sorted(expected()), ids=".".join)
def test_range_and_default_in_the_example_are_true_and_a_reason_is_given(name):
    span, preset, shown, why = documented()[name]
    assert (span, preset) == expected()[name]
    assert len(why.split()) >= 4
    if shown and not shown.startswith("#") and preset not in (None, "left out"):
        assert shown == f"{name[1]} = {preset}"
    if preset == "left out":
        assert shown.startswith("#")


def test_the_example_is_read_and_shows_the_defaults():
    shown = parse_settings(EXAMPLE.read_bytes(), place="example")
    least = parse_settings(LEAST, place="least")
    assert shown == msgspec.structs.replace(least, unit=shown.unit, camera=shown.camera)


def test_the_example_is_also_read_with_all_that_it_leaves_out():
    whole = re.sub(r"(?m)^#(?=\w+ = |\[)", "", EXAMPLE.read_text())
    settings = parse_settings(whole.encode(), place="example")
    assert settings.site.position == (38.5816, -121.4944)
    assert [lane.name for lane in settings.lanes] == ["northbound 1"]
    assert settings.detect.threshold == 0.4


def test_the_polygons_that_the_example_suggests_are_read():
    (line,) = (line for line in EXAMPLE.read_text().splitlines() if line.startswith("# polygons ="))
    content = EXAMPLE.read_text().replace("polygons = []", line.removeprefix("# "))
    assert len(parse_settings(content.encode(), place="example").mask.polygons) == 2


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
        pytest.param(f"{UNSEEN}[[[0, 0], [1, 0]]]".encode(), "polygons[0]", id="two-corners"),
        pytest.param(
            f"{UNSEEN}[[[0, 0], [2, 0], [1, 1]]]".encode(), "polygons[0][1]", id="outside"
        ),
        pytest.param(f"{UNSEEN}[[[0, 0], [1, 1], [0.5, 0.5]]]".encode(), "nothing", id="no-area"),
        pytest.param(f"{UNSEEN}[[[0,0],[1,1],[1,0],[0,0.9]]]".encode(), "crosses", id="bow-tie"),
        *(
            pytest.param(f"{UNSEEN}[{points}]".encode(), told, id=name)
            for name, points, told in SELF_TOUCHING
        ),
        pytest.param(
            LEAST + b'[[lanes]]\nname = "a"\nleft = [0.5, 0.5]\nright = [0.5, 0.5]\n',
            "$.lanes[0]",
            id="lane-without-width",
        ),
        pytest.param(
            LEAST + 2 * b'[[lanes]]\nname = "a"\nleft = [0, 0]\nright = [1, 0]\n',
            "same name",
            id="lane-twice",
        ),
    ],
)
def test_a_slip_is_refused_with_its_place(content, found):
    with pytest.raises(ConfigError, match=r"unit\.toml") as error:
        parse_settings(content, place="unit.toml")
    assert found in str(error.value)


@given(st.lists(st.tuples(*2 * [st.floats(0, 1)]), min_size=3, max_size=8))
def test_a_polygon_is_the_same_from_whichever_corner_it_is_told(points):
    turned = points[1:] + points[:1]
    assert measure_area(turned) == pytest.approx(measure_area(points), abs=1e-9)
    assert measure_area(points[::-1]) == pytest.approx(-measure_area(points), abs=1e-9)
