"""Make 8-bit files of both networks, and say what they cost and how they read beside the others.

`python -m models.quantize DATA [--sets A,B] [--publish]`. Static quantisation (QDQ): ranges are
measured beforehand on rendered clips and on pictures that the index marks for training; weights
have a scale for each channel. The detector takes the camera's byte itself as its 8-bit input; the
reader evens out each crop's light first, in full precision. Never dynamic: in a peer that was
slower and 4.5 points worse.

Writes one JSON object to standard output. With `--publish` NAME.int8.onnx is kept and named in the
manifest where it is quicker than the other file and loses no more than half a point over all plates
of the sets. A manifest that a new export has written names no such file: run this again then.
"""

import argparse
import hashlib
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from agent.base.clock import SystemClock
from agent.base.settings import DetectSettings, ModelSettings
from agent.camera.pictures import read_picture
from agent.camera.video import VideoFile
from agent.cli.bench_index import load_index, read_rows
from agent.cli.bench_truth import load_truth
from agent.cli.models import open_models
from agent.vision.geometry import cut_crops
from agent.vision.image import Canvas, shrink_plane
from agent.vision.session import make_options
from models.evaluate.sets import INDEX, LORES_WIDTH_PX, find_sources, measure_set

MODELS = Path(__file__).resolve().parent
CLIPS = MODELS.parent / "tests" / "data"
INPUTS = {"detector": "image", "reader": "crops"}
SAMPLES = {"detector": (1, 1, 384, 640), "reader": (2, 1, 48, 128)}
QUANTISED = ["Conv", "Add", "MaxPool", "Resize"]
BYTE_STEP, BYTE_MID = 1 / 127.5, 128
"""The value of a byte at the detector's input; half a grey level off what it was trained with."""
STRIDE = 32
CLIP_EVERY = 10
"""Frames of a clip from one calibration picture to the next."""
TRAIN_PICTURES = 60
ROUNDS = 40
LOSS_LIMIT_POINTS = 0.5

Picture = NDArray[np.uint8]
Report = dict[str, Any]


class Calibration(CalibrationDataReader):
    """Gives pictures to ONNX Runtime's calibration."""

    def __init__(self, name: str, pictures: list[Picture]) -> None:
        """Give `pictures` to the input `name`."""
        self._feeds = iter([{name: picture} for picture in pictures])

    def get_next(self) -> dict[str, Picture] | None:
        """Return the next one."""
        return next(self._feeds, None)


