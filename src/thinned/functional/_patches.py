"""Dropping tokens from a sequence of patches, so that a transformer computes less."""

import torch
from torch import Tensor

from thinned import _check, redraw
from thinned._errors import RangeError
from thinned.functional._arguments import randomness
from thinned.kernels import tensor as _tensor
from thinned.masks import Window, units_kept
from thinned.redraw import Word


def patch_dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    prefix_tokens: int = 1,
    ordered: bool = True,
    *,
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
) -> Tensor:
    """Keep a fixed number of the patches of each sample, chosen at random, and leave the others out.

    Of n patches, ``Mask(p, seed).units(n, groups=N)`` are kept; nothing is scaled. Do it before the position of a patch
    is lost: after the position embedding is added.

    Args:
        input: floating or complex tensor of shape (N, L, ...): L tokens, the first of which may be no patches.
        p: share of the patches to be dropped, in [0, 1]; at least one is kept.
        training: drop only if true.
        prefix_tokens: number of tokens at the front that are always kept, such as a class token.
        ordered: keep the patches in their order; otherwise shuffle them.
        seed: as in `dropout`; a window may split the batch alone.
        stream: likewise.
        generator: likewise.
        window: likewise.

    Returns:
        Tensor of shape (N, prefix_tokens + k, ...); `input` itself if nothing is to be dropped.

    Raises:
        ValueError, TypeError: as `dropout`; no patches; a negative number of prefix tokens.

    Examples:
        >>> x = torch.arange(7.0).view(1, 7, 1)
        >>> thinned.functional.patch_dropout(x, 0.5, seed=0).flatten()
        tensor([0., 1., 2., 6.])

    Source: Liu, Matsoukas, Strand, Azizpour and Smith, "PatchDropout: economizing vision transformers using patch
    dropout", WACV 2023.
    """
    p = _check.probability(p)
    prefix = _check.sizes((prefix_tokens,), "prefix_tokens")[0]
    if not training or p == 0:
        return input
    r = randomness(input, seed, stream, generator, window)
    if input.dim() < 2 or input.shape[1] <= prefix:
        raise RangeError(
            f"`input` of patch_dropout must be of shape (N, L, ...) with more than {prefix} tokens, but got shape "
            f"{tuple(input.shape)}."
        )
    patches = input.shape[1] - prefix
    k = units_kept(patches, p)
    row = torch.arange(input.shape[0], device=input.device).unsqueeze(1)
    index = (row + redraw.offset(r.window)) * patches + torch.arange(patches, device=input.device)
    word = _tensor.words(index, *r.draw(input))
    kept = torch.argsort(word, dim=1, descending=True, stable=True)[:, :k]  # among equals the lower index comes first
    chosen = (kept.sort(dim=1).values if ordered else kept) + prefix
    always = torch.arange(prefix, device=input.device).expand(input.shape[0], prefix)
    return input[row, torch.cat((always, chosen), dim=1)]
