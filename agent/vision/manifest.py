"""The manifest of the two networks: what their files are, and how they want to be fed.

`models/manifest.toml` is made by the export of the training code. An unknown key is refused, so
that nothing this version does not know is left out in silence; only the tables of measured
accuracy, which are for people, hold what they like.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from agent.base.errors import ConfigError

Digest = Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{64}$")]
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.onnx$")]
SidePx = Annotated[int, Meta(ge=8, le=8192)]
Share = Annotated[float, Meta(ge=0, le=1)]
Pattern = Annotated[str, Meta(pattern=r"^[LD]{1,16}$")]
PlateShare = Annotated[float, Meta(gt=0, le=1)]


class FileSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One more file of a network, which takes and gives the same."""

    file: FileName
    sha256: Digest


class DetectorSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The detector: `image` uint8 (1, 1, h, w) → `scores` (K,), `corners` (K, 4, 2)."""

    file: FileName
    sha256: Digest
    stride: Annotated[int, Meta(ge=1, le=128)]
    """Height and width of the image are multiples of it."""
    threshold: Share
    """Recommended lowest score of a plate."""
    input_width_px: SidePx
    input_height_px: SidePx = 384
    """With the width: the picture that `gmac` counts for; any other size will do as well."""
    gmac: Annotated[float, Meta(ge=0)] = 0.0
    """Thousand million multiplications a picture of that size."""
    top_k: Annotated[int, Meta(ge=1)] = 32
    """Plates that it gives for every picture, most of them with scores near 0."""
    version: str = ""
    parameters: int = 0
    data: str = ""
    """What it was trained on."""
    licence: str = ""
    int8: FileSpec | None = None
    """The same network quantised to 8 bits, where that holds its accuracy."""
    accuracy: dict[str, object] = {}


class ReaderSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The reader: `crops` uint8 (N, 1, h, w) → `log_probs` (N, columns, classes)."""

    file: FileName
    sha256: Digest
    input_width_px: SidePx
    input_height_px: SidePx
    alphabet: Annotated[str, Meta(pattern=r"^[0-9A-Z]+$")]
    blank: Annotated[int, Meta(ge=0, le=64)]
    """Index of the class that stands for no character: the one after the alphabet."""
    margin_x: Annotated[float, Meta(ge=-0.2, le=0.17)]
    """Share of the plate's width that a crop shows beyond each side."""
    margin_y: Annotated[float, Meta(ge=-0.2, le=0.17)]
    """Share of the plate's height that a crop shows above and below."""
    gmac: Annotated[float, Meta(ge=0)] = 0.0
    """Thousand million multiplications a crop."""
    columns: Annotated[int, Meta(ge=1)] = 32
    temperature: Annotated[float, Meta(ge=0.2, le=5)] = 1.0
    """The log-probabilities are divided by it: above 1 the network was too sure of itself."""
    threshold: Share = 0.7
    """Recommended lowest confidence of a whole plate that is no guess."""
    patterns: dict[Pattern, PlateShare] = {}
    """How often plates show letters (L) and digits (D) in that order; the rest follow no order."""
    version: str = ""
    parameters: int = 0
    data: str = ""
    """What it was trained on."""
    licence: str = ""
    int8: FileSpec | None = None
    """The same network quantised to 8 bits, where that holds its accuracy."""
    accuracy: dict[str, object] = {}

    def __post_init__(self) -> None:
        """Refuse an alphabet that does not end in the blank, and shares of more than all plates."""
        if sum(self.patterns.values()) > 1:
            message = f"patterns add up to {sum(self.patterns.values()):g}; expected at most 1"
            raise ValueError(message)
        if self.blank != len(self.alphabet):
            message = f"blank is {self.blank}; expected {len(self.alphabet)}, after the alphabet"
            raise ValueError(message)

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of a crop."""
        return self.input_width_px, self.input_height_px


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The two networks of one release."""

    detector: DetectorSpec
    reader: ReaderSpec


def parse_manifest(content: bytes, *, place: str) -> Manifest:
    """Read a manifest.

    Args:
        content: TOML.
        place: The file's name, for the message.

    Raises:
        ConfigError: Not TOML, a key missing, or a value of a wrong type or out of range.
    """
    try:
        return msgspec.toml.decode(content, type=Manifest)
    except (msgspec.MsgspecError, ValueError) as error:
        message = f"{place}: {error}; expected the manifest that came with the models"
        raise ConfigError(message) from error
