"""The detector's network: centres of plates as a heat map, corners in two steps.

A plate's cell (CenterNet, arXiv:1904.07850) says how wide the plate is and where its corners lie
in shares of that width. Then the cell under each such corner says where exactly the corner is:
it sees the edges themselves, so large plates lose no precision. Asking a second time, at the
better place, helps large plates once more.
"""

import torch
from torch import Tensor, nn

STEM = 10
"""Channels of the first convolution: the one that costs most."""
STRIDE = 8
PADDING = 32
"""Height and width of a picture are multiples of this."""
TOP_K = 32
BASE_WIDTH_PX = 64.0
HEAT, WIDTH, COARSE, FINE = slice(0, 1), slice(1, 2), slice(2, 10), slice(10, 18)
"""Channels of the output; COARSE and FINE hold x, y of TL, TR, BR, BL."""
NEVER = -4.6
"""Bias of the heat map before training: one cell in a hundred is a plate."""


def conv(inward: int, outward: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a convolution with batch normalisation and rectification."""
    inner = nn.Conv2d(inward, outward, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(inner, nn.BatchNorm2d(outward), nn.ReLU())


def separable(inward: int, outward: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a convolution per channel followed by one across channels."""
    return nn.Sequential(conv(inward, inward, size, stride, inward), conv(inward, outward, 1))


class Residual(nn.Module):
    """A separable convolution added to its input."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.inner = separable(channels, channels, size)

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape (B, C, h, w)."""
        return x + self.inner(x)


class Detector(nn.Module):
    """The network without decoding: pictures in, maps out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(1, STEM, 3, 2), conv(STEM, 24, 3, 2))
        self.eighth = nn.Sequential(conv(24, 40, 3, 2), Residual(40, 3))
        self.sixteenth = nn.Sequential(separable(40, 72, 3, 2), Residual(72, 5), Residual(72, 5))
        self.rest = nn.Sequential(
            separable(72, 112, 5, 2), Residual(112, 5), Residual(112, 5), conv(112, 72, 1)
        )
        self.merge = separable(72, 40)
        self.head = nn.Sequential(separable(40, 64), separable(64, 64), nn.Conv2d(64, 18, 1))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        nn.init.constant_(self.head[-1].bias, 0.0)
        nn.init.constant_(self.head[-1].bias[HEAT], NEVER)

    def forward(self, image: Tensor) -> Tensor:
        """Return maps (B, 18, h / 8, w / 8) of pictures (B, 1, h, w) with values 0 to 255."""
        eighth = self.eighth(self.stem(image / 127.5 - 1.0))
        sixteenth = self.sixteenth(eighth)
        sixteenth = sixteenth + self.up(self.rest(sixteenth))
        return self.head(eighth + self.up(self.merge(sixteenth)))


class Decoded(nn.Module):
    """The network with peak picking and both corner steps: what is exported."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (K,) and corners (K, 4, 2) in pixels of one uint8 picture (1, 1, h, w)."""
        maps = self.detector(image.to(torch.float32))[0]
        heat = maps[HEAT].sigmoid()
        peaks = heat * (nn.functional.max_pool2d(heat[None], 5, 1, 2)[0] == heat)
        scores, cells = peaks.flatten().topk(TOP_K)
        near = refine(maps, coarse_corners(maps, cells))
        return scores, refine(maps, near)


def coarse_corners(maps: Tensor, cells: Tensor) -> Tensor:
    """Return corners (N, 4, 2) that the maps (18, h, w) foretell at flat cell numbers (N,)."""
    columns = maps.shape[-1]
    flat = maps.flatten(1)
    centres = torch.stack([cells % columns, cells // columns], -1).to(torch.float32)
    widths = flat[WIDTH][0][cells].exp() * BASE_WIDTH_PX
    shares = flat[COARSE].transpose(0, 1)[cells].reshape(-1, 4, 2)
    return (centres[:, None] + 0.5) * STRIDE + shares * widths[:, None, None]


def refine(maps: Tensor, corners: Tensor) -> Tensor:
    """Return corners (N, 4, 2) moved to where the cells beneath them see the corners.

    Corners outside the picture stay. No corner moves by more than an eighth of the plate's width.
    """
    rows, columns = maps.shape[-2], maps.shape[-1]
    at = (corners / STRIDE).floor()
    x = at[..., 0].clamp(0, columns - 1)
    y = at[..., 1].clamp(0, rows - 1)
    inside = ((x == at[..., 0]) & (y == at[..., 1]))[..., None]
    flat = maps[FINE].reshape(4, 2, -1).permute(0, 2, 1).reshape(-1, 2)
    first = torch.arange(4) * (rows * columns)
    offset = flat[(y * columns + x).to(torch.int64) + first]
    fine = (torch.stack([x, y], -1) + 0.5 + offset) * STRIDE
    limit = (corners[:, 1:2] - corners[:, 0:1]).abs().sum(-1, keepdim=True) / 8
    step = torch.minimum(torch.maximum(fine - corners, -limit), limit)
    return corners + step * inside
