"""The peer's half of `deploy/bench-peers`: fast-alpr in a Python of its own, one picture at a time.

Needs nothing of Homeplate. Reads from standard input a line of JSON with height and width, then so
many bytes of blue, green, red; answers with a line of JSON. The network is shut: what is not
installed is not downloaded.
"""

import importlib.metadata
import json
import os
import socket
import sys
import time
from typing import Any, NoReturn

ABSENT, NO_WEIGHTS = 3, 4
"""Exit codes."""


def refuse(*_: object, **__: object) -> NoReturn:
    """Refuse to reach outside."""
    message = "bench-peers downloads nothing"
    raise OSError(message)


def open_peer() -> Any:  # noqa: ANN401  the peer's own class
    """Return fast-alpr with its usual models, one thread each.

    Raises:
        ImportError: It is not installed.
        Exception: Its weights are not there.
    """
    import onnxruntime  # noqa: PLC0415  only the peer's Python has them
    from fast_alpr import ALPR  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ALPR(
        detector_model="yolo-v9-t-416-license-plate-end2end",
        detector_providers=["CPUExecutionProvider"],
        detector_sess_options=options,
        ocr_model="cct-xs-v2-global-model",
        ocr_providers=["CPUExecutionProvider"],
        ocr_sess_options=options,
    )


def read_picture(peer: Any, height: int, width: int) -> dict[str, object]:  # noqa: ANN401
    """Return what the peer reads in the next picture, and its CPU time."""
    import numpy as np  # noqa: PLC0415

    content = sys.stdin.buffer.read(height * width * 3)
    picture = np.frombuffer(content, np.uint8).reshape(height, width, 3)
    began = time.process_time_ns()
    found = peer.predict(picture)
    cpu_ms = (time.process_time_ns() - began) / 1e6
    return {"texts": [one.ocr.text for one in found if one.ocr], "cpu_ms": cpu_ms}


def main() -> int:
    """Answer until there is no more."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the peer prints is no answer
    socket.socket.connect = refuse  # type: ignore[method-assign]
    socket.getaddrinfo = refuse
    try:
        peer = open_peer()
    except ImportError as error:
        sys.stderr.write(f"{error}\n")
        return ABSENT
    except Exception as error:  # noqa: BLE001  whatever it makes of missing files
        sys.stdout.flush()  # the reason is to stand last
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return NO_WEIGHTS
    answer: dict[str, object] = {"version": importlib.metadata.version("fast-alpr")}
    while True:
        out.write(json.dumps(answer) + "\n")
        out.flush()
        line = sys.stdin.buffer.readline()
        if not line:
            return 0
        size = json.loads(line)
        answer = read_picture(peer, size["height"], size["width"])


if __name__ == "__main__":
    sys.exit(main())
