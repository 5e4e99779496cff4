"""Gradients that are zero outside a submatrix."""

import cmath
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from thinned import submatrix
from thinned.submatrix import Place

aten = torch.ops.aten


class _State:
    """What a gradient holds: a block and its place, or, once `dense` is there, that alone."""

    __slots__ = ("block", "dense", "place")

    def __init__(self, block: Tensor | None, place: Place | None, dense: Tensor | None = None) -> None:
        self.block, self.place, self.dense = block, place, dense


class SubmatrixGrad(Tensor):
    """A gradient of a parameter's full shape that is zero outside chosen rows and columns, and stores the rest.

    It stands in `parameter.grad` as any gradient does. What training does with gradients keeps it sparse: adding
    another one of the same place, scaling, norms, clipping, unscaling by a GradScaler, `thinned.optim`. Under any
    other operation it turns into an ordinary gradient, in place, and goes on as that.

    Args:
        parameter: the tensor whose gradient it is; shape, strides, dtype and device are taken from it.
        block: the values of the submatrix.
        place: where it is.

    Examples:
        >>> weight = torch.zeros(2, 3)
        >>> place = thinned.submatrix.Place(weight, rows=torch.tensor([1]), columns=torch.tensor([0, 2]))
        >>> grad = SubmatrixGrad(weight, torch.ones(1, 2), place)
        >>> grad.shape, grad.block
        (torch.Size([2, 3]), tensor([[1., 1.]]))
        >>> grad + 0
        tensor([[0., 0., 0.],
                [1., 0., 1.]])
        >>> grad.block is None
        True

    Source: the idea of updating nothing but the thinned network is that of Graham, Reizenstein and Robinson, "Efficient
    batchwise dropout training using submatrices", 2015.
    """

    _state: _State

    @staticmethod
    def __new__(cls, parameter: Tensor, block: Tensor, place: Place) -> "SubmatrixGrad":
        return cls._of(parameter, _State(block, place))

    def __init__(self, parameter: Tensor, block: Tensor, place: Place) -> None:
        """Everything is done in `__new__`, as torch's subclasses do."""

    @classmethod
    def _of(cls, like: Tensor, state: _State) -> "SubmatrixGrad":
        made: SubmatrixGrad = Tensor._make_wrapper_subclass(
            cls, like.shape, strides=like.stride(), dtype=like.dtype, device=like.device
        )
        made._state = state
        return made

    @property
    def block(self) -> Tensor | None:
        """The values at the place; None once the gradient is dense."""
        return self._state.block

    @property
    def place(self) -> Place | None:
        """Where the block is; None once the gradient is dense."""
        return self._state.place

    def dense(self) -> Tensor:
        """Return the gradient as an ordinary tensor, and be that from now on: the memory is shared.

        Returns:
            A plain tensor of the full shape.

        Examples:
            >>> vector = torch.zeros(3)
            >>> place = thinned.submatrix.Place(vector, rows=torch.tensor([2]))
            >>> SubmatrixGrad(vector, torch.ones(1), place).dense()
            tensor([0., 0., 1.])
        """
        state = self._state
        if state.dense is None:
            state.dense, state.block, state.place = self._scattered(), None, None
        return state.dense

    def _scattered(self) -> Tensor:
        block, place = self._state.block, self._state.place
        assert block is not None
        assert place is not None
        dense = torch.empty_strided(self.shape, self.stride(), dtype=self.dtype, device=self.device).zero_()
        submatrix.scatter_add(dense, block, place)
        return dense

    def same_place(self, other: object) -> bool:
        """Tell whether another gradient has its block at the same place.

        Args:
            other: anything.

        Returns:
            True if both are sparse and have the same rows and columns.

        Examples:
            >>> vector = torch.zeros(3)
            >>> place = thinned.submatrix.Place(vector, rows=torch.tensor([2]))
            >>> SubmatrixGrad(vector, torch.ones(1), place).same_place(vector)
            False
        """
        return isinstance(other, SubmatrixGrad) and self.place is not None and self.place == other.place

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        if self.block is None:
            return f"SubmatrixGrad(dense, {self.dense()!r})"
        place = " x ".join(map(str, self.block.shape))
        return f"SubmatrixGrad({place} of {' x '.join(map(str, self.shape))}, {self.block!r})"

    @property
    def data(self) -> "SubmatrixGrad":
        """The same gradient; what is assigned takes its place, as `Module.to` does it when it casts."""
        return self.detach()  # type: ignore[return-value]

    @data.setter
    def data(self, value: Tensor) -> None:
        Tensor.data.__set__(self, value)  # type: ignore[attr-defined]  # shape, strides and dtype
        self._state = value._state if isinstance(value, SubmatrixGrad) else _State(None, None, value)

    def numpy(self, *, force: bool = False) -> Any:
        """Return the dense gradient as an array, which torch refuses to do for subclasses.

        Args:
            force: as for `torch.Tensor.numpy`.

        Returns:
            Array of the full shape.
        """
        return self.dense().numpy(force=force)

    def tolist(self) -> Any:
        """Return the dense gradient as nested lists.

        Returns:
            Python numbers in lists of lists.
        """
        return self.dense().tolist()

    def __deepcopy__(self, memo: dict[int, Any]) -> "SubmatrixGrad":
        block, dense = (None if part is None else part.clone() for part in (self._state.block, self._state.dense))
        copy = self._of(self, _State(block, self.place, dense))
        memo[id(self)] = copy
        return copy

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.dense().__reduce_ex__(protocol)

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        known = _KNOWN.get(func)
        if known is not None:
            result = known(func, args, kwargs or {})
            if result is not NotImplemented:
                return result
        return _on_dense(func, args, kwargs or {})


