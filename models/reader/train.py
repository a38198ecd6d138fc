"""Train the reader from rendered plates: material, network, loss, loop, evaluation.

    python -m models.reader.crops data/part1 --count 100000 --seed 1   # once per core, own seed
    python -m models.reader.train data --out runs/reader --minutes 75
    python -m models.reader.export runs/reader/last.pt

The network gives one column of log-probabilities per 4 pixels of the crop (CTC). CTC alone learns
slowly; because every rendered plate knows its character centres, a cross-entropy per column leads
at first and fades (13 % against 65 % strict after the same 38,000 samples). Crops are cut anew for
each sample with the errors a detector makes. The run stops and resumes: start the same command.
"""

import argparse
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.reader.crops import PLATE_ON_CANVAS, Material
from models.reader.evaluate import (
    ALPHABET,
    BLANK,
    CROP_HEIGHT_PX,
    CROP_WIDTH_PX,
    DATASETS,
    Crops,
    decode,
    load_dataset,
    plate_in_crop,
    score,
)
from models.reader.network import COLUMNS, Reader

IGNORED = -100
Validation = dict[str, tuple[Crops, list[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a run is decided by; lengths of jitter are parts of the plate's width."""

    minutes: float
    batch: int = 128
    learning_rate: float = 2.5e-3
    warm_up_steps: int = 200
    weight_decay: float = 0.02
    ema: float = 0.999
    aligned_weight: tuple[float, float] = (2.0, 0.2)  # over the first half of the run
    corner_sigma: float = 0.035
    scale: tuple[float, float] = (-0.06, 0.12)
    shift_sigma: float = 0.02
    rolled: float = 0.3  # chance of a box around a rolled or sheared plate
    inverted: float = 0.1
    noise: float = 0.3
    checkpoint_minutes: float = 4.0
    seed: int = 1
    threads: int


def jitter_matrix(rng: np.random.Generator, settings: Settings) -> NDArray[np.float64]:
    """Return the map canvas to crop for corners as wrong as a detector's."""
    x1, y1, x2, y2 = PLATE_ON_CANVAS
    width, height = x2 - x1, y2 - y1
    unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)
    grow = rng.uniform(*settings.scale) + rng.normal(0, 0.015, 2)
    corners = (unit - 0.5) * (1 + grow) + 0.5
    if rng.random() < settings.rolled:
        corners[:, 1] += (unit[:, 0] - 0.5) * rng.normal(0, 0.16)
        corners[:, 0] += (unit[:, 1] - 0.5) * rng.normal(0, 0.04)
    ratio = np.array([1.0, 1.6])  # an error of 1 % of the width is about 1.6 % of the height
    corners += rng.normal(0, settings.shift_sigma, 2) * ratio
    corners += rng.normal(0, settings.corner_sigma * rng.uniform(0.2, 1.2), (4, 2)) * ratio
    on_canvas = corners * (width, height) + (x1, y1)
    return cv2.getPerspectiveTransform(on_canvas.astype(np.float32), plate_in_crop())


def spoil(rng: np.random.Generator, crop: NDArray[np.uint8], settings: Settings) -> None:
    """Invert or roughen a crop in place, by chance."""
    if rng.random() < settings.inverted:
        np.subtract(255, crop, out=crop)
    if rng.random() < settings.noise:
        grain = rng.standard_normal(crop.shape, np.float32) * np.float32(rng.uniform(1, 8))
        np.copyto(crop, np.clip(np.rint(crop + grain), 0, 255).astype(np.uint8))


def column_labels(text: str, x_px: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return a label for each column.

    It is the character at its centre, nothing (`IGNORED`) beside it, blank elsewhere.
    """
    labels = np.full(COLUMNS, BLANK, np.int64)
    middles = x_px * COLUMNS / CROP_WIDTH_PX - 0.5
    labels[np.abs(np.arange(COLUMNS)[:, None] - middles[None]).min(1) < 1.3] = IGNORED
    for character, middle in zip(text, middles, strict=True):
        if 0 <= round(middle) < COLUMNS:
            labels[round(middle)] = ALPHABET.index(character)
    return labels


@dataclass(frozen=True, slots=True)
class Batch:
    """`crops` (B, 1, 48, 128) uint8, all characters in one row, their counts, (B, 32) labels."""

    crops: Tensor
    characters: Tensor
    lengths: Tensor
    columns: Tensor


def make_batch(
    rng: np.random.Generator, material: Material, indices: NDArray[np.int64], settings: Settings
) -> Batch:
    """Cut one jittered crop from each canvas."""
    crops = np.empty((len(indices), 1, CROP_HEIGHT_PX, CROP_WIDTH_PX), np.uint8)
    columns = np.empty((len(indices), COLUMNS), np.int64)
    texts = [material.texts[i].decode() for i in indices]
    for k, (index, text) in enumerate(zip(indices, texts, strict=True)):
        matrix = jitter_matrix(rng, settings)
        crops[k, 0] = cv2.warpPerspective(
            material.canvas(index), matrix, (CROP_WIDTH_PX, CROP_HEIGHT_PX),
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        spoil(rng, crops[k, 0], settings)
        centres = material.centres[index, None, : len(text)].astype(np.float64)
        columns[k] = column_labels(text, cv2.perspectiveTransform(centres, matrix)[0, :, 0])
    characters = [ALPHABET.index(c) for text in texts for c in text]
    return Batch(
        torch.from_numpy(crops), torch.tensor(characters),
        torch.tensor([len(t) for t in texts]), torch.from_numpy(columns),
    )  # fmt: skip


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

    def load(self, path: Path) -> None:
        """Continue from a checkpoint."""
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps, self.elapsed_s = state["steps"], state["elapsed_s"]


def start_run(settings: Settings) -> Run:
    """Return a fresh run."""
    torch.manual_seed(settings.seed)
    network, average = Reader(), Reader()
    network.to(memory_format=torch.channels_last)
    average.load_state_dict(network.state_dict())
    optimizer = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    return Run(network, average.eval(), optimizer)


def train_step(run: Run, batch: Batch, settings: Settings) -> float:
    """Take one step; returns the loss."""
    progress = min(run.elapsed_s / (settings.minutes * 60), 1.0)
    rate = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
    run.optimizer.param_groups[0]["lr"] = rate * min((run.steps + 1) / settings.warm_up_steps, 1.0)
    first, last = settings.aligned_weight
    weight = last + (first - last) * max(1 - 2 * progress, 0.0)
    run.network.train()
    with torch.autocast("cpu", torch.bfloat16):
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
def read_crops(network: Reader, crops: NDArray[np.uint8]) -> list[str]:
    """Return the greedy text of each crop."""
    parts = [network(torch.from_numpy(crops[i : i + 128])) for i in range(0, len(crops), 128)]
    return decode(torch.cat(parts).numpy())


def evaluate(run: Run, validation: Validation) -> dict[str, float]:
    """Return strict accuracy of the averaged network, by data set."""
    return {
        name: score(read_crops(run.average, crops), texts)["strict"]
        for name, (crops, texts) in validation.items()
    }


def train(
    run: Run, material_root: Path, out: Path, settings: Settings, validation: Validation
) -> None:
    """Train until the minutes are used up; writes checkpoints, evaluations and progress."""
    material = Material(material_root)
    rng = np.random.default_rng([settings.seed, run.steps])
    began, saved, losses = time.monotonic() - run.elapsed_s, run.elapsed_s, []
    while run.elapsed_s < settings.minutes * 60:
        indices = rng.integers(0, len(material.texts), settings.batch)
        losses.append(train_step(run, make_batch(rng, material, indices, settings), settings))
        run.elapsed_s = time.monotonic() - began
        if run.steps % 100 == 0:
            sys.stderr.write(
                f"{run.elapsed_s / 60:.1f} of {settings.minutes:.0f} min, step {run.steps}, "
                f"loss {np.mean(losses[-100:]):.3f}, {len(material.texts)} plates\n"
            )
        if run.elapsed_s - saved > settings.checkpoint_minutes * 60:
            saved = run.elapsed_s
            finish_part(run, out, validation)
            material = Material(material_root)  # parts may have been added
    finish_part(run, out, validation)


def finish_part(run: Run, out: Path, validation: Validation) -> None:
    """Save, evaluate and log."""
    run.save(out / "last.pt")
    line = {
        "minutes": round(run.elapsed_s / 60, 1),
        "steps": run.steps,
        **evaluate(run, validation),
    }
    with (out / "log.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")
    sys.stderr.write(f"{json.dumps(line)}\n")


def main() -> int:
    """Train from the command line; goes on where an earlier run in --out stopped."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("material", type=Path, help="folder of parts made by models.reader.crops")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and log")
    parser.add_argument("--minutes", type=float, default=75.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--validate", type=Path, help="folder with index.csv of real plates")
    args = parser.parse_args()
    settings = Settings(minutes=args.minutes, threads=args.threads)
    torch.set_num_threads(settings.threads)
    torch.set_flush_denormal(True)
    cv2.setNumThreads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    run = start_run(settings)
    if (args.out / "last.pt").exists():
        run.load(args.out / "last.pt")
    validation = {d: load_dataset(args.validate, d) for d in DATASETS} if args.validate else {}
    train(run, args.material, args.out, settings, validation)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
