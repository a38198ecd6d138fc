"""How many frames a second the reference endpoint takes, where it is installed beside the agent."""

import importlib
import importlib.util
import time
from pathlib import Path
from typing import Any, Final

from agent.base.clock import SystemClock
from agent.trust.entries import Sealed, encode_entry
from agent.trust.frames import frame_hash, parse_frame
from agent.trust.keys import Signer, generate_signer
from agent.trust.merkle import leaf_hash
from agent.trust.notes import NO_NOTE, Checkpoint, log_origin, sign_checkpoint
from agent.trust.proofs import BLOCK_LEAVES, BlockTree
from agent.trust.uploads import Upload, encode_upload, idempotency_key

_SEGMENT: Final = "0000000000000-00000000-000000"


def take_frames(folder: Path, frames: tuple[bytes, ...], *, unit: str) -> dict[str, float] | None:
    """Return the endpoint's pace: check, fsync, index, signed receipt; one upload a frame.

    Returns:
        Frames and megabytes a second of wall time; None when the endpoint is not installed.
    """
    if importlib.util.find_spec("homeplate_endpoint") is None:
        return None
    store = importlib.import_module("homeplate_endpoint.store").Store(folder)
    signer = generate_signer()
    requests = [*_make_requests(frames, unit, signer)]
    intake: Any = importlib.import_module("homeplate_endpoint.intake").Intake(
        store=store,
        watch_keys={unit: signer.public_key},
        signer=generate_signer(),
        clock=SystemClock(),
        raise_alarm=lambda *_: None,
    )
    wall_s, cpu_s = time.perf_counter(), time.thread_time()
    for key, body in requests:
        intake.receive(unit, key, body)
    wall_s, cpu_s = time.perf_counter() - wall_s, time.thread_time() - cpu_s
    store.close()
    return {
        "frames": len(requests),
        "frames_per_s": len(requests) / wall_s,
        "megabytes_per_s": sum(map(len, frames)) / wall_s / 1e6,
        "cpu_us_per_frame": cpu_s / len(requests) * 1e6,
    }


def _make_requests(frames: tuple[bytes, ...], unit: str, signer: Signer) -> list[tuple[str, bytes]]:
    """Return one request a frame, each under a log that grew by one entry."""
    leaves = [leaf_hash(encode_entry(_log(frame))) for frame in frames]
    tree, requests = BlockTree(lambda block: leaves[block * BLOCK_LEAVES :][:BLOCK_LEAVES]), []
    for number, (frame, leaf) in enumerate(zip(frames, leaves, strict=True), start=1):
        tree.append(leaf)
        head = Checkpoint(
            origin=log_origin(unit, "watch"),
            size=number,
            root=tree.root(number),
            number=number,
            previous=NO_NOTE,
        )
        upload = Upload(
            frames=(frame,),
            checkpoint=sign_checkpoint(signer, head),
            previous_size=number - 1,
            proof=tree.prove_growth(number - 1),
            segment=_SEGMENT,
            places=((number - 1, 0),),
            membership=tree.prove_members([number - 1]),
        )
        requests.append((idempotency_key(upload.frames), encode_upload(upload)))
    return requests


def _log(frame: bytes) -> Sealed:
    """Return what the watcher logs of a frame."""
    header = parse_frame(frame).header
    return Sealed(
        at_ms=0,
        lane=header.lane,
        boot=header.boot,
        first=header.first_sequence,
        last=header.last_sequence,
        frame=frame_hash(frame),
        length=len(frame),
        segment=_SEGMENT,
    )
