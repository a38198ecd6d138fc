"""The reader's network: plain convolutions, 0.059 GMAC a crop, 0.55 million parameters.

Height is folded away, width keeps 32 columns of 4 pixels: one column reads at most one character.
Few channels at full size, because most of the time is spent there.
"""

import torch
from torch import Tensor, nn

from models.reader.evaluate import BLANK

COLUMNS = 32
NEIGHBOUR = 4  # columns a character usually takes; the last block sees two on each side
CONTRAST_FLOOR = 4.0  # grey levels; keeps an empty crop from being blown up to noise


def block(
    inward: int,
    outward: int,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    *,
    reach: int = 1,
) -> nn.Module:
    """Return convolution, normalisation, ReLU; height shrinks by the kernel when it is (3, 1)."""
    padding = (0 if kernel == (3, 1) else kernel[0] // 2, kernel[1] // 2 * reach)
    return nn.Sequential(
        nn.Conv2d(inward, outward, kernel, stride, padding, (1, reach), bias=False),
        nn.BatchNorm2d(outward), nn.ReLU(inplace=True),
    )  # fmt: skip


class Residual(nn.Module):
    """A block added to its input."""

    def __init__(self, channels: int, kernel: tuple[int, int], *, reach: int = 1) -> None:
        """Keep size and channels; `reach` columns lie between the taps."""
        super().__init__()
        self.body = block(channels, channels, kernel, reach=reach)

    def forward(self, x: Tensor) -> Tensor:
        """Return x + body(x)."""
        return x + self.body(x)


class Reader(nn.Module):
    """uint8 crops (N, 1, 48, 128) to log-probabilities (N, 32, 37); 0.059 GMAC a crop."""

    def __init__(self) -> None:
        """Build the layers; sizes beside them are height x width after each."""
        super().__init__()
        square = (3, 3)
        self.body = nn.Sequential(
            block(1, 24, square, (2, 2)),  # 24 x 64
            block(24, 24, square), block(24, 64, square, (2, 2)),  # 12 x 32
            Residual(64, square), block(64, 96, square, (2, 1)),  # 6 x 32
            block(96, 128, square, (2, 1)),  # 3 x 32
            block(128, 160, (3, 1)),  # 1 x 32
            Residual(160, (1, 5)), Residual(160, (1, 5), reach=NEIGHBOUR),
        )  # fmt: skip
        self.head = nn.Conv2d(160, BLANK + 1, 1)

    def forward(self, crops: Tensor) -> Tensor:
        """Normalise each crop by its own mean and deviation, then read."""
        x = crops.float()
        x = x - x.mean((2, 3), keepdim=True)
        x = x / ((x * x).mean((2, 3), keepdim=True).sqrt() + CONTRAST_FLOOR)
        x = self.head(self.body(x.contiguous(memory_format=torch.channels_last)))
        return x.float().squeeze(2).transpose(1, 2).log_softmax(2)
