"""Logging as JSON lines on standard error; the journal keeps them."""

import json
import logging
import sys
from datetime import UTC, datetime
from io import TextIOWrapper
from typing import Final, TextIO

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, event and the data of `extra`.

    Values of unknown types are written by `repr`, never walked into: a record that hides its
    personal data in its repr hides it here too.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=repr, ensure_ascii=False)


TALKATIVE: Final = ("tuf", "securesystemslib")
"""Libraries that tell at `info` of each signature that is not there."""


def set_up_logging(*, level: str) -> None:
    """Send all events of `level` and above to standard error. Called by `cli/` only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for library in TALKATIVE:
        logging.getLogger(library).setLevel(logging.WARNING)


def keep_order(stream: TextIO) -> None:
    """Let lines go out as they are written, also into a pipe: between those of standard error."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(line_buffering=True)
