"""What a form allows stands in the message about what does not fit."""

from typing import Literal

import msgspec
import pytest

from agent.base.forms import explain_misfit, name_near


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    """A part."""

    colour: Literal["red", "green"] = "red"
    number: int = 1


class Form(msgspec.Struct, forbid_unknown_fields=True):
    """A form."""

    one: Inner
    many: tuple[Inner, ...] = ()
    maybe: Inner | None = None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"one": {"colour": "blue"}}', "expected one of green, red"),
        ('{"one": {}, "many": [{}, {"colour": "blue"}]}', "expected one of green, red"),
        ('{"one": {}, "maybe": {"colour": "blue"}}', "expected one of green, red"),
        ('{"one": {"color": "red"}}', "did you mean colour?"),
        ('{"one": {"xyz": "red"}}', "there are colour, number"),
        ('{"two": 2}', "there are one, many, maybe"),
        ('{"one": {"number": "red"}}', "Expected `int`, got `str` - at `$.one.number`"),
        ("{", "Input data was truncated"),
    ],
    ids=["field", "list", "optional", "near", "far", "top", "type", "no_json"],
)
def test_a_misfit_is_explained(text, expected):
    with pytest.raises(msgspec.MsgspecError) as caught:
        msgspec.json.decode(text, type=Form)
    told = explain_misfit(caught.value, Form)
    assert told.startswith(str(caught.value))
    assert told.endswith(expected)


def test_names_that_are_like_it_are_told_nearest_first():
    known = ("retention.hits", "retention.reads", "mode")
    assert name_near("retention.read", known).startswith("did you mean retention.reads or ")
    assert name_near("q", known) == "there are retention.hits, retention.reads, mode"
