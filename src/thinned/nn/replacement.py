"""Dropout that puts another value in the place of what it drops."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from thinned import functional, references
from thinned._errors import RangeError
from thinned.functional._ragged import Ids, checked_id
from thinned.functional._replacement import POSITIONS, Replacement, checked, checked_positions
from thinned.keys import Site


class _SparseDropout(Site, torch.nn.Module):
    """What the two layers on ids share: their arguments, and the four forms of ids."""

    rowwise = False  # ids of one example after another
    reference = references.CAFFE2

    def __init__(self, p: float = 0.5, replacement_value: int = 0, *, include_last_offset: bool = False) -> None:
        super().__init__()
        self.p = p
        self.replacement_value = checked_id(replacement_value)
        self.include_last_offset = include_last_offset

    def _replace(
        self,
        function: Callable[..., Any],
        values: Ids,
        lengths: Tensor | None,
        offsets: Tensor | None,
        count: Callable[[], int],
    ) -> Any:
        words: dict[str, Any] = {}
        if self._key is not None and self.training and 0.0 < self.p < 1.0:
            words = dict(zip(("seed", "stream", "window"), self._key.take(torch.Size((count(),))), strict=True))
        return function(
            values,
            lengths,
            self.p,
            self.training,
            offsets=offsets,
            include_last_offset=self.include_last_offset,
            replacement_value=self.replacement_value,
            **words,
        )

    def extra_repr(self) -> str:
        """Return the layer's arguments.

        Returns:
            What stands between the parentheses of the layer's `repr`.
        """
        last = ", include_last_offset=True" if self.include_last_offset else ""
        return f"p={self.p}, replacement_value={self.replacement_value}{last}"


class SparseDropoutWithReplacement(_SparseDropout):
    """Replace all ids of an example by one `replacement_value`, with probability `p` for each example, while training.

    Put it before `torch.nn.EmbeddingBag`; then the model learns, in the row of the replacement value, what to do for an
    example whose feature is missing.

    Args:
        p: probability of an example to be replaced, in [0, 1]; can be assigned later.
        replacement_value: the one id that a dropped example has afterwards, also if it was empty.
        include_last_offset: offsets have one entry more, the end of the last example, as in `torch.nn.EmbeddingBag`.

    Raises:
        ValueError, TypeError: `p` is not a number in [0, 1], or `replacement_value` no 64-bit integer.

    Examples:
        >>> layer = thinned.nn.SparseDropoutWithReplacement(0.5, replacement_value=9)
        >>> layer
        SparseDropoutWithReplacement(p=0.5, replacement_value=9)
        >>> bag = torch.nn.EmbeddingBag(10, 4)
        >>> bag(*layer(torch.tensor([1, 2, 3, 4, 5]), offsets=torch.tensor([0, 2]))).shape
        torch.Size([2, 4])

    Source: the operator of this name in Caffe2, 2019.
    """

    def forward(self, values: Ids, lengths: Tensor | None = None, offsets: Tensor | None = None) -> Any:
        """Return the examples with some replaced, in the form in which they were given.

        Args:
            values: int32 or int64 ids, shape (items,), beside lengths or offsets; or a jagged nested tensor; or a list
                of tensors.
            lengths: shape (examples,).
            offsets: shape (examples,), or one more with `include_last_offset`.

        Returns:
            (values, lengths), (values, offsets), a nested tensor or a list; in eval mode the very same objects.
        """

        def examples() -> int:
            if lengths is not None:
                return lengths.numel()
            if offsets is not None:
                return offsets.numel() - self.include_last_offset
            return len(values) if not isinstance(values, Tensor) else values.size(0)

        return self._replace(functional.sparse_dropout_with_replacement, values, lengths, offsets, examples)


class SparseItemwiseDropoutWithReplacement(_SparseDropout):
    """Replace each id by `replacement_value` with probability `p` while training; examples keep their lengths.

    Args:
        p: probability of an id to be replaced, in [0, 1]; can be assigned later.
        replacement_value: what stands in its place afterwards.
        include_last_offset: offsets have one entry more, the end of the last example, as in `torch.nn.EmbeddingBag`.

    Raises:
        ValueError, TypeError: `p` is not a number in [0, 1], or `replacement_value` no 64-bit integer.

    Examples:
        >>> _ = torch.manual_seed(0)
        >>> layer = thinned.nn.SparseItemwiseDropoutWithReplacement(0.5, replacement_value=-1)
        >>> sum(example.numel() for example in layer([torch.tensor([1, 2, 3]), torch.tensor([4])]))
        4

    Source: the operator of this name in Caffe2, 2021.
    """

    def forward(self, values: Ids, lengths: Tensor | None = None, offsets: Tensor | None = None) -> Any:
        """Return the examples with some ids replaced, in the form in which they were given.

        Args:
            values: int32 or int64 ids, shape (items,), beside lengths or offsets; or a jagged nested tensor; or a list
                of tensors.
            lengths: shape (examples,).
            offsets: shape (examples,), or one more with `include_last_offset`.

        Returns:
            (values, lengths), (values, offsets), a nested tensor or a list; in eval mode the very same objects.

        Raises:
            ValueError: the model was keyed for a part of a batch: the part's place among all values is not known.
        """
        key = self._key
        if key is not None and key.numbers[4]:
            raise RangeError(
                f"The itemwise dropout at {key.path!r} must not be keyed with `batch`, because how many values stand "
                f"before this part is not known; call the function with a `window`."
            )

        def items() -> int:
            if isinstance(values, Tensor):
                return values.values().numel() if values.is_nested else values.numel()
            return sum(example.numel() for example in values)

        return self._replace(functional.sparse_itemwise_dropout_with_replacement, values, lengths, offsets, items)


class ReplacementDropout(Site, torch.nn.Module):
    """Put another value in the place of each element with probability `p` while training; nothing is scaled.

    Args:
        p: probability of an element to be replaced, in [0, 1]; can be assigned later.
        inplace: write into the input; not for sparse tensors.
        replacement: a number; "mean" or "median" of the non-zero elements of the input; a tensor that broadcasts to the
            input, for instance one value a feature, kept as a buffer; or a `torch.nn.Parameter`, which is trained.
        positions: for sparse tensors, whether "stored" values alone or "all" positions can be replaced.

    Raises:
        ValueError, TypeError: `p` is not a number in [0, 1]; an unknown word, or a replacement of a wrong kind.

    Examples:
        >>> learned = torch.nn.Parameter(torch.zeros(3))
        >>> layer = thinned.nn.ReplacementDropout(0.2, replacement=learned)
        >>> layer
        ReplacementDropout(p=0.2, inplace=False, replacement=Parameter of shape (3,))
        >>> layer(torch.ones(5, 3)).sum().backward()
        >>> learned.grad.shape
        torch.Size([3])

    Source: Vincent, Larochelle, Lajoie, Bengio and Manzagol, "Stacked denoising autoencoders: learning useful
    representations in a deep network with a local denoising criterion", JMLR 11, 2010 (masking and salt-and-pepper
    noise).
    """

    reference = references.VINCENT_2010

    replacement: Replacement

    def __init__(
        self,
        p: float = 0.5,
        inplace: bool = False,
        *,
        replacement: Replacement = 0.0,
        positions: str = "stored",
    ) -> None:
        super().__init__()
        self.p = p
        self.inplace = inplace
        self.positions = checked_positions(positions)
        if isinstance(replacement, Tensor) and not isinstance(replacement, torch.nn.Parameter):
            self.register_buffer("replacement", replacement)
        else:
            self.replacement = checked(replacement)

    def forward(self, input: Tensor) -> Tensor:
        """Return `input` with some elements replaced.

        Args:
            input: floating or complex tensor of any shape; dense, or sparse in COO or CSR form.

        Returns:
            A tensor like `input`; `input` itself in eval mode.
        """
        options = {"replacement": self.replacement, "positions": self.positions}
        return self._drop(functional.replacement_dropout, input, **options)

    def extra_repr(self) -> str:
        """Return the layer's arguments.

        Returns:
            What stands between the parentheses of the layer's `repr`.
        """
        value = self.replacement
        told = f"{type(value).__name__} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        where = f", positions={self.positions!r}" if self.positions != POSITIONS[0] else ""
        return f"p={self.p}, inplace={self.inplace}, replacement={told}{where}"
