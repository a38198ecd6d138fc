"""Turn a checkpoint into models/reader.onnx and its table in models/manifest.toml.

`python -m models.reader.export runs/reader/last.pt [--data FOLDER]`. Batch normalisation is folded
into the convolutions; the graph takes the camera's bytes. The ONNX file is compared with the
network before it is kept. With `--data` (a folder with index.csv) it is measured through
ONNX Runtime and the figures go into the manifest.
"""

import argparse
import copy
import datetime as dt
import hashlib
import math
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.reader.evaluate import (
    ALPHABET,
    BLANK,
    CROP_HEIGHT_PX,
    CROP_WIDTH_PX,
    DATASETS,
    MARGIN_X,
    MARGIN_Y,
    load_dataset,
    open_reader,
    read_onnx,
    score,
)
from models.reader.network import COLUMNS, Reader
from models.synth.layouts import measure_letters, share_patterns

MODELS = Path(__file__).resolve().parents[1]
OPSET = 17
TOLERANCE = 1e-3
DATA = "rendered plates only (models/synth: own stroke glyphs, OFL and Apache fonts); no picture"
OWN_TABLE = re.compile(r"^\[reader[\].].*?(?=^\[(?!reader[\].])|\Z)", re.MULTILINE | re.DOTALL)


def fold_normalisation(module: nn.Module) -> nn.Module:
    """Return a copy for inference whose convolutions carry their batch normalisation."""
    folded = copy.deepcopy(module).eval()
    for part in folded.modules():
        if (
            isinstance(part, nn.Sequential)
            and len(part) > 1
            and isinstance(part[1], nn.BatchNorm2d)
        ):
            part[0], part[1] = fuse_conv_bn_eval(part[0], part[1]), nn.Identity()
    return folded


def even_out(network: Reader) -> None:
    """Take back from the head, in place, that some letters were drawn more often than others.

    They are to be learned better, not to be expected more often: without this a 1 was read as I.
    """
    with torch.no_grad():
        for letter, times in measure_letters().items():
            network.head.bias[ALPHABET.index(letter)] -= math.log(times)


def export_onnx(network: nn.Module, path: Path) -> None:
    """Write the graph with a free batch size.

    Raises:
        ValueError: ONNX Runtime computes something else than the network.
    """
    crops = torch.randint(0, 256, (3, 1, CROP_HEIGHT_PX, CROP_WIDTH_PX), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (crops,), str(path), dynamo=False, opset_version=OPSET,
            input_names=["crops"], output_names=["log_probs"],
            dynamic_axes={"crops": {0: "n"}, "log_probs": {0: "n"}},
        )  # fmt: skip
    with torch.no_grad():
        expected = network(crops).numpy()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(None, {"crops": crops.numpy()})[0]
    if found.shape != expected.shape or np.abs(found - expected).max() > TOLERANCE:
        message = f"{path}: ONNX Runtime is {np.abs(found - expected).max()} off the network"
        raise ValueError(message)


def count_macs(network: nn.Module) -> int:
    """Return the multiplications of all convolutions for one crop."""
    total = 0

    def add(module: nn.Module, _: object, out: torch.Tensor) -> None:
        nonlocal total
        total += out.numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(add) for m in network.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        network(torch.zeros(1, 1, CROP_HEIGHT_PX, CROP_WIDTH_PX, dtype=torch.uint8))
    for hook in hooks:
        hook.remove()
    return total


def describe(
    network: nn.Module, path: Path, *, version: str, data: str, accuracy: dict[str, float]
) -> str:
    """Return the [reader] table of the manifest."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    parameters = sum(p.numel() for p in network.parameters())
    lines = [
        "[reader]",
        f'file = "{path.name}"',
        f'sha256 = "{digest}"',
        f'version = "{version}"',
        f"input_width_px = {CROP_WIDTH_PX}",
        f"input_height_px = {CROP_HEIGHT_PX}",
        f"columns = {COLUMNS}",
        f'alphabet = "{ALPHABET}"',
        f"blank = {BLANK}",
        f"margin_x = {MARGIN_X}",
        f"margin_y = {MARGIN_Y}",
        f"gmac = {count_macs(network) / 1e9:.4f}",
        f"parameters = {parameters}",
        f'data = "{data}"',
        'licence = "Apache-2.0"',
    ]
    lines += ["", "[reader.patterns]"]
    lines += [f"{order} = {share:.5f}" for order, share in share_patterns().items()]
    if accuracy:
        today = dt.datetime.now(tz=dt.UTC).date()
        lines += ["", "[reader.accuracy]", f"measured = {today}", 'unit = "percent, strict"']
        lines += [f"{name} = {value}" for name, value in accuracy.items()]
    return "\n".join(lines) + "\n"


def replace_table(manifest: Path, table: str) -> None:
    """Put the [reader] table into the manifest; other tables stay as they are."""
    old = manifest.read_text() if manifest.exists() else ""
    rest = OWN_TABLE.sub("", old).strip("\n")
    manifest.write_text(f"{rest}\n\n{table}" if rest else table)


def measure(path: Path, data: Path) -> dict[str, float]:
    """Return the accuracies of the file on all data sets found."""
    session = open_reader(path)
    accuracy = {}
    for dataset in DATASETS:
        crops, texts = load_dataset(data, dataset)
        result = score(read_onnx(session, crops), texts)
        accuracy[dataset] = result["strict"]
        accuracy[f"{dataset}_o_as_0"] = result["o_as_0"]
        sys.stderr.write(f"{dataset}: {result}\n")
    return accuracy


def publish(checkpoint: Path, out: Path, *, data: Path | None = None, version: str = "") -> str:
    """Write the ONNX file and its table in the manifest beside it; returns the table.

    Args:
        checkpoint: From `models.reader.train`.
        out: The ONNX file; replaced in one move.
        data: Folder with index.csv to be measured on.
        version: Today's date when empty.
    """
    network = Reader()
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    network.load_state_dict(state["average"])
    even_out(network)
    folded = fold_normalisation(network)
    part = out.with_suffix(".part.onnx")
    export_onnx(folded, part)
    accuracy = measure(part, data) if data else {}
    part.replace(out)
    version = version or f"{dt.datetime.now(tz=dt.UTC):%Y.%m.%d}"
    table = describe(folded, out, version=version, data=DATA, accuracy=accuracy)
    replace_table(out.parent / "manifest.toml", table)
    return table


def main() -> int:
    """Export from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, help="measure on this folder's index.csv")
    parser.add_argument("--version", default="", help="default: today")
    parser.add_argument("--out", type=Path, default=MODELS / "reader.onnx")
    args = parser.parse_args()
    table = publish(args.checkpoint, args.out, data=args.data, version=args.version)
    sys.stdout.write(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