def _on_dense(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Turn the gradients among the arguments dense and go on with them; what is written stays the same object."""
    seen: dict[int, SubmatrixGrad] = {}

    def dense(value: Any) -> Any:
        if isinstance(value, SubmatrixGrad):
            seen.setdefault(id(value.dense()), value)  # of those that share a state, what is written comes first
            return value.dense()
        return value

    result = func(*torch.utils._pytree.tree_map(dense, args), **torch.utils._pytree.tree_map(dense, kwargs))
    return torch.utils._pytree.tree_map(lambda value: seen.get(id(value), value), result)


Handler = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]


def _share(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ARG001
    return SubmatrixGrad._of(args[0], args[0]._state)


def _clone(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return a plain tensor, so that no state of an optimizer that is made of a gradient becomes one of these."""
    grad, form = args[0], kwargs.get("memory_format")
    if grad.block is None:
        return func(grad.dense(), **kwargs)
    dense = grad._scattered()
    return dense if form in (None, torch.preserve_format) else dense.contiguous(memory_format=form)


_DIVISIONS = {aten.div.Tensor, aten.div_.Tensor, aten._foreach_div_.Scalar, aten._foreach_div_.Tensor}


def _keeps_zeros(func: Any, number: Any) -> bool:
    """Tell whether a factor or divisor is one number, and zero times or by it is zero."""
    if isinstance(number, Tensor):
        if isinstance(number, SubmatrixGrad) or number.numel() != 1 or number.dim() > 1:
            return False
        number = number.item()
    return number != 0 and not cmath.isnan(number) if func in _DIVISIONS else cmath.isfinite(number)


def _scale(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Multiply or divide by one number that leaves zeros zero."""
    grad, number = args
    if not isinstance(grad, SubmatrixGrad) or grad.block is None or kwargs or not _keeps_zeros(func, number):
        return NotImplemented
    block = func(grad.block, number)
    if block is grad.block:
        return grad
    if block.dtype != grad.dtype:
        return NotImplemented
    return SubmatrixGrad._of(grad, _State(block, grad.place))


def _add(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    grad, other = args
    if not isinstance(grad, SubmatrixGrad) or not isinstance(other, SubmatrixGrad) or grad.dtype != other.dtype:
        return NotImplemented
    if not grad.same_place(other):
        return _take_over(func, grad, other, kwargs)
    block = func(grad.block, other.block, **kwargs)
    return grad if block is grad.block else SubmatrixGrad._of(grad, _State(block, grad.place))


def _take_over(func: Any, grad: "SubmatrixGrad", other: "SubmatrixGrad", kwargs: dict[str, Any]) -> Any:
    """Add to what `zero_grad(set_to_none=False)` has left: zeros at the place of a former step."""
    if func is not aten.add_.Tensor or kwargs or other.block is None or grad.block is None or grad.block.any():
        return NotImplemented
    grad._state.block, grad._state.place = other.block.clone(), other.place
    return grad


def _zero(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ARG001
    state = args[0]._state
    (state.dense if state.block is None else state.block).zero_()
    return args[0]


def values(grads: Sequence[Tensor]) -> list[Tensor]:
    """Return what the gradients hold: blocks where they are sparse."""
    return [
        grad if not isinstance(grad, SubmatrixGrad) else grad.dense() if grad.block is None else grad.block
        for grad in grads
    ]


def _norm(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The zeros outside the block add nothing to a norm of positive order."""
    grad, order, *others = (*args, 2)
    if not isinstance(grad, SubmatrixGrad) or order is None or not order > 0 or others[:-1]:
        return NotImplemented
    return func(*values([grad]), order, **kwargs)


def _foreach_norm(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    grads, order = (*args, 2)[:2]
    return func(values(grads), order, **kwargs) if order > 0 else NotImplemented


def _foreach_in_place(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Of one list of gradients and a number, if any, that is the same for all of them."""
    grads, *numbers = args
    if not all(_keeps_zeros(func, number) for number in numbers):
        return NotImplemented
    func(values(grads), *numbers, **kwargs)
    return None


def _unscale(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Look for inf and nan in the blocks, and multiply by what a GradScaler's scale allows for: a finite number."""
    grads, *numbers = args
    func(values(grads), *numbers, **kwargs)


_KNOWN: dict[Any, Handler] = {
    aten.detach.default: _share,
    aten.alias.default: _share,
    aten.clone.default: _clone,
    aten.add.Tensor: _add,
    aten.add_.Tensor: _add,
    aten.mul.Tensor: _scale,
    aten.mul_.Tensor: _scale,
    aten.div.Tensor: _scale,
    aten.div_.Tensor: _scale,
    aten.zero_.default: _zero,
    aten.linalg_vector_norm.default: _norm,
    aten.norm.Scalar: _norm,
    aten._foreach_norm.Scalar: _foreach_norm,
    aten._foreach_mul_.Scalar: _foreach_in_place,
    aten._foreach_mul_.Tensor: _foreach_in_place,
    aten._foreach_div_.Scalar: _foreach_in_place,
    aten._foreach_div_.Tensor: _foreach_in_place,
    aten._foreach_zero_.default: _foreach_in_place,
    aten._amp_foreach_non_finite_check_and_unscale_.default: _unscale,
}
