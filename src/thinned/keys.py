"""Keys: each dropout site's randomness as a function of where it is in the model, not of what ran before.

The law of keys is part of the mask law (``docs/spec/mask-law.md``). A key is state of the model until the next `keyed`.
"""

import functools
import hashlib
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinned import _check
from thinned._errors import KindError, RangeError, ReplayError
from thinned.kernels import cpu
from thinned.masks import Window
from thinned.ops import HIGHEST, PENDING
from thinned.philox import LOW, philox4x32

DRAWS = 65536  # draws that one use of a site may make; call c starts at stream c * DRAWS

Words = tuple[int, int, Window | None]  # seed, stream, window

# Modules that only wrap another one. They are known by type, never by name; a type is looked up only where its module
# has been imported already, because torch's compiler and its distributed parts take long to import.
WRAPPERS = (
    ("torch.nn.parallel.distributed", "DistributedDataParallel", "module"),
    ("torch._dynamo.eval_frame", "OptimizedModule", "_orig_mod"),
    ("torch.distributed.fsdp.fully_sharded_data_parallel", "FullyShardedDataParallel", "_fsdp_wrapped_module"),
    ("torch.distributed.algorithms._checkpoint.checkpoint_wrapper", "ActivationWrapper", "_checkpoint_wrapped_module"),
)


def site_seed(seed: int, step: int, path: str) -> int:
    """Return the seed that a key gives to the site at `path`.

    Args:
        seed: unsigned 64-bit seed of the run.
        step: unsigned 64-bit number of the step.
        path: the site's name, relative to the model that is keyed.

    Returns:
        Unsigned 64-bit integer.

    Examples:
        >>> site_seed(1234, 10, "layers.3.ffn.dropout")
        6194682569744055801
    """
    return cpu.site_seeds(seed, step, [_site(path)])[0]


@functools.lru_cache(maxsize=4096)
def _site(path: str) -> int:
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "little")


def step_seeds(seed: int, steps: NDArray[np.uint64], path: str) -> NDArray[np.uint64]:
    """Return the seeds that a key gives to the site at `path` in each of several steps.

    Args:
        seed: unsigned 64-bit seed of the run.
        steps: numbers of the steps, of shape (n,).
        path: the site's name, relative to the model that is keyed.

    Returns:
        Array of shape (n,).

    Examples:
        >>> int(step_seeds(1234, np.arange(11, dtype=np.uint64), "layers.3.ffn.dropout")[10])
        6194682569744055801
    """
    counter = np.empty((len(steps), 4), np.uint32)
    counter[:, 0], counter[:, 1] = steps & np.uint64(LOW), steps >> np.uint64(32)
    counter[:, 2], counter[:, 3] = _site(path) & LOW, _site(path) >> 32
    words = philox4x32(counter, np.array([seed & LOW, seed >> 32], np.uint32)).astype(np.uint64)
    return words[:, 0] | words[:, 1] << np.uint64(32)


@functools.lru_cache(maxsize=4096)
def _window(path: str, shape: tuple[int, ...], start: int, stop: int, total: int) -> Window:
    rows, rest = divmod(shape[0] if shape else 0, stop - start)
    if rest or not rows:
        raise RangeError(
            f"`batch` says that this is rows {start} to {stop} of {total}, so the input of the dropout at "
            f"{path!r} must have a multiple of {stop - start} rows, but got shape {shape}."
        )
    zeros = (0,) * (len(shape) - 1)
    return Window((rows * total, *shape[1:]), (rows * start, *zeros))


def _ambiguous(path: str, calls: int) -> ReplayError:
    return ReplayError(
        f"The dropout at {path!r} is recomputed in backward, but it was used {calls} times since `keyed`, so which use "
        f"is meant cannot be known. Pass `context_fn=thinned.checkpoint_context` to `checkpoint` (with "
        f"`use_reentrant=False`), or key the model before each forward."
    )


class _Pending:
    """Lives as long as a forward under one key still waits for its backward."""

    __slots__ = ("__weakref__",)