def gather_pictures(data: Path) -> dict[str, list[Picture]]:
    """Return what each network is calibrated with; nothing that is marked for validation."""
    views = [pad(frame) for clip in sorted(CLIPS.glob("*.mp4")) for frame in thin_frames(clip)]
    paths = [row["path"] for row in read_rows(data / INDEX) if "train" in row.get("use", "")]
    chosen = paths[:: max(len(paths) // TRAIN_PICTURES, 1)]
    views += [pad(read_picture(data / path)) for path in chosen]
    crops = [crop for clip in sorted(CLIPS.glob("*.mp4")) for crop in clip_crops(clip)]
    crops += list(train_crops(data))
    return {"detector": views, "reader": crops}


def pad(plane: Picture) -> Picture:
    """Return the detector's view of a picture (1, 1, h, w)."""
    small = shrink_plane(plane, width_px=LORES_WIDTH_PX)
    return Canvas().pad(small, multiple_px=STRIDE).copy()[None, None]


def thin_frames(clip: Path) -> Iterator[Picture]:
    """Give every tenth picture of a clip."""
    make_lores = partial(shrink_plane, width_px=LORES_WIDTH_PX)
    with VideoFile(str(clip), make_lores=make_lores, clock=SystemClock()) as video:
        yield from (frame.y for frame in islice(video.frames(), 0, None, CLIP_EVERY))


def clip_crops(clip: Path) -> Iterator[Picture]:
    """Give the crops of the plates whose corners the clip's truth tells."""
    truth = clip.with_suffix(".truth.jsonl")
    vehicles = load_truth(truth) if truth.exists() else ()
    wanted: dict[int, list[NDArray[np.float32]]] = {}
    for vehicle in vehicles:
        for index, corners in vehicle.corners.items():
            wanted.setdefault(int(index), []).append(np.array(corners, np.float32))
    make_lores = partial(shrink_plane, width_px=LORES_WIDTH_PX)
    with VideoFile(str(clip), make_lores=make_lores, clock=SystemClock()) as video:
        for frame in video.frames():
            if frame.index in wanted:
                yield cut(frame.y, np.stack(wanted[frame.index]))


def train_crops(data: Path) -> Iterator[Picture]:
    """Give the crops of plates whose text the index tells, in pictures marked for training."""
    names = {row["dataset"] for row in read_rows(data / INDEX) if "train" in row.get("use", "")}
    for picture in load_index(data / INDEX, datasets=frozenset(names)):
        known = [label.corners for label in picture.labels if label.text]
        if known:
            yield cut(read_picture(data / picture.path), np.stack(known).astype(np.float32))


def cut(plane: Picture, quads: NDArray[np.float32]) -> Picture:
    """Return the reader's crops (N, 1, 48, 128)."""
    return cut_crops(plane, quads, size_px=(128, 48), margin=(0.08, 0.13))[:, None]


def quantise(source: Path, out: Path, name: str, pictures: list[Picture]) -> None:
    """Write the 8-bit graph of `source`."""
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready.onnx"
        quant_pre_process(source, ready, skip_symbolic_shape=True)
        quantize_static(
            ready,
            out,
            Calibration(INPUTS[name], pictures),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=QUANTISED,
            nodes_to_quantize=find_inner(onnx.load(ready).graph),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
    if name == "detector":
        graph = onnx.load(out)
        take_bytes(graph)
        onnx.save(graph, out)


def find_inner(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the convolutions and of what lies between them.

    What comes before the first (evening out the light) and after the last (corners, places in a
    table) is arithmetic that 8 bits would ruin.
    """
    after: set[str] = set()
    for node in graph.node:
        if node.op_type == "Conv" or after.intersection(node.input):
            after.update(node.output)
    before: set[str] = set()
    for node in reversed(graph.node):
        if node.op_type == "Conv" or before.intersection(node.output):
            before.update(node.input)
    return [
        node.name
        for node in graph.node
        if node.op_type == "Conv" or (after.intersection(node.input) and before & {*node.output})
    ]


def take_bytes(model: onnx.ModelProto) -> None:
    """Make the camera's byte the quantised input, instead of a number that is quantised again.

    Raises:
        ValueError: The graph does not begin as the detector's export does.
    """
    graph = model.graph
    first = next((node for node in graph.node if node.op_type == "QuantizeLinear"), None)
    behind = [node for node in graph.node if first and node.input[:1] == first.output[:1]]
    if [node.op_type for node in behind] != ["DequantizeLinear"]:
        message = "the graph does not begin with one quantised input; adapt take_bytes"
        raise ValueError(message)
    scale, mid = np.float32(BYTE_STEP), np.uint8(BYTE_MID)
    graph.initializer.append(numpy_helper.from_array(scale, "byte_step"))
    graph.initializer.append(numpy_helper.from_array(mid, "byte_mid"))
    inputs = [INPUTS["detector"], "byte_step", "byte_mid"]
    graph.node.insert(
        0, helper.make_node("DequantizeLinear", inputs, [behind[0].output[0]], "take_bytes")
    )
    graph.node.remove(behind[0])
    drop_unused(graph)


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove the nodes whose outputs nobody takes any more."""
    wanted = {name for node in graph.node for name in node.input}
    wanted |= {output.name for output in graph.output}
    idle = [node for node in graph.node if not wanted.intersection(node.output)]
    for node in idle:
        graph.node.remove(node)
    if idle:
        drop_unused(graph)


def compare_times(plain: Path, small: Path, name: str) -> float:
    """Return how long `small` takes beside `plain`: the median of ratios of CPU time, in turn."""
    picture = np.random.default_rng(1).integers(0, 256, SAMPLES[name], np.uint8)
    runs: list[Callable[[], object]] = []
    for path in (plain, small):
        session = onnxruntime.InferenceSession(
            path, make_options(threads=1), providers=["CPUExecutionProvider"]
        )
        runs.append(partial(session.run, None, {INPUTS[name]: picture}))
    ratios = []
    for _ in range(ROUNDS):
        spent = []
        for run in runs:
            run()  # the other file's weights are in the cache
            began_ns = time.process_time_ns()
            run()
            spent.append(time.process_time_ns() - began_ns)
        ratios.append(spent[1] / spent[0])
    return float(np.median(ratios))


def name_files(manifest: str, files: dict[str, Path]) -> str:
    """Return the manifest naming the 8-bit files and no others."""
    rest = re.sub(r"^\[\w+\.int8\].*?(?=^\[|\Z)", "", manifest, flags=re.MULTILINE | re.DOTALL)
    tables = [
        f'[{name}.int8]\nfile = "{path.name}"\n'
        f'sha256 = "{hashlib.sha256(path.read_bytes()).hexdigest()}"\n'
        for name, path in files.items()
    ]
    return "\n".join([rest.rstrip("\n") + "\n", *tables])


def measure_accuracy(
    data: Path, files: dict[str, Path], sets: tuple[str, ...]
) -> dict[str, tuple[int, int]]:
    """Return by set how many plates are read exactly, of how many, with 8-bit `files` or none."""
    found = {}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        for path in (*MODELS.glob("*.onnx"), *files.values(), MODELS / "manifest.toml"):
            shutil.copy(path, folder)
        manifest = folder / "manifest.toml"
        manifest.write_text(name_files(manifest.read_text(), files))
        settings = ModelSettings(directory=text, precision="int8" if files else "fp32")
        models = open_models(settings, DetectSettings())
        for source in find_sources(data, sets, limit=None):
            result = measure_set(
                data, source, models, track=lambda items, *_: iter(items), keep_texts=False
            )
            known = [one.strict for one in result.outcomes if one.known]
            found |= {source.name: (sum(known), len(known))} if known else {}
    return found


def find_loss(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> float:
    """Return by how many points accuracy over all plates of all sets falls."""
    plates = sum(count for _, count in before.values())
    return 100 * (sum(n for n, _ in before.values()) - sum(n for n, _ in after.values())) / plates


def try_out(
    data: Path, name: str, small: Path, before: dict[str, tuple[int, int]], sets: tuple[str, ...]
) -> Report:
    """Return what the 8-bit file of a network costs and how it reads, beside the other one."""
    plain = MODELS / f"{name}.onnx"
    after = measure_accuracy(data, {name: small}, sets)
    return {
        "time_ratio": round(compare_times(plain, small, name), 3),
        "size_ratio": round(small.stat().st_size / plain.stat().st_size, 3),
        "points_lost": round(find_loss(before, after), 2),
        "right_before": before,
        "right_after": after,
    }


def is_good(found: Report) -> bool:
    """Tell whether an 8-bit file is worth having: quicker, and as accurate within half a point."""
    return found["points_lost"] <= LOSS_LIMIT_POINTS and found["time_ratio"] < 1


def main() -> int:
    """Quantise, measure, and publish what is good enough."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder with index.csv and pictures")
    parser.add_argument("--sets", default="", help="measure on these; default: for validation")
    parser.add_argument("--publish", action="store_true", help="name the files in the manifest")
    args = parser.parse_args()
    sets = tuple(filter(None, args.sets.split(",")))
    with tempfile.TemporaryDirectory() as folder:
        report, good = make_files(args.data, Path(folder), sets)
        sys.stdout.write(json.dumps(report, indent=1) + "\n")
        if args.publish:
            publish(good)
    return 0


def make_files(
    data: Path, folder: Path, sets: tuple[str, ...]
) -> tuple[dict[str, Report], dict[str, Path]]:
    """Write both 8-bit files into `folder`; return what they are worth, and the good ones."""
    pictures, before = gather_pictures(data), measure_accuracy(data, {}, sets)
    report, good = {}, {}
    for name in INPUTS:
        path = folder / f"{name}.int8.onnx"
        quantise(MODELS / f"{name}.onnx", path, name, pictures[name])
        report[name] = try_out(data, name, path, before, sets)
        good |= {name: path} if is_good(report[name]) else {}
    return report, good


def publish(files: dict[str, Path]) -> None:
    """Put the files beside the others and have the manifest name them and no others."""
    manifest = MODELS / "manifest.toml"
    text = name_files(manifest.read_text(), files)
    for path in files.values():
        shutil.copy(path, MODELS)
    manifest.write_text(text)


if __name__ == "__main__":
    raise SystemExit(main())
