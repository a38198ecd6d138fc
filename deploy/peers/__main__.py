"""Homeplate and fast-alpr on the same pictures, in turn, one thread each: `deploy/bench-peers`.

Downloads nothing. Install fast-alpr with its weights yourself, in an environment of its own, and
name that environment's Python with --peer-python. Both look at single pictures: no voting.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from agent.base.errors import ConfigError, HomeplateError, InputError
from agent.base.settings import DetectSettings, ModelSettings
from agent.cli.bench_images import look_at
from agent.cli.bench_index import Picture, load_index
from agent.cli.bench_truth import load_truth
from agent.cli.models import Models, open_models
from deploy.peers.worker import ABSENT, NO_WEIGHTS

WORKER = Path(__file__).with_name("worker.py")
LORES_WIDTH_PX = 640
WARM_UP = 2
WHY = {
    ABSENT: "fast-alpr is not installed for {python}; expected it there (pip install "
    "'fast-alpr[onnx]'), with its weights; or name another Python with --peer-python",
    NO_WEIGHTS: "fast-alpr is there, but cannot start without the network: its weights are "
    "missing; run it once yourself, so that it fetches them, then again here",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One picture and the plates in it that somebody knows."""

    bgr: NDArray[np.uint8] = field(repr=False)
    texts: frozenset[str] = field(repr=False)


@dataclass(slots=True)
class Side:
    """What one of the two made of all pictures."""

    cpu_ms: list[float] = field(default_factory=list)
    right: int = 0
    wrong: int = 0

    def add(self, texts: list[str], known: frozenset[str], cpu_ms: float) -> None:
        """Count what was answered for one picture."""
        self.cpu_ms.append(cpu_ms)
        self.right += len(known & set(texts))
        self.wrong += sum(text not in known for text in texts) if known else 0


class Peer:
    """fast-alpr in its own process."""

    def __init__(self, python: str) -> None:
        """Start it.

        Raises:
            ConfigError: It is not installed, or its weights are not.
        """
        self._words = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        try:
            self._process = subprocess.Popen(
                [python, "-I", str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._words,
            )
        except OSError as error:
            self._words.close()
            message = f"--peer-python {python}: {error.strerror}; expected a Python"
            raise ConfigError(message) from error
        self.version = str(self._answer(python)["version"])

    def read(self, bgr: NDArray[np.uint8]) -> tuple[list[str], float]:
        """Return the texts that it reads in a picture, and its CPU milliseconds."""
        height, width = bgr.shape[:2]
        to = self._process.stdin
        assert to is not None  # noqa: S101  it is a pipe
        to.write(json.dumps({"height": height, "width": width}).encode() + b"\n")
        to.write(bgr.tobytes())
        to.flush()
        answer = self._answer("")
        return [str(text) for text in answer["texts"]], float(answer["cpu_ms"])

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()
        self._words.close()

    def _answer(self, python: str) -> dict[str, object]:
        out = self._process.stdout
        line = out.readline() if out else b""
        if line:
            return dict(json.loads(line))
        self._process.communicate()
        self._words.seek(0)
        last = self._words.read().decode(errors="replace").strip().splitlines()[-1:]
        self._words.close()
        why = WHY.get(self._process.returncode, "fast-alpr ended by itself")
        message = f"{why.format(python=python)} ({''.join(last)})"
        raise ConfigError(message)


def show_pictures(root: Path, index: Path, limit: int | None) -> Iterator[Shown]:
    """Yield the pictures of an index.

    Raises:
        InputError: One cannot be read.
    """
    for picture in load_index(index, datasets=frozenset())[:limit]:
        bgr = cv2.imread(str(root / picture.path))
        if bgr is None:
            message = f"{root / picture.path}: cannot be read; expected a picture"
            raise InputError(message)
        texts = frozenset(label.text for label in picture.labels if label.text)
        yield Shown(bgr=np.asarray(bgr, np.uint8), texts=texts)


def show_frames(clip: Path, truth: Path | None, every: int, limit: int | None) -> Iterator[Shown]:
    """Yield every so-many-th frame of a clip with the plates that are wholly in it."""
    vehicles = load_truth(truth) if truth else ()
    with av.open(str(clip)) as container:
        shown = 0
        for number, frame in enumerate(container.decode(video=0)):
            if number % every:
                continue
            if shown == limit:
                return
            seen = [one.text for one in vehicles if one.first_frame <= number <= one.last_frame]
            yield Shown(bgr=frame.to_ndarray(format="bgr24"), texts=frozenset(seen))
            shown += 1


def compare(pictures: Iterator[Shown], models: Models, peer: Peer) -> tuple[Side, Side]:
    """Return what each made of the pictures, looked at in turn."""
    ours, theirs = Side(), Side()
    for number, shown in enumerate(pictures):
        for _ in range(WARM_UP if number == 0 else 0):
            read_ours(shown.bgr, models)
            peer.read(shown.bgr)
        ours.add(*_with(shown, read_ours(shown.bgr, models)))
        theirs.add(*_with(shown, peer.read(shown.bgr)))
        sys.stderr.write(f"\r{number + 1} pictures")
    sys.stderr.write("\n")
    return ours, theirs


def _with(shown: Shown, answer: tuple[list[str], float]) -> tuple[list[str], frozenset[str], float]:
    return answer[0], shown.texts, answer[1]


def read_ours(bgr: NDArray[np.uint8], models: Models) -> tuple[list[str], float]:
    """Return the texts that the agent answers for a picture, and its CPU milliseconds."""
    gray = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), np.uint8)
    nobody = Picture(dataset="", path="", labels=())
    look = look_at(gray, nobody, models, lores_width_px=LORES_WIDTH_PX)
    pairs = zip(look.votes, look.abstained, strict=True)
    return [vote.characters for vote, abstained in pairs if not abstained], look.cpu_ms