class Key:
    """The key of one site: an int64 tensor (seed, calls, start, stop, total), changed in place.

    It is a tensor so that a compiled graph reads and counts it as data; eager code goes through a view of its memory.
    `total` is 0 where the batch is not split.

    Args:
        path: the site's name, for messages.
        state: the five numbers.
    """

    def __init__(self, path: str, state: Tensor) -> None:
        self.path = path
        self.state = state
        self.numbers = memoryview(state.numpy())  # type: ignore[arg-type]
        self.pending = _Pending()
        self.former: list[weakref.ref[_Pending]] = []

    def __reduce__(self) -> tuple[Any, ...]:  # for pickle and deepcopy: a view of memory has neither
        return Key, (self.path, self.state.clone())

    def renew(self, path: str, numbers: tuple[int, ...]) -> None:
        """Take over a new key, and remember whether forwards under the old one are pending."""
        self.path = path
        for place, number in enumerate(numbers):
            self.numbers[place] = number
        old, self.pending = weakref.ref(self.pending), _Pending()
        self.former = [ref for ref in [*self.former, old] if ref() is not None]

    def take(self, shape: torch.Size | None) -> Words:
        """Return seed, stream and window of the site's next use; inside backward, of the use that is being repeated.

        Without a shape what is drawn does not belong to rows of a batch, and there is no window.
        """
        contexts: _Contexts | None = getattr(_local, "contexts", None)
        if contexts is None:
            return self._next(shape)
        words = contexts.replay.take(self) if contexts.replay else self._next(shape)
        for log in contexts.logs:
            log.setdefault(self, []).append(words)
        return words

    def _next(self, shape: torch.Size | None) -> Words:
        numbers = self.numbers
        call = numbers[1]
        if torch._C._current_graph_task_id() == -1:
            numbers[1] = call + 1
        else:
            self._check_replay(call)
            call -= 1
        return numbers[0] & HIGHEST, call * DRAWS, self._window(shape) if numbers[4] and shape is not None else None

    def _check_replay(self, calls: int) -> None:
        if any(ref() is not None for ref in self.former):
            raise ReplayError(
                f"The dropout at {self.path!r} is recomputed in backward, but the model was keyed again while a "
                f"forward under the former key was still waiting for its backward. Run backward before the next "
                f"`keyed`, or pass `context_fn=thinned.checkpoint_context` to `checkpoint`."
            )
        if calls != 1:
            raise _ambiguous(self.path, calls)

    def _window(self, shape: torch.Size) -> Window:
        return _window(self.path, tuple(shape), *self.numbers[2:5])


class Site:
    """What all dropout layers share: a checked `p`, and a key if the model was keyed."""

    training: bool
    inplace: bool
    rowwise = True  # what the layer draws for has the rows of the batch along axis 0
    _p: float = 0.0
    _key: Key | None = None

    @property
    def p(self) -> float:
        """Probability of an element to be dropped."""
        return self._p

    @p.setter
    def p(self, value: Any) -> None:
        self._p = self._checked(value)

    @staticmethod
    def _checked(p: Any) -> float:
        return _check.probability(p)

    def _drop(self, function: Callable[..., Tensor], input: Tensor, **options: Any) -> Tensor:
        """Call the function of a layer that has `p` and `inplace`."""
        return self._draw(function, input, 0.0 < self._p < 1.0, p=self._p, inplace=self.inplace, **options)

    def _draw(self, function: Callable[..., Tensor], input: Tensor, random: bool, **options: Any) -> Tensor:
        """Call the layer's function, with the randomness of the key if there is one and if it is random at all."""
        key: Key | None = self._key
        if key is None or not self.training or not random:
            return function(input, training=self.training, **options)
        window: Window | Tensor | None
        if torch.compiler.is_compiling():
            shape = input.shape if self.rowwise else ()
            seed, stream, whole = torch.ops.thinned.take(key.state, shape, key.path)
            window = whole if self.rowwise else None
            return function(input, training=True, seed=seed, stream=stream, window=window, **options)
        if input.is_cuda and torch.cuda.is_current_stream_capturing():
            raise ReplayError(
                f"The dropout at {key.path!r} has a key, which is read when a CUDA graph is captured, so every replay "
                f"would repeat one mask. Capture a model that was never keyed: its masks are drawn anew at each replay."
            )
        seed, stream, window = key.take(input.shape if self.rowwise else None)
        output = function(input, training=True, seed=seed, stream=stream, window=window, **options)
        if output.grad_fn is not None and torch._C._current_graph_task_id() == -1:
            output.grad_fn.metadata[PENDING] = key.pending  # type: ignore[index]
        return output


