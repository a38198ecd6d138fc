"""`homeplate models verify`: are the two networks the ones that the manifest names?

Also what the other commands need to open them.
"""

import argparse
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.base.errors import ConfigError
from agent.base.files import read_bounded
from agent.base.settings import DetectSettings, ModelSettings
from agent.cli.model_folder import MANIFEST_LIMIT_BYTES, MANIFEST_NAME, find_folder
from agent.detect import Detector
from agent.read import Reader
from agent.vision.manifest import DetectorSpec, FileSpec, Manifest, ReaderSpec, parse_manifest
from agent.vision.patterns import make_patterns
from agent.vision.session import OnnxNetwork, check_digest

MODEL_LIMIT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """Both networks, checked and open."""

    manifest: Manifest
    manifest_sha256: bytes
    """Of the manifest's bytes; it names the models in every sealed frame."""
    detector: Detector
    reader: Reader


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    verify = actions.add_parser("verify", help="compare the files with the manifest and try them")
    verify.add_argument("--models", default="", metavar="FOLDER", help="folder of manifest.toml")
    verify.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Check all files, open both networks, feed each an empty picture."""
    models = open_models(ModelSettings(directory=args.models), DetectSettings())
    if models.manifest.detector.int8 or models.manifest.reader.int8:
        open_models(ModelSettings(directory=args.models, precision="int8"), DetectSettings())
    report = {
        "models_sha256": models.manifest_sha256.hex(),
        "detector": describe(models.manifest.detector, outputs=try_detector(models)),
        "reader": describe(models.manifest.reader, outputs=try_reader(models)),
    }
    if args.json:
        print(json.dumps(report))
        return 0
    for name, spec in (("detector", models.manifest.detector), ("reader", models.manifest.reader)):
        print(f"{name:<9} {spec.file:<16} SHA-256 {spec.sha256[:16]}…  {spec.gmac:.4f} GMAC  ok")
    return 0


def describe(spec: DetectorSpec | ReaderSpec, *, outputs: list[list[int]]) -> dict[str, object]:
    """Return the facts of one network for the report."""
    return {"file": spec.file, "sha256": spec.sha256, "gmac": spec.gmac, "output_shapes": outputs}


def try_detector(models: Models) -> list[list[int]]:
    """Return the shapes that the detector gives for an empty picture."""
    side = models.detector.stride * 4
    picture = np.zeros((1, 1, side, side), np.uint8)
    return [list(output.shape) for output in models.detector.network.run(picture)]


def try_reader(models: Models) -> list[list[int]]:
    """Return the shapes that the reader gives for two empty crops."""
    width, height = models.reader.size_px
    crops = np.zeros((2, 1, height, width), np.uint8)
    return [list(output.shape) for output in models.reader.network.run(crops)]


def open_models(settings: ModelSettings, detect: DetectSettings) -> Models:
    """Return both networks after their SHA-256 was found to be that of the manifest.

    Raises:
        ConfigError: A file is missing, the manifest cannot be read, or it names no file of the
            precision that is asked for.
        IntegrityError: A file is not the one that the manifest names.
    """
    folder = find_folder(settings.directory)
    content = read_bounded(folder / MANIFEST_NAME, limit_bytes=MANIFEST_LIMIT_BYTES)
    manifest = parse_manifest(content, place=str(folder / MANIFEST_NAME))
    require_precision(manifest, settings, place=str(folder / MANIFEST_NAME))
    return Models(
        manifest=manifest,
        manifest_sha256=hashlib.sha256(content).digest(),
        detector=open_detector(folder, manifest.detector, settings, detect),
        reader=open_reader(folder, manifest.reader, settings),
    )


def open_network(
    folder: Path,
    spec: DetectorSpec | ReaderSpec,
    settings: ModelSettings,
    *,
    inputs: str,
    outputs: tuple[str, ...],
) -> OnnxNetwork:
    """Return a network from the file that the settings choose.

    Raises:
        ConfigError: It is missing.
        IntegrityError: The file is not the one that the manifest names.
    """
    named = choose_file(spec, settings)
    place = folder / named.file
    content = read_bounded(place, limit_bytes=MODEL_LIMIT_BYTES)
    return OnnxNetwork(
        check_digest(content, sha256=named.sha256, place=str(place)),
        place=str(place),
        inputs=inputs,
        outputs=outputs,
        threads=settings.threads,
    )


def choose_file(
    spec: DetectorSpec | ReaderSpec, settings: ModelSettings
) -> FileSpec | DetectorSpec | ReaderSpec:
    """Return the file of the precision that is asked for; a network may have but one."""
    return spec.int8 if settings.precision == "int8" and spec.int8 is not None else spec


def require_precision(manifest: Manifest, settings: ModelSettings, *, place: str) -> None:
    """Make sure that the manifest names a file of the precision that is asked for.

    Raises:
        ConfigError: It names none.
    """
    named = manifest.detector.int8 or manifest.reader.int8
    if settings.precision == "int8" and named is None:
        message = f'{place}: names no int8 file; expected one, or $.models.precision = "fp32"'
        raise ConfigError(message)


def open_detector(
    folder: Path, spec: DetectorSpec, settings: ModelSettings, detect: DetectSettings
) -> Detector:
    """Return the detector, ready for use."""
    network = open_network(folder, spec, settings, inputs="image", outputs=("scores", "corners"))
    threshold = spec.threshold if detect.threshold is None else detect.threshold
    return Detector(
        network=network, stride=spec.stride, threshold=threshold, max_plates=detect.max_plates
    )


def open_reader(folder: Path, spec: ReaderSpec, settings: ModelSettings) -> Reader:
    """Return the reader, ready for use."""
    network = open_network(folder, spec, settings, inputs="crops", outputs=("log_probs",))
    return Reader(
        network=network,
        size_px=spec.size_px,
        margin=(spec.margin_x, spec.margin_y),
        alphabet=spec.alphabet,
        temperature=spec.temperature,
        threshold=spec.threshold,
        patterns=make_patterns(spec.patterns, alphabet=spec.alphabet),
    )
