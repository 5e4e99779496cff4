"""Attention whose dropout obeys `training`, and the mask law."""

import math

import torch
from torch import Tensor

from thinned import _check
from thinned.functional._dropout import dropout
from thinned.masks import Window
from thinned.redraw import Word


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    training: bool = True,
    seed: Word | None = None,
    stream: Word = 0,
    generator: torch.Generator | None = None,
    window: Window | None = None,
) -> Tensor:
    """Return softmax(query key^T / sqrt(E)) value, with dropout of the attention weights while training.

    torch's function of this name drops whenever `dropout_p` is not 0, in eval mode too. This one has `training`. Where
    nothing is dropped it is torch's, with its fast kernels; where something is, the weights are held in memory.

    Args:
        query: tensor of shape (N, ..., L, E).
        key: tensor of shape (N, ..., S, E).
        value: tensor of shape (N, ..., S, Ev).
        attn_mask: bool (true = take part) or floating (added to the scores), broadcasts to (N, ..., L, S).
        dropout_p: probability of an attention weight to be dropped, in [0, 1].
        is_causal: whether position l attends to positions up to l only.
        scale: factor of the scores; 1 / sqrt(E) by default.
        enable_gqa: whether each head of `key` and `value` serves several heads of `query` (axis -3).
        training: drop only if true.
        seed: as in `dropout`, for the weights of shape (N, ..., L, S).
        stream: likewise.
        generator: likewise.
        window: likewise.

    Returns:
        Tensor of shape (N, ..., L, Ev). A row that may attend to nothing is 0.

    Raises:
        ValueError, TypeError: as `dropout`.

    Examples:
        >>> q = torch.ones(1, 2, 4)
        >>> thinned.functional.scaled_dot_product_attention(q, q, q, dropout_p=0.5, seed=3)[0, :, 0]
        tensor([2., 1.])
    """
    if not training or _check.probability(dropout_p, "dropout_p") == 0:
        return torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    weights = attention_weights(query, key, attn_mask, is_causal, scale, enable_gqa)
    thin = dropout(weights, dropout_p, seed=seed, stream=stream, generator=generator, window=window)
    return thin @ attention_values(value, query, enable_gqa)


def attention_weights(
    query: Tensor,
    key: Tensor,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return softmax(query key^T / sqrt(E)), in at least float32 inside.

    Args:
        query: as in `scaled_dot_product_attention`.
        key: likewise.
        attn_mask: likewise.
        is_causal: likewise.
        scale: likewise.
        enable_gqa: likewise.

    Returns:
        Tensor of shape (N, ..., L, S), whose rows sum to 1; a row that may attend to nothing is 0.

    Examples:
        >>> q = torch.ones(2, 4)
        >>> attention_weights(q, q, is_causal=True)
        tensor([[1.0000, 0.0000],
                [0.5000, 0.5000]])
    """
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * factor) @ attention_values(key, query, enable_gqa).transpose(-2, -1)
    if is_causal:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~allowed, -math.inf)
    if attn_mask is not None:
        bools = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -math.inf) if bools else scores + attn_mask
    wide = torch.float32 if scores.dtype in (torch.float16, torch.bfloat16) else scores.dtype
    weights = torch.softmax(scores, -1, dtype=wide)
    if attn_mask is not None:  # softmax makes nan of a row without any allowed place
        weights = weights.masked_fill((scores == -math.inf).all(-1, keepdim=True), 0.0)
    return weights.to(query.dtype)


def attention_values(value: Tensor, query: Tensor, enable_gqa: bool) -> Tensor:
    """Return `value` (or `key`) with as many heads as `query` has.

    Args:
        value: as in `scaled_dot_product_attention`.
        query: likewise.
        enable_gqa: likewise.

    Returns:
        `value` itself without `enable_gqa`.

    Examples:
        >>> attention_values(torch.ones(2, 3, 4), torch.ones(6, 3, 4), True).shape
        torch.Size([6, 3, 4])
    """
    return value.repeat_interleave(query.shape[-3] // value.shape[-3], dim=-3) if enable_gqa else value
