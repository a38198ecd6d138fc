r"""Train the reader from nothing to the published file: material, network, loop, evaluation.

    python -m models.reader.train runs/reader --export models/reader.onnx [--device cuda]

It renders the plates it lacks (`models.reader.crops`), trains, and exports. Stopped, it goes on
where it was when the same command is given again. The network gives one column of
log-probabilities per 4 pixels of the crop (CTC). CTC alone learns slowly; because every rendered
plate knows its character centres, a cross-entropy per column leads at first and fades (13 % against
65 % strict after the same 38,000 samples). Crops are cut anew for each sample with the errors a
detector makes (`batches.py`). The rate falls to zero along a cosine over all steps; what is
published is the moving average of the weights.
"""

import argparse
import json
import math
import multiprocessing
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.reader.batches import IGNORED, Batch, Jitter, make_batch
from models.reader.crops import Material, write_part
from models.reader.curves import draw_curves
from models.reader.evaluate import BLANK, DATASETS, Crops, decode, load_dataset, score
from models.reader.export import publish
from models.reader.network import COLUMNS, Reader
from models.synth.fonts import installed_faces

PART_PLATES = 12_500
REPORT_STEPS = 100
Validation = dict[str, tuple[Crops, list[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a run is decided by."""

    steps: int
    batch: int = 128
    learning_rate: float = 2.5e-3
    warm_up_steps: int = 200
    weight_decay: float = 0.02
    ema: float = 0.999
    aligned_weight: tuple[float, float] = (2.0, 0.2)
    """Of the columns' cross-entropy, at the beginning and from the middle of the run on."""
    jitter: Jitter = field(default_factory=Jitter)
    checkpoint_minutes: float = 4.0
    seed: int = 1
    device: str = "cpu"


def reading_loss(log_probs: Tensor, batch: Batch, aligned_weight: float) -> Tensor:
    """Return CTC per character plus the weighted cross-entropy of the columns."""
    spans = torch.full_like(batch.lengths, COLUMNS)
    ctc = nn.functional.ctc_loss(
        log_probs.transpose(0, 1), batch.characters, spans, batch.lengths, BLANK,
        zero_infinity=True,
    )  # fmt: skip
    aligned = nn.functional.nll_loss(
        log_probs.flatten(0, 1), batch.columns.flatten(), ignore_index=IGNORED
    )
    return ctc + aligned_weight * aligned


@dataclass(slots=True)
class Run:
    """What a checkpoint keeps: the network, its moving average, the optimiser and the progress."""

    network: Reader
    average: Reader
    optimizer: torch.optim.Optimizer
    steps: int = 0
    elapsed_s: float = 0.0

    def save(self, path: Path) -> None:
        """Write the checkpoint in one move."""
        state = {
            "network": self.network.state_dict(), "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(), "steps": self.steps,
            "elapsed_s": self.elapsed_s,
        }  # fmt: skip
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def load(self, path: Path, device: str = "cpu") -> None:
        """Continue from a checkpoint."""
        state = torch.load(path, map_location=device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps, self.elapsed_s = state["steps"], state["elapsed_s"]


def start_run(settings: Settings, warm: Path | None = None) -> Run:
    """Return a fresh run, from the averaged weights of the checkpoint `warm` when one is given."""
    torch.manual_seed(settings.seed)
    network, average = Reader(), Reader()
    if warm:
        network.load_state_dict(torch.load(warm, weights_only=True)["average"])
    network.to(settings.device, memory_format=torch.channels_last)
    average.to(settings.device).load_state_dict(network.state_dict())
    optimizer = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    return Run(network, average.eval(), optimizer)


def train_step(run: Run, batch: Batch, settings: Settings) -> float:
    """Take one step; returns the loss."""
    progress = min(run.steps / settings.steps, 1.0)
    rate = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
    run.optimizer.param_groups[0]["lr"] = rate * min((run.steps + 1) / settings.warm_up_steps, 1.0)
    first, last = settings.aligned_weight
    weight = last + (first - last) * max(1 - 2 * progress, 0.0)
    run.network.train()
    batch = batch.to(settings.device)
    with torch.autocast(settings.device, torch.bfloat16):
        log_probs = run.network(batch.crops)
    loss = reading_loss(log_probs, batch, weight)
    run.optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(run.network.parameters(), 5.0)
    run.optimizer.step()
    run.steps += 1
    keep = min(settings.ema, (1 + run.steps) / (10 + run.steps))
    pairs = zip(run.average.state_dict().values(), run.network.state_dict().values(), strict=True)
    for mean, new in pairs:
        if mean.is_floating_point():
            mean.lerp_(new, 1 - keep)
    return loss.item()


@torch.no_grad()
def read_crops(network: Reader, crops: NDArray[np.uint8], device: str) -> list[str]:
    """Return the greedy text of each crop."""
    parts = [
        network(torch.from_numpy(crops[i : i + 128]).to(device)) for i in range(0, len(crops), 128)
    ]
    return decode(torch.cat(parts).cpu().numpy())


def train(run: Run, material_root: Path, out: Path, settings: Settings, real: Validation) -> None:
    """Take the steps that are left; writes checkpoints, evaluations and progress."""
    material = Material(material_root)
    rng = np.random.default_rng([settings.seed, run.steps])
    began, saved, losses = time.monotonic() - run.elapsed_s, run.elapsed_s, []
    while run.steps < settings.steps:
        indices = rng.integers(0, len(material.texts), settings.batch)
        batch = make_batch(rng, material, indices, settings.jitter)
        losses.append(train_step(run, batch, settings))
        run.elapsed_s = time.monotonic() - began
        if run.steps % REPORT_STEPS == 0:
            sys.stderr.write(f"{tell_progress(run, settings)}, loss {mean_loss(losses):.3f}\n")
        if run.elapsed_s - saved > settings.checkpoint_minutes * 60:
            saved = run.elapsed_s
            finish_part(run, out, real, settings.device, losses)
            material = Material(material_root)  # parts may have been added
    finish_part(run, out, real, settings.device, losses)


def tell_progress(run: Run, settings: Settings) -> str:
    """Return what was done and how long the rest takes."""
    left_s = run.elapsed_s / run.steps * (settings.steps - run.steps)
    return f"step {run.steps} of {settings.steps}, {left_s / 60:.0f} min left"


def mean_loss(losses: list[float]) -> float:
    """Return the mean of the last losses."""
    return float(np.mean(losses[-REPORT_STEPS:])) if losses else float("nan")


def finish_part(run: Run, out: Path, real: Validation, device: str, losses: list[float]) -> None:
    """Save, evaluate the averaged network on each data set, log, and draw the curves."""
    run.save(out / "last.pt")
    strict = {
        name: score(read_crops(run.average, crops, device), texts)["strict"]
        for name, (crops, texts) in real.items()
    }
    line = {"minutes": round(run.elapsed_s / 60, 1), "steps": run.steps,
            "loss": round(mean_loss(losses), 4), **strict}  # fmt: skip
    with (out / "log.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")
    draw_curves(out / "log.jsonl", out / "curves.svg")
    sys.stderr.write(f"{json.dumps(line)}\n")


def render_missing(root: Path, *, plates: int, workers: int, seed: int, fonts: Path) -> None:
    """Render the parts that `root` lacks, each with its own seed."""
    faces = installed_faces(fonts)
    names = [f"part{seed * 1000 + k}" for k in range(math.ceil(plates / PART_PLATES))]
    missing = [name for name in names if not (root / name / "centres.npy").exists()]
    jobs = [
        multiprocessing.get_context("spawn").Process(
            target=_render_parts, args=(root, missing[k::workers], faces)
        )
        for k in range(min(workers, len(missing)))
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()


def _render_parts(root: Path, names: list[str], faces: tuple[Path, ...]) -> None:
    cv2.setNumThreads(1)
    for name in names:
        write_part(root / name, count=PART_PLATES, seed=int(name.removeprefix("part")), faces=faces)


def parse_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder for material, checkpoints and log")
    parser.add_argument("--material", type=Path, help="folder of parts (default OUT/material)")
    parser.add_argument("--plates", type=int, default=500_000, help="to be rendered if missing")
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"))
    parser.add_argument("--steps", type=int, default=30_000, help="of 128 crops")
    parser.add_argument("--rate", type=float, default=2.5e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--warm", type=Path, help="checkpoint whose weights a new run begins with")
    parser.add_argument("--validate", type=Path, help="folder with index.csv of real plates")
    parser.add_argument("--export", type=Path, help="write this ONNX file and its manifest's table")
    return parser.parse_args()


def main() -> int:
    """Render, train and export from the command line; goes on where an earlier run stopped."""
    args = parse_arguments()
    settings = Settings(
        steps=args.steps, learning_rate=args.rate, seed=args.seed, device=args.device
    )
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    cv2.setNumThreads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    material = args.material or args.out / "material"
    if not args.material:
        render_missing(
            material, plates=args.plates, workers=args.threads, seed=args.seed, fonts=args.fonts
        )
    run = start_run(settings, args.warm)
    if (args.out / "last.pt").exists():
        run.load(args.out / "last.pt", settings.device)
    real = {d: load_dataset(args.validate, d) for d in DATASETS} if args.validate else {}
    train(run, material, args.out, settings, real)
    if args.export:
        publish(args.out / "last.pt", args.export, data=args.validate)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
