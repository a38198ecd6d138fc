"""No record tells a plate by its repr, no error by its message, no log call by its arguments."""

import ast
import dataclasses
import importlib
import inspect
import io
import json
import logging
import pkgutil
import traceback
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import agent
from agent.base.errors import HomeplateError
from agent.base.gps import parse_report
from agent.base.hits import HitEnd, Match
from agent.base.lanes import Lane
from agent.base.log import JsonFormatter
from agent.base.records import Frame, PlateText
from agent.cli.bench_index import Label
from agent.cli.hotlist_table import COLUMNS, Table, read_table
from agent.gate import OpenAlert
from agent.pipeline.gating import Verdict
from agent.pipeline.watch import Sight
from agent.seal import Crop, Sealer
from agent.trust.alerts import StoredAlert, StoredMatch, decode_hits_text
from agent.trust.contents import StoredCrop, StoredRead, decode_reads_text
from agent.trust.hotlist import open_hotlist, unpack_columns
from agent.trust.keys import encode_private_key, generate_opener, generate_signer
from agent.vision.voting import Vote
from tests.custody_net.counts import count
from tests.lists import CITY_SIGNER, entry, make_list, sign_list
from tests.sealing import BOOT, NOON, plate_hit, plate_read

pytestmark = pytest.mark.custody
ROOT = Path(__file__).parents[2]
CANARY = "7CANARY4"
SECRET = CANARY.encode()
PERSONAL = {"text", "characters", "jpeg", "crop_jpeg", "y", "lores", "entries", "plaintext"}
PERSONAL |= {"plate", "plates", "matches", "cases", "case"}
"""Names of fields that hold a plate or a picture."""
LOGGED = {
    "detail", "failures", "lane", "frames", "count", "error", "place", "status", "time_ms",
    "unit", "kind", "reason", "names", "version",
}  # fmt: skip
"""What log calls may carry: numbers, lanes, names of ours, texts of our own errors."""


LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}


REPORT = b'{"class":"TPV","mode":3,"time":"2026-06-01T12:00:00Z","lat":77.123,"lon":-101.5}'
"""Where a vehicle unit is: personal data of its crew."""


def records():
    """Return one of each record that holds a plate or a picture, with the canary in it."""
    read = plate_read(text=PlateText(CANARY), crop_jpeg=SECRET)
    pixels = np.frombuffer(SECRET, np.uint8).reshape(1, -1)
    stored = {
        "sequence": 0, "text": CANARY, "confidences": bytes(8), "abstained": False,
        "frames_seen": 1, "frames_agreed": 1, "first_ms": 0, "last_ms": 0, "first_frame": 0,
        "last_frame": 0, "direction": 0, "corners": (0,) * 8,
    }  # fmt: skip
    alert = plate_hit(read=read)
    item = entry(CANARY, case=CANARY)
    signed = open_hotlist(sign_list(item), (CITY_SIGNER.public_key,))
    return [
        read.text,
        read,
        StoredRead(**stored, place=parse_report(REPORT, heard_ms=0).place),
        parse_report(REPORT, heard_ms=0),
        StoredCrop(sequence=0, lane=Lane.READS, read_sequence=0, time_ms=0, jpeg=SECRET),
        Crop(read_sequence=0, seen_at=NOON, jpeg=SECRET),
        alert,
        HitEnd(alert_sequence=0, confirmed=True, read=read),
        Match(state="", purpose=CANARY, agency=CANARY, case=CANARY, expires_ms=0),
        StoredAlert(
            read=StoredRead(**stored),
            list_version=1,
            list_issued_ms=0,
            matched_ms=0,
            complete=True,
            matches=(stored_match(),),
            jpeg=SECRET,
        ),
        stored_match(),
        OpenAlert(sequence=1, text=CANARY),
        Verdict(hits=(alert,), read=read),
        Sight(done=(read,), leads=(read,)),
        Table(entries=(item,), expired=0, repeated=0),
        item,
        signed,
        unpack_columns(signed),
        make_list(item),
        Vote(characters=CANARY, confidences=(0.9,) * 8, agreed=3),
        Label(corners=np.zeros((4, 2), np.float32), text=CANARY),
        Frame(index=0, captured_at=NOON, sensor_ns=0, y=pixels, lores=pixels),
    ]


def stored_match():
    return StoredMatch(state="", purpose=CANARY, agency=CANARY, case=CANARY, expires_ms=0)


def hides(text):
    return CANARY not in text and SECRET.hex() not in text and str(list(SECRET))[1:-1] not in text


