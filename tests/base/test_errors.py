"""The error tree: drawn as it is, one exit code a class."""

import inspect
import re

from agent.base import errors


def classes():
    return [
        value
        for _, value in inspect.getmembers(errors, inspect.isclass)
        if issubclass(value, errors.HomeplateError)
    ]


def test_the_drawn_tree_names_every_class_with_its_exit_code():
    drawn = {
        name: int(code) for name, code in re.findall(r"(\w+Error) +(\d+)", errors.__doc__ or "")
    }
    assert drawn == {kind.__name__: kind.exit_code for kind in classes()}


def test_no_two_classes_share_an_exit_code():
    codes = [kind.exit_code for kind in classes()]
    assert len(codes) == len(set(codes))