# In a graph, a key is data. The tag keeps the order of uses, and forbids taking anew in backward.
_library = torch.library.Library("thinned", "FRAGMENT")
_library.define(
    "take(Tensor(a!) key, SymInt[] shape, str path) -> (Tensor, Tensor, Tensor)",
    tags=(torch.Tag.nondeterministic_seeded, torch.Tag.pt2_compliant_tag),
)


def _take(key: Tensor, shape: Sequence[int], path: str) -> tuple[Tensor, Tensor, Tensor]:
    """Seed, stream, and the window as one tensor: its shape, then its start."""
    seed, call, start, stop, total = key.tolist()
    if torch._C._current_graph_task_id() == -1:
        key[1] += 1
    elif call != 1:
        raise _ambiguous(path, call)
    else:
        call -= 1
    whole = _window(path, tuple(shape), start, stop, total) if total and shape else Window(shape, [0] * len(shape))
    return key.new_tensor(seed), key.new_tensor(call * DRAWS), key.new_tensor([*whole.shape, *whole.start])


def _take_meta(key: Tensor, shape: Sequence[int], path: str) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG001
    return key.new_empty(()), key.new_empty(()), key.new_empty(2 * len(shape))


_library.impl("take", _take, "CompositeExplicitAutograd")
_library.impl("take", _take_meta, "Meta")


def unwrapped(module: torch.nn.Module) -> torch.nn.Module:
    """Return the module inside wrappers such as DistributedDataParallel.

    Args:
        module: any module.

    Returns:
        The innermost module that is no wrapper.

    Examples:
        >>> layer = torch.nn.Linear(1, 1)
        >>> unwrapped(layer) is layer
        True
    """
    return _unwrapped(module, _loaded_wrappers())


def _loaded_wrappers() -> list[tuple[type, str]]:
    loaded = ((sys.modules.get(name), kind, attribute) for name, kind, attribute in WRAPPERS)
    return [(getattr(found, kind), attribute) for found, kind, attribute in loaded if found is not None]


def _unwrapped(module: torch.nn.Module, wrappers: list[tuple[type, str]]) -> torch.nn.Module:
    for kind, attribute in wrappers:
        if isinstance(module, kind):
            return _unwrapped(getattr(module, attribute), wrappers)
    return module


def sites(model: torch.nn.Module) -> list[tuple[str, Site]]:
    """Return each dropout layer of a model once, with its path; wrappers do not count as a part of a path.

    Args:
        model: any module.

    Returns:
        Pairs of path and layer, in the order of the modules.

    Examples:
        >>> [path for path, _ in sites(torch.nn.Sequential(torch.nn.ReLU(), thinned.nn.Dropout()))]
        ['1']
    """
    found: list[tuple[str, Site]] = []
    seen: set[torch.nn.Module] = set()
    wrappers = _loaded_wrappers()

    def walk(module: torch.nn.Module, path: str) -> None:
        module = _unwrapped(module, wrappers)
        if module in seen:
            return
        seen.add(module)
        if isinstance(module, Site):
            found.append((path, module))
        for name, child in module._modules.items():  # `named_children` takes three times as long
            if child is not None:
                walk(child, f"{path}.{name}" if path else name)

    walk(model, "")
    return found


