"""Train the plate detector from nothing to the published file: scenes, network, loop, export.

    python -m models.detector.train RUN --pictures DATA --onnx models/detector.onnx

It renders the scenes it lacks into RUN (`models.synth.scenes`), trains, and exports. Stopped, it
goes on where it was when the same command is given again. A GPU is used when there is one. The same
seed on the same machine gives the same weights, also across stops.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from models.detector.export import publish
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
from models.reader.curves import draw_curves
from models.synth.scenes import write_scenes

WARM_STEPS = 300
DECAY = 0.05
AVERAGE = 0.998
REPORT_STEPS = 100
CHECKS = 20
"""How often the held-back scenes are looked at in a run."""
CHECK_SCENES = 200
CLOSE = 0.06
"""A plate counts as well placed when its corners are off by less, in shares of its width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a run is decided by."""

    steps: int
    rate: float = 3e-3
    seed: int = 1
    threads: int = 1
    device: str = "cpu"
    save_s: float = 120.0
    start: Path | None = None
    """Checkpoint of another run whose averaged weights this one begins with."""


@dataclass(slots=True)
class Run:
    """What a checkpoint keeps."""

    model: Detector
    average: torch.optim.swa_utils.AveragedModel
    optimiser: torch.optim.Optimizer
    step: int = 0
    spent_s: float = 0.0
    recent: list[float] = field(default_factory=list)


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


def begin(settings: Settings) -> Run:
    """Return a run at its first step."""
    torch.manual_seed(settings.seed)
    model = Detector()
    if settings.start is not None:
        model.load_state_dict(read_average(settings.start))
    model = model.to(settings.device, memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE), use_buffers=True
    )
    optimiser = torch.optim.AdamW(model.parameters(), settings.rate, weight_decay=DECAY)
    return Run(model=model, average=average, optimiser=optimiser)


def read_average(checkpoint: Path) -> dict[str, Tensor]:
    """Return the averaged weights of a checkpoint by their names in the network."""
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")["average"]
    mark = "module."
    return {name.removeprefix(mark): part for name, part in state.items() if name.startswith(mark)}


def train(
    scenes: tuple[Scenes, ...], folder: Path, settings: Settings, *, check: Scenes | None = None
) -> Detector:
    """Train up to `settings.steps`, earlier calls included; return the averaged network."""
    torch.set_num_threads(settings.threads)
    cv2.setNumThreads(1)
    folder.mkdir(parents=True, exist_ok=True)
    run = begin(settings)
    resume(run, folder / "checkpoint.pt")
    batches = make_batches(scenes, seed=settings.seed, first=run.step)
    began = time.monotonic() - run.spent_s
    saved = time.monotonic()
    while run.step < settings.steps:
        run.recent.append(step_once(run, next(batches), settings))
        run.spent_s = time.monotonic() - began
        if run.step % REPORT_STEPS == 0:
            report(run, folder, settings, check)
        if time.monotonic() - saved > settings.save_s or run.step == settings.steps:
            save(run, folder / "checkpoint.pt")
            saved = time.monotonic()
    return run.average.module


def step_once(run: Run, batch: Batch, settings: Settings) -> float:
    """Take one step; return the loss."""
    share = run.step / settings.steps
    rate = settings.rate * min(1, (run.step + 1) / WARM_STEPS) * (0.5 + 0.5 * np.cos(np.pi * share))
    run.optimiser.param_groups[0]["lr"] = float(rate)
    batch = batch.to(settings.device)
    run.model.train()
    with torch.autocast(settings.device, torch.bfloat16):
        maps = run.model(batch.images.float().to(memory_format=torch.channels_last))
    heat, width, coarse, fine = losses(maps.float(), batch)
    loss = heat + 0.5 * width + 5 * coarse + 2 * fine
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), 5.0)
    run.optimiser.step()
    if run.step >= WARM_STEPS:
        run.average.update_parameters(run.model)
    run.step += 1
    return float(loss.detach())


def report(run: Run, folder: Path, settings: Settings, check: Scenes | None) -> None:
    """Add a line to the log, draw the curves, say how far the run is."""
    row: dict[str, float] = {"steps": run.step, "minutes": round(run.spent_s / 60, 1)}
    row["loss"] = round(float(np.mean(run.recent)), 4)
    run.recent.clear()
    every = max(settings.steps // CHECKS // REPORT_STEPS, 1) * REPORT_STEPS
    if check is not None and (run.step % every == 0 or run.step == settings.steps):
        row |= measure(run.average.module, check)
    with (folder / "log.jsonl").open("a") as log:
        log.write(json.dumps(row) + "\n")
    draw_curves(folder / "log.jsonl", folder / "curves.svg")
    left_min = run.spent_s / run.step * (settings.steps - run.step) / 60
    figures = ", ".join(f"{name} {value}" for name, value in row.items() if name != "steps")
    line = f"step {run.step} of {settings.steps}, {left_min:.0f} min left, {figures}"
    print(line, file=sys.stderr, flush=True)


@torch.no_grad()
def measure(model: Detector, check: Scenes) -> dict[str, float]:
    """Return the percentages of plates found, and of plates with their corners well placed."""
    part = Detector()
    part.load_state_dict(model.state_dict())
    decoded = Decoded(part).eval()
    found = close = plates = 0
    for image, quads, kinds in zip(check.images, check.corners, check.kinds, strict=True):
        scores, corners = (
            one.numpy() for one in decoded(torch.from_numpy(image[None, None].copy()))
        )
        corners = corners[scores > 0.4]
        for quad in quads[kinds == 1]:
            low, high, middles = quad.min(axis=0), quad.max(axis=0), corners.mean(axis=1)
            hits = np.flatnonzero(((middles >= low) & (middles <= high)).all(axis=1))
            plates, found = plates + 1, found + bool(len(hits))
            if len(hits):
                gap = np.linalg.norm(corners[hits[0]] - quad, axis=-1).mean()
                close += bool(gap < CLOSE * np.ptp(quad[:, 0]))
    shares = {"found": found, "corners within 6 %": close}
    return {name: round(100 * count / max(plates, 1), 1) for name, count in shares.items()}


def save(run: Run, path: Path) -> None:
    """Write a checkpoint; an interrupted write leaves the last one as it was."""
    parts = {"model": run.model, "average": run.average, "optimiser": run.optimiser}
    states = {name: part.state_dict() for name, part in parts.items()}
    new = path.with_suffix(".new")
    torch.save({**states, "step": run.step, "spent_s": run.spent_s}, new)
    new.replace(path)


def resume(run: Run, path: Path) -> None:
    """Load the newest checkpoint into `run`, if there is one."""
    if not path.exists():
        return
    state = torch.load(path, weights_only=True)
    run.model.load_state_dict(state["model"])
    run.average.load_state_dict(state["average"])
    run.optimiser.load_state_dict(state["optimiser"])
    run.step, run.spent_s = state["step"], state["spent_s"]


def prepare_scenes(
    folder: Path, *, count: int, seed: int, pictures: Path | None, processes: int
) -> Scenes:
    """Return the scenes of `folder`, rendered first where they are missing or were broken off."""
    if not folder.exists():
        part = folder.with_name(folder.name + ".part")
        write_scenes(part, count=count, seed=seed, pictures=pictures, processes=processes)
        part.replace(folder)
    return load_scenes(folder)


def main() -> int:
    """Render, train and export from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="folder of scenes, checkpoint, log and curves")
    parser.add_argument("--pictures", type=Path, help="folder with index.csv, for backgrounds")
    parser.add_argument("--scenes", type=Path, nargs="*", default=[], help="rendered before")
    parser.add_argument("--count", type=int, default=24_000, help="scenes to render otherwise")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--start", type=Path, help="checkpoint to begin with")
    parser.add_argument("--onnx", type=Path, help="where to write the network afterwards")
    args = parser.parse_args()
    own = {"pictures": args.pictures, "processes": args.threads}
    scenes = tuple(load_scenes(folder) for folder in args.scenes) or (
        prepare_scenes(args.run / "scenes", count=args.count, seed=args.seed, **own),
    )
    check = prepare_scenes(
        args.run / "check", count=CHECK_SCENES, seed=args.seed + 1_000_000, **own
    )
    settings = Settings(
        steps=args.steps, rate=args.rate, seed=args.seed, threads=args.threads,
        device=args.device, start=args.start,
    )  # fmt: skip
    model = train(scenes, args.run, settings, check=check)
    if args.onnx:
        publish(model, args.onnx)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
