"""Train the plate detector on composed scenes and write it as ONNX.

    python -m models.synth.scenes SCENES --count 24000 --seed 1 --pictures DATA
    python -m models.detector.train SCENES --run RUN --minutes 60 --onnx models/detector.onnx

RUN keeps the newest checkpoint; the same command goes on from it. `--minutes 0` only exports.
"""

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from models.detector.network import (
    BASE_WIDTH_PX,
    COARSE,
    FINE,
    HEAT,
    STRIDE,
    WIDTH,
    Decoded,
    Detector,
)
from models.detector.samples import Batch, Scenes, load_scenes, make_batches

PEAK_RATE = 3e-3
WARM_STEPS = 300
DECAY = 0.05
AVERAGE = 0.998
SAVE_EVERY_S = 120


def losses(maps: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the losses of the heat map, the widths, and the coarse and the fine corners."""
    logits = maps[:, HEAT][:, 0]
    chance = logits.sigmoid()
    centre = (batch.heat == 1).float()
    found = softplus(-logits) * (1 - chance) ** 2 * centre
    missed = softplus(logits) * chance**2 * (1 - batch.heat) ** 4 * (1 - centre)
    heat = (found + missed * batch.counted).sum() / centre.sum().clamp(min=1)
    picture, row, column = batch.centre_cells.unbind(1)
    at = maps[picture, :, row, column]
    true = batch.centre_corners
    widths = (true[:, 1] - true[:, 0] + true[:, 2] - true[:, 3]).norm(dim=1) / 2
    said = at[:, WIDTH][:, 0]
    weight = batch.centre_weights / batch.centre_weights.sum().clamp(min=1)
    width = ((said - (widths / BASE_WIDTH_PX).log()).abs() * weight).sum()
    middles = (torch.stack([column, row], 1) + 0.5)[:, None] * STRIDE
    guess = middles + at[:, COARSE].reshape(-1, 4, 2) * (said.exp() * BASE_WIDTH_PX)[:, None, None]
    coarse = (((guess - true) / widths[:, None, None]).abs().mean((1, 2)) * weight).sum()
    picture, corner, row, column = batch.corner_cells.unbind(1)
    offsets = maps[:, FINE].unflatten(1, (4, 2))[picture, corner, :, row, column]
    wanted = batch.corner_places / STRIDE - (torch.stack([column, row], 1) + 0.5)
    weight = batch.corner_weights / batch.corner_weights.sum().clamp(min=1)
    fine = ((offsets - wanted).abs().mean(1) * weight).sum()
    return heat, width, coarse, fine


def train(scenes: tuple[Scenes, ...], run: Path, *, minutes: float, threads: int) -> Detector:
    """Train for `minutes` in all, counting earlier calls, and return the averaged network."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    model = Detector().to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE), use_buffers=True
    )
    optimiser = torch.optim.AdamW(model.parameters(), PEAK_RATE, weight_decay=DECAY)
    parts = {"model": model, "average": average, "optimiser": optimiser}
    step, spent_s = _resume(run, parts)
    batches = make_batches(scenes, np.random.default_rng((step, 5)))
    began = saved = time.monotonic() - spent_s
    saved += spent_s
    while (elapsed_s := time.monotonic() - began) < minutes * 60:
        share = elapsed_s / (minutes * 60)
        rate = PEAK_RATE * min(1, (step + 1) / WARM_STEPS) * (0.5 + 0.5 * np.cos(np.pi * share))
        optimiser.param_groups[0]["lr"] = float(rate)
        batch = next(batches)
        with torch.autocast("cpu", torch.bfloat16):
            maps = model(batch.images.float().to(memory_format=torch.channels_last))
        heat, width, coarse, fine = losses(maps.float(), batch)
        optimiser.zero_grad(set_to_none=True)
        (heat + 0.5 * width + 5 * coarse + 2 * fine).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        if step >= WARM_STEPS:
            average.update_parameters(model)
        step += 1
        if step % 50 == 0:
            named = zip(
                ("heat", "width", "coarse", "fine"), (heat, width, coarse, fine), strict=True
            )
            values = "  ".join(f"{name} {float(value):.4f}" for name, value in named)
            print(f"{elapsed_s / 60:6.1f} min  step {step}  {values}", file=sys.stderr, flush=True)
        if time.monotonic() - saved > SAVE_EVERY_S:
            _save(run, parts, step, elapsed_s)
            saved = time.monotonic()
    if minutes * 60 > spent_s:
        _save(run, parts, step, minutes * 60)
    return average.module


def _save(run: Path, parts: dict, step: int, spent_s: float) -> None:
    """Write a checkpoint; an interrupted write leaves the last one as it was."""
    run.mkdir(parents=True, exist_ok=True)
    states = {name: part.state_dict() for name, part in parts.items()}
    torch.save({**states, "step": step, "spent_s": spent_s}, run / "new.pt")
    (run / "new.pt").replace(run / "checkpoint.pt")


def _resume(run: Path, parts: dict) -> tuple[int, float]:
    """Load the newest checkpoint into `parts`, if there is one; return steps and seconds spent."""
    path = run / "checkpoint.pt"
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["step"], state["spent_s"]


def export(model: Detector, path: Path) -> None:
    """Write the network with its decoding as ONNX for pictures of any multiple of 32."""
    decoded = Decoded(model.to(memory_format=torch.contiguous_format).float()).eval()
    sample = torch.zeros(1, 1, 384, 640, dtype=torch.uint8)
    torch.onnx.export(
        decoded,
        (sample,),
        str(path),
        opset_version=18,
        dynamo=False,
        input_names=["image"],
        output_names=["scores", "corners"],
        dynamic_axes={"image": {2: "height", 3: "width"}},
    )


def main() -> None:
    """Train and export from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "scenes", type=Path, nargs="*", help="folders written by models.synth.scenes"
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="training time in all; 0: export"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--onnx", type=Path, help="where to write the network afterwards")
    args = parser.parse_args()
    scenes = tuple(load_scenes(folder) for folder in args.scenes)
    model = train(scenes, args.run, minutes=args.minutes, threads=args.threads)
    if args.onnx:
        export(model, args.onnx)


if __name__ == "__main__":
    main()
