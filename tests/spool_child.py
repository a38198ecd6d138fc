"""Puts frames into a spool for ever and prints each acknowledged number; the test kills it.

Arguments: the spool's folder and the number of the start.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from agent.base.lanes import Lane
from agent.base.settings import SpoolSettings
from agent.spool import SpoolWriter
from agent.trust.frames import SealedFrame, encode_frame
from agent.trust.header import NO_FRAME, FrameHeader

boot = int(sys.argv[2]).to_bytes(16, "little")
limits = SpoolSettings(segment_limit_bytes=65_536)
writer = SpoolWriter(Path(sys.argv[1]), limits, dict.fromkeys(Lane, 2**30), boot)
writer.recover()
number = 0
while True:
    header = FrameHeader(
        suite="none",
        key_id=bytes(8),
        unit="test-unit-1",
        boot=boot,
        lane=Lane.READS,
        first_sequence=number,
        last_sequence=number,
        first_ms=0,
        last_ms=0,
        policy_sha256=bytes(32),
        model_sha256=bytes(32),
        previous_sha256=NO_FRAME,
    )
    content = encode_frame(SealedFrame(header=header, sealed=bytes([number % 251]) * 3000))
    writer.put(Lane.READS, content, datetime.now(UTC))
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()
    number += 1
