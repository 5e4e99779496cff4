"""The cases of the variants: alpha and Gaussian dropout, whole channels, blocks."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from benchmarks.cases import Bar, Case, Contenders
from thinned import functional


def _alpha(n: int) -> Contenders:
    x = torch.randn(n)
    return {
        "thinned": lambda: functional.alpha_dropout(x, 0.1, True),
        "torch": lambda: F.alpha_dropout(x, 0.1, True),
        "clone": x.clone,
    }


def _gaussian(n: int) -> Contenders:
    x = torch.randn(n)
    return {
        "thinned": lambda: functional.gaussian_dropout(x, 0.2),
        "x * normal_": lambda: x * torch.empty_like(x).normal_(1, 0.5),
        "clone": x.clone,
    }


def _channels(layout: torch.memory_format = torch.contiguous_format) -> Contenders:
    x = torch.randn(32, 64, 28, 28).contiguous(memory_format=layout)
    return {
        "thinned": lambda: functional.dropout2d(x, 0.1),
        "torch": lambda: F.dropout2d(x, 0.1),
        "clone": x.clone,
    }


def published_drop_block(x: torch.Tensor, p: float, size: int) -> torch.Tensor:
    """Algorithm 1 of Ghiasi, Lin and Le, one mask for each channel, in plain torch; for odd sizes."""
    height, width = x.shape[-2:]
    valid = (height - size + 1) * (width - size + 1)
    gamma = p * height * width / (size**2 * valid)
    centres = torch.empty(*x.shape[:2], height - size + 1, width - size + 1).bernoulli_(gamma)
    dropped = F.max_pool2d(F.pad(centres, [size // 2] * 4), size, 1, size // 2)
    mask = 1 - dropped
    return x * mask * (mask.numel() / mask.sum())


def _blocks(normalise: str) -> Callable[[], Contenders]:
    def setup() -> Contenders:
        x = torch.randn(32, 64, 28, 28)
        return {
            "thinned": lambda: functional.drop_block2d(x, 0.1, 7, normalise=normalise),
            "plain torch": lambda: published_drop_block(x, 0.1, 7),
        }

    return setup


VARIANTS = [
    Case("alpha dropout 1M", 2, lambda: _alpha(1 << 20), (Bar("torch", "thinned", 15, 30),)),
    Case("Gaussian dropout 1M", 2, lambda: _gaussian(1 << 20), (Bar("x * normal_", "thinned", 1.4, 2),)),
    Case("Gaussian dropout 1M, one thread", 1, lambda: _gaussian(1 << 20), (Bar("x * normal_", "thinned", 1.4, 2),)),
    Case("dropout2d 32 x 64 x 28 x 28", 2, _channels, (Bar("torch", "thinned", 1, 1.5),)),
    Case("dropout2d, channels last", 2, lambda: _channels(torch.channels_last), (Bar("torch", "thinned", 1, 1.5),)),
    Case("DropBlock2d 32 x 64 x 28 x 28", 2, _blocks("rate"), (Bar("plain torch", "thinned", 2, 5),)),
    Case("DropBlock2d, by count", 2, _blocks("count"), (Bar("plain torch", "thinned", 2, 5),)),
]