def keyed(
    model: torch.nn.Module, seed: int, step: int = 0, batch: tuple[int, int, int] | None = None
) -> torch.nn.Module:
    """Give every dropout layer of a model its own randomness, as a function of seed, step and where the layer is.

    Call it before each forward, with the number of the step. Then a run can be resumed, repeated, recomputed and split
    over processes or micro-batches, and no state of a random number generator has to be saved. The key holds until the
    next call; run backward before that.

    Args:
        model: any module, also one that is wrapped for distributed training or compiled.
        seed: 64-bit integer, the same for the whole run.
        step: 64-bit integer, another one for each step.
        batch: (start, stop, total): the rows at hand are rows `start` to `stop` of a batch of `total` rows.

    Returns:
        The model.

    Raises:
        ValueError, TypeError: a number is out of range, or `model` is not a module.

    Examples:
        >>> model = torch.nn.Sequential(thinned.nn.Dropout(0.5))
        >>> x = torch.ones(4, 3)
        >>> whole = thinned.keyed(model, seed=1, step=7)(x)
        >>> second_half = thinned.keyed(model, seed=1, step=7, batch=(2, 4, 4))(x[2:])
        >>> torch.equal(whole[2:], second_half)
        True
    """
    if not isinstance(model, torch.nn.Module):
        raise KindError(f"`model` must be a torch.nn.Module, but got {type(model).__name__}.")
    seed, step = _check.word64(seed, "seed"), _check.word64(step, "step")
    rows = (0, 0, 0) if batch is None else _check.sizes(batch, "batch")
    if batch is not None and (len(rows) != 3 or not rows[0] < rows[1] <= rows[2]):
        raise RangeError(f"`batch` must be (start, stop, total) with start < stop <= total, but got {rows}.")
    found = sites(model)
    seeds = cpu.site_seeds(seed, step, [_site(path) for path, _ in found])
    for (path, site), own in zip(found, seeds, strict=True):
        numbers = _check.signed64(own), 0, *rows
        if site._key is None:
            site._key = Key(path, torch.tensor(numbers, dtype=torch.int64, device="cpu"))
        else:
            site._key.renew(path, numbers)
    return model


_Log = dict[Key, list[Words]]
_local = threading.local()


class _Contexts(NamedTuple):
    """The checkpoints that this thread is inside: whose recomputation it is, and which forwards write down draws."""

    replay: "_Replay | None" = None
    logs: tuple[_Log, ...] = ()


class _Context:
    """A part of `_Contexts` that is in force inside a `with`."""

    def __init__(self, log: _Log) -> None:
        self.log = log

    def __enter__(self) -> None:
        self.outer: _Contexts | None = getattr(_local, "contexts", None)
        _local.contexts = self._inside(self.outer or _Contexts())

    def __exit__(self, *_: object) -> None:
        _local.contexts = self.outer

    def _inside(self, outer: _Contexts) -> _Contexts:
        raise NotImplementedError


class _Record(_Context):
    """Of a checkpoint's forward: writes down what each site drew."""

    def _inside(self, outer: _Contexts) -> _Contexts:
        return outer._replace(logs=(*outer.logs, self.log))


class _Replay(_Context):
    """Of a checkpoint's recomputation: gives each site what it drew in the forward, in the same order."""

    def _inside(self, outer: _Contexts) -> _Contexts:
        self.queues = {key: deque(words) for key, words in self.log.items()}
        return outer._replace(replay=self)

    def take(self, key: Key) -> Words:
        queue = self.queues.get(key)
        if not queue:
            raise ReplayError(
                f"The dropout at {key.path!r} is used more often in the recomputation of a checkpoint than in its "
                f"forward. The checkpointed function must do the same both times."
            )
        return queue.popleft()


def checkpoint_context() -> tuple[_Record, _Replay]:
    """Make a checkpoint's recomputation repeat the masks of its forward, whatever was keyed or run in between.

    Pass it as `context_fn` to `torch.utils.checkpoint.checkpoint`, which must be non-reentrant. It is needed where a
    site is used more than once under one key, or where backward runs after the next `keyed`.

    Returns:
        The contexts of the forward and of the recomputation.

    Examples:
        >>> from torch.utils.checkpoint import checkpoint
        >>> model = thinned.keyed(torch.nn.Sequential(thinned.nn.Dropout(0.5)), seed=1)
        >>> x = torch.ones(4, requires_grad=True)
        >>> both = [
        ...     checkpoint(model, x, use_reentrant=False, context_fn=thinned.checkpoint_context)
        ...     for _ in range(2)
        ... ]
        >>> torch.equal(torch.autograd.grad(both[0].sum(), x)[0], both[0])
        True
    """
    log: _Log = {}
    return _Record(log), _Replay(log)
