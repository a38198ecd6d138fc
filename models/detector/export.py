"""Turn a checkpoint into models/detector.onnx and its facts in models/manifest.toml.

`python -m models.detector.export RUN/checkpoint.pt [--out models/detector.onnx]`. The ONNX file is
compared with the network before it is kept. What was measured of the file before goes from the
manifest; measure the new one and write that down.
"""

import argparse
import datetime as dt
import hashlib
import re
import warnings
from pathlib import Path

import numpy as np
import torch

from models.detector.network import Decoded, Detector
from models.evaluate.flops import count_work

OUT = Path(__file__).resolve().parents[1] / "detector.onnx"
SIZE = (384, 640)
"""Of the picture that the work is counted for."""
OPSET = 18
TOLERANCE_PX = 0.05
OWN_TABLES = re.compile(r"^\[detector[\].].*?(?=^\[(?!detector[\].])|\Z)", re.MULTILINE | re.DOTALL)


def publish(model: Detector, out: Path) -> None:
    """Write the ONNX file in one move, and its facts into the manifest beside it.

    Raises:
        ValueError: ONNX Runtime computes something else than the network.
    """
    decoded = Decoded(model.to("cpu", memory_format=torch.contiguous_format).float()).eval()
    part = out.with_suffix(".part.onnx")
    export(decoded, part)
    compare(decoded, part)
    part.replace(out)
    manifest = out.parent / "manifest.toml"
    if manifest.exists():
        parameters = sum(one.numel() for one in model.parameters())
        manifest.write_text(renew_table(manifest.read_text(), out, parameters=parameters))


def export(decoded: Decoded, path: Path) -> None:
    """Write the network with its decoding as ONNX for pictures of any multiple of 32."""
    sample = torch.zeros(1, 1, *SIZE, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the tracer holds for constants is constant here
        torch.onnx.export(
            decoded,
            (sample,),
            str(path),
            opset_version=OPSET,
            dynamo=False,
            input_names=["image"],
            output_names=["scores", "corners"],
            dynamic_axes={"image": {2: "height", 3: "width"}},
        )


def compare(decoded: Decoded, path: Path) -> None:
    """Run the file and the network on one picture of noise, of another size than the sample's.

    Raises:
        ValueError: They differ.
    """
    import onnxruntime  # noqa: PLC0415  (torch's own threads start first)

    picture = np.random.default_rng(1).integers(0, 256, (1, 1, 256, 416), np.uint8)
    with torch.no_grad():
        scores, corners = (one.numpy() for one in decoded(torch.from_numpy(picture)))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    said, placed = session.run(["scores", "corners"], {"image": picture})
    gap = max(np.abs(said - scores).max(), np.abs(placed[:8] - corners[:8]).max() / 100)
    if gap > TOLERANCE_PX / 100:
        message = f"{path}: ONNX Runtime is {gap} off the network"
        raise ValueError(message)


def renew_table(manifest: str, out: Path, *, parameters: int) -> str:
    """Return the manifest with the facts of the file `out`; old measurements are left out."""
    found = OWN_TABLES.search(manifest)
    table = (found[0] if found else "[detector]\n").split("[detector.")[0]
    facts = {
        "sha256": f'"{hashlib.sha256(out.read_bytes()).hexdigest()}"',
        "version": f'"{dt.datetime.now(tz=dt.UTC):%Y.%m.%d}"',
        "gmac": f"{count_work(out, (1, 1, *SIZE)).gmac:.4f}",
        "parameters": str(parameters),
    }
    for key, value in facts.items():
        table = re.sub(rf"^{key} = .*\n", "", table, flags=re.MULTILINE).rstrip("\n")
        table = f"{table}\n{key} = {value}\n"
    rest = OWN_TABLES.sub("", manifest).strip("\n")
    return f"{rest}\n\n{table}" if rest else table


def main() -> int:
    """Export from the command line."""
    from models.detector.train import read_average  # noqa: PLC0415  (train imports this module)

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    model = Detector()
    model.load_state_dict(read_average(args.checkpoint))
    publish(model, args.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
