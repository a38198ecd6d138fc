"""How many frames a second the reference endpoint takes, where it is installed beside the agent."""

import importlib
import importlib.util
import time
from pathlib import Path
from typing import Any

from agent.base.clock import SystemClock
from agent.trust.keys import Signer, generate_signer
from agent.trust.merkle import Tree, leaf_hash
from agent.trust.notes import NO_NOTE, Checkpoint, log_origin, sign_checkpoint
from agent.trust.uploads import Upload, encode_upload, idempotency_key


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
    tree, requests = Tree(), []
    for number, frame in enumerate(frames, start=1):
        before, leaf = tree.copy(), leaf_hash(frame)
        tree.append(leaf)
        head = Checkpoint(
            origin=log_origin(unit, "watch"),
            size=number,
            root=tree.root(),
            number=number,
            previous=NO_NOTE,
        )
        upload = Upload(
            frames=(frame,),
            checkpoint=sign_checkpoint(signer, head),
            previous_size=before.size,
            proof=before.prove_growth([leaf]),
        )
        requests.append((idempotency_key(upload.frames), encode_upload(upload)))
    return requests