def draw_table(ours: Side, theirs: Side, version: str) -> str:
    """Return both sides and the ratio of their CPU time."""
    lines = [f"{'':<22}{'CPU ms a picture':>18}{'plates right':>14}{'wrong':>8}"]
    for name, side in (("Homeplate", ours), (f"fast-alpr {version}", theirs)):
        middle = statistics.median(side.cpu_ms)
        lines.append(f"{name:<22}{middle:>18.2f}{side.right:>14}{side.wrong:>8}")
    ratio = statistics.median(ours.cpu_ms) / max(statistics.median(theirs.cpu_ms), 1e-9)
    lines.append(f"Homeplate takes {ratio:.3f} of fast-alpr's CPU time (1/{1 / ratio:.1f})")
    return "\n".join(lines)


def parse(words: list[str] | None) -> argparse.Namespace:
    """Return the arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="deploy/bench-peers",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--pictures", type=Path, metavar="ROOT", help="folder of pictures")
    what.add_argument("--clip", type=Path, help="recorded video; single frames are looked at")
    parser.add_argument("--index", type=Path, metavar="FILE", help="CSV of the pictures' plates")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="of the clip")
    parser.add_argument("--every", type=int, default=10, metavar="N", help="frame (default 10)")
    parser.add_argument("--limit", type=int, metavar="N", help="so many pictures at most")
    parser.add_argument("--peer-python", default=sys.executable, metavar="PYTHON")
    args = parser.parse_args(words)
    if args.pictures and not args.index:
        parser.error("--pictures: expected --index FILE with it")
    if args.every < 1:
        parser.error(f"--every {args.every}: expected 1 or more")
    return args


def main(words: list[str] | None = None) -> int:
    """Compare and print."""
    args = parse(words)
    try:
        print(measure(args))
    except HomeplateError as error:
        sys.stderr.write(f"bench-peers: {error}\n")
        return error.exit_code
    return 0


def measure(args: argparse.Namespace) -> str:
    """Return the table of both sides.

    Raises:
        ConfigError: The peer is not there.
        InputError: The pictures cannot be used.
    """
    if args.clip:
        pictures = show_frames(args.clip, args.truth, args.every, args.limit)
    else:
        pictures = show_pictures(args.pictures, args.index, args.limit)
    cv2.setNumThreads(1)
    models = open_models(ModelSettings(), DetectSettings())
    peer = Peer(args.peer_python)
    try:
        ours, theirs = compare(pictures, models, peer)
    finally:
        peer.close()
    if not ours.cpu_ms:
        message = "found no picture; expected one at least"
        raise InputError(message)
    return draw_table(ours, theirs, peer.version)


if __name__ == "__main__":
    sys.exit(main())
