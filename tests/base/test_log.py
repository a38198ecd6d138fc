"""Logging: one JSON object a line, personal data hidden by its repr."""

import json
import logging

from agent.base.log import JsonFormatter
from agent.base.records import PlateText


def format_record(**extra):
    record = logging.LogRecord("agent.x", logging.INFO, "x.py", 1, "event happened", None, None)
    vars(record).update(extra)
    return json.loads(JsonFormatter().format(record))


def test_a_line_has_time_level_logger_event_and_data():
    line = format_record(count=3)
    assert line.pop("at").endswith("+00:00")
    assert line == {"level": "info", "logger": "agent.x", "event": "event happened", "count": 3}


def test_a_plate_in_the_data_hides_itself():
    assert "7ABC123" not in json.dumps(format_record(read=PlateText("7ABC123")))


def test_a_traceback_is_one_field():
    try:
        raise ValueError("reason")  # noqa: TRY301  an example
    except ValueError as error:
        line = format_record(exc_info=(type(error), error, error.__traceback__))
    assert "ValueError: reason" in line["traceback"]