@pytest.mark.parametrize("record", records(), ids=lambda record: type(record).__name__)
def test_no_record_shows_its_plate(record):
    shown = (repr(record), str(record), f"{record}", repr([record]), repr({"x": (record,)}))
    assert all(hides(text) for text in shown)
    line = JsonFormatter().format(
        logging.makeLogRecord({"msg": "event", "record": record, "nested": [record]})
    )
    assert hides(line)
    count("records whose repr and log line hide the plate")


def classes():
    for module in pkgutil.walk_packages(agent.__path__, "agent."):
        if module.name == "agent.__main__":
            continue
        for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if found.__module__ == module.name:
                yield found


def test_every_record_with_such_a_field_is_among_them():
    tested = {type(record) for record in records()}
    holding = {
        found
        for found in classes()
        if dataclasses.is_dataclass(found)
        and PERSONAL & {field.name for field in dataclasses.fields(found) if field.type is not int}
    }
    assert {found.__name__ for found in holding - tested} == {"LogContent"}  # entries of a log
    shown = {
        found.__name__
        for found in classes()
        if issubclass(found, msgspec.Struct) and PERSONAL & set(found.__struct_fields__)
    }
    tested_names = {"Crop", "StoredCrop", "StoredRead"}  # hide it themselves, among the records
    assert tested_names <= {found.__name__ for found in tested}
    assert shown == {"Vehicle", *tested_names}  # of a recording with known truth, for `bench`


def told(call):
    """Return everything that the failure of a call could put into a log."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    try:
        call()
    except HomeplateError as error:
        trace = "".join(traceback.format_exception(error))
        record = logging.makeLogRecord(
            {"msg": "failed", "detail": str(error), "exc_info": (type(error), error, None)}
        )
        handler.emit(record)
        return trace + stream.getvalue()
    return ""


def read_lines(lines):
    content = f"{','.join(COLUMNS)}\n{lines}".encode(errors="replace")
    return read_table(content, purposes=("stolen",), now=NOON, place="list")


def sealer():
    return Sealer(
        city_key=generate_opener().public_key,
        policy_sha256=bytes(32),
        unit="unit-a",
        boot=BOOT,
        model_sha256=bytes(32),
    )


noise = st.text(max_size=20)


@given(noise, noise)
def test_no_error_about_a_read_tells_its_plate(before, after):
    text = before + CANARY + after
    read = plate_read(text=PlateText(text), confidences=(0.5,) * 3, crop_jpeg=SECRET)
    stored = {"sequence": -1, "text": text, "confidences": b"", "abstained": 2}
    rest = ("frames_seen", "frames_agreed", "first_ms", "last_ms", "first_frame", "last_frame")
    stored |= dict.fromkeys(rest, -1) | {"direction": 9, "corners": (0,)}
    for call in (
        lambda: sealer().seal_reads((read,)),
        lambda: StoredRead(**stored),
        lambda: decode_reads_text(text.encode(errors="replace")),
        lambda: read_lines(text),
        lambda: read_lines(f'{text}!,CA,stolen,Police,1,2030-01-01\n"{text}'),
        lambda: read_lines(f"{text},{text},stolen,Police,1,2030-01-01"),
        lambda: read_lines(f"{text},CA,{text},{text},{text},{text}"),
        lambda: read_table(text.encode(errors="replace"), purposes=(), now=NOON, place="list"),
        lambda: decode_hits_text(text.encode(errors="replace")),
        lambda: sealer().seal_hits((plate_hit(read=read),)),
    ):
        assert hides(told(call))
    count("errors about plates that do not tell them", 10)


def test_some_of_these_errors_do_happen():
    assert "text is not what the format says" in told(
        lambda: sealer().seal_reads((plate_read(text=PlateText("a b")),))
    )


@pytest.mark.parametrize("make", [generate_signer, generate_opener])
def test_a_key_hides_itself(make):
    key = make()
    body = encode_private_key(key).splitlines()[1].decode()
    assert body not in repr(key)
    assert body not in json.dumps({"key": key}, default=repr)


def log_calls():
    for path in sorted((ROOT / "agent").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "log"
                and node.func.attr in LEVELS
            ):
                yield path, node


def constants(node):
    if isinstance(node, ast.IfExp):
        return constants(node.body) and constants(node.orelse)
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_every_log_call_has_a_fixed_event_and_allowed_fields():
    calls = list(log_calls())
    assert len(calls) > 5
    for path, call in calls:
        place = f"{path.name}:{call.lineno}"
        assert len(call.args) == 1, place
        assert constants(call.args[0]), place
        for keyword in call.keywords:
            assert keyword.arg == "extra", place
            if isinstance(keyword.value, ast.Dict):
                assert {key.value for key in keyword.value.keys} <= LOGGED, place
            else:
                assert ast.unparse(keyword.value).endswith("counters.as_dict()"), place
        count("log calls looked at")
