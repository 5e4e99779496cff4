"""Attention layers."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as torchs

from thinned import _check, functional, references
from thinned.functional._attention import attention_weights
from thinned.keys import Site


class MultiheadAttention(Site, torch.nn.MultiheadAttention):
    """Multi-head attention whose dropout of attention weights follows the mask law, and keys.

    Takes the place of `torch.nn.MultiheadAttention`, whose subclass it is. Where nothing is dropped its forward is
    torch's.

    Args:
        embed_dim: width of the model.
        num_heads: number of heads, which divides `embed_dim`.
        dropout: probability of an attention weight to be dropped, in [0, 1]; can be assigned later, also as `p`.
        bias: as torch's.
        add_bias_kv: likewise.
        add_zero_attn: likewise.
        kdim: likewise.
        vdim: likewise.
        batch_first: likewise.
        device: likewise.
        dtype: likewise.

    Raises:
        ValueError, TypeError: `dropout` is not a number in [0, 1].

    Examples:
        >>> layer = thinned.nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True)
        >>> x = torch.ones(3, 5, 8)
        >>> output, weights = layer(x, x, x)
        >>> output.shape, weights.shape
        (torch.Size([3, 5, 8]), torch.Size([3, 5, 5]))

    Source: Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser and Polosukhin, "Attention is all you need",
    NeurIPS 2017.
    """

    reference = references.VASWANI_2017
    inplace = False

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        p = _check.probability(dropout, "dropout")
        super().__init__(
            embed_dim, num_heads, p, bias, add_bias_kv, add_zero_attn, kdim, vdim, batch_first, device, dtype
        )

    @property
    def dropout(self) -> float:
        """Probability of an attention weight to be dropped: another name of `p`."""
        return self.p

    @dropout.setter
    def dropout(self, value: Any) -> None:
        self.p = _check.probability(value, "dropout")

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return attention of `query` to `key` and `value`.

        Args:
            query: tensor of shape (L, E), (L, N, E), or (N, L, E) with `batch_first`.
            key: the same with S instead of L, and `kdim` and `vdim` instead of E.
            value: likewise.
            key_padding_mask: bool (true = ignore) or floating (added), of shape (S,) or (N, S).
            need_weights: whether to return the attention weights.
            attn_mask: bool (true = ignore) or floating, of shape (L, S) or (N * num_heads, L, S).
            average_attn_weights: whether to return their mean over the heads.
            is_causal: says that `attn_mask`, which must be given, is causal.

        Returns:
            A tensor like `query`, and the weights, as dropped: (N, L, S), or (N, num_heads, L, S) if not averaged.
        """
        if not self.training or self.p == 0:
            return super().forward(
                query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal
            )
        batched = query.dim() == 3
        if not batched:
            query, key, value = (x.unsqueeze(0) for x in (query, key, value))
            if key_padding_mask is not None:
                key_padding_mask = key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        q, k, v = self._projected(query, key, value)
        n, length = query.shape[:2]
        mask = _mask(attn_mask, q.shape[0], self.num_heads, q.dtype)
        padding = None if key_padding_mask is None else _float(key_padding_mask, q.dtype)[:, None, None]
        extra = k.shape[2] - key.shape[1]  # places that bias_k and add_zero_attn add: open to all
        mask = None if mask is None else torchs.pad(mask, (0, extra))
        padding = None if padding is None else torchs.pad(padding, (0, extra))
        both = padding if mask is None else mask if padding is None else mask + padding
        weights = self._drop(functional.dropout, attention_weights(q, k, both))
        output = self.out_proj((weights @ v).transpose(1, 2).reshape(n, length, self.embed_dim))
        told = (weights.mean(1) if average_attn_weights else weights) if need_weights else None
        if not batched:
            return output.squeeze(0), None if told is None else told.squeeze(0)
        return output if self.batch_first else output.transpose(0, 1), told

    def _projected(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value of shape (N, num_heads, L or S, E / num_heads)."""
        if self._qkv_same_embed_dim:
            matrices = self.in_proj_weight.chunk(3)
        else:
            matrices = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        offsets = (None, None, None) if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        q, k, v = (torchs.linear(x, w, b) for x, w, b in zip(inputs, matrices, offsets, strict=True))
        if self.bias_k is not None and self.bias_v is not None:
            k = torch.cat([k, self.bias_k.transpose(0, 1).expand(len(k), 1, -1)], 1)
            v = torch.cat([v, self.bias_v.transpose(0, 1).expand(len(v), 1, -1)], 1)
        if self.add_zero_attn:
            k, v = (torchs.pad(x, (0, 0, 0, 1)) for x in (k, v))
        q, k, v = (x.reshape(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2) for x in (q, k, v))
        return q, k, v


def _float(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask to be added to the scores; true means ignore."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(mask, -torch.inf)


def _mask(mask: Tensor | None, n: int, heads: int, dtype: torch.dtype) -> Tensor | None:
    if mask is None:
        return None
    mask = _float(mask, dtype)
    return mask if mask.dim() == 2 else mask.reshape(n, heads, *mask.shape[1:])
