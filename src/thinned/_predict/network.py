"""A network for the time of a prediction: its dropout on and keyed by pass, all else in eval mode."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as torchs
from torch.overrides import TorchFunctionMode

from thinned import _check, functional, keys, nn
from thinned._convert import RULES, _swapped
from thinned._errors import KindError, RangeError
from thinned.batchwise import Chain
from thinned.batchwise._structure import patched
from thinned.functional._attention import attention_values, attention_weights
from thinned.functional._dropout import MODES
from thinned.kernels import cpu
from thinned.masks import Window, layout, rate

_SAFETY = 4  # a network holds more at a time than the inputs and outputs of one layer

# What a call of torch's function stands for.
_CALLS: dict[Any, Callable[[float], keys.Site]] = {
    torchs.dropout: nn.Dropout,
    torchs.dropout1d: nn.Dropout1d,
    torchs.dropout2d: nn.Dropout2d,
    torchs.dropout3d: nn.Dropout3d,
    torchs.alpha_dropout: nn.AlphaDropout,
    torchs.feature_alpha_dropout: nn.FeatureAlphaDropout,
}


class _SiteInPasses:
    """One dropout layer, given the rows of several passes at once: those of the first pass, of the second, and so on.

    Args:
        site: the layer.
        path: its name.
    """

    def __init__(self, site: keys.Site, path: str) -> None:
        self.site = site
        self.path = path
        self.former = site._key
        if site.rowwise:
            vars(site)["_draw"] = self.draw
        else:
            site._key = None

    def restore(self) -> None:
        vars(self.site).pop("_draw", None)
        self.site._key = self.former

    def begin(self, seed: int, passes: range, start: int, rows: int, total: int) -> None:
        """Get ready for the passes to come, of some rows from `start` on out of `total`."""
        self.seeds = keys.step_seeds(seed, np.arange(passes.start, passes.stop, dtype=np.uint64), self.path)
        self.batch, self.calls = (start, start + rows, total), 0
        if not self.site.rowwise:  # one pass at a time, and its key
            place = (0, 0, 0) if rows == total else self.batch
            numbers = _check.signed64(int(self.seeds[0])), 0, *place
            self.site._key = keys.Key(self.path, torch.tensor(numbers, dtype=torch.int64, device="cpu"))

    def draw(self, function: Callable[..., Tensor], input: Tensor, random: bool, **options: Any) -> Tensor:
        """Take the place of the layer's own way to call its function."""
        options.pop("inplace", None)
        if not self.site.training or not random:
            return function(input, training=self.site.training, **options)
        count = len(self.seeds)
        each, rest = divmod(input.shape[0] if input.dim() else 0, count)
        if rest:
            rows = count * (self.batch[1] - self.batch[0])
            raise RangeError(
                f"The input of the dropout at {self.path!r} must have its rows along axis 0, {rows} of "
                f"them or a multiple of that, but got shape {tuple(input.shape)}."
            )
        window = keys._window(self.path, (each, *input.shape[1:]), *self.batch)
        stream, self.calls = self.calls * keys.DRAWS, self.calls + 1
        plain = not options.get("shared_axes") and options.get("mode", MODES[0]) == MODES[0] and _is_plain(input)
        if function is functional.dropout and plain:
            return _dropout_each(input.contiguous(), options["p"], self.seeds, stream, window)
        words = {"stream": stream, "window": window, **options}
        parts = zip(input.reshape(count, each, *input.shape[1:]).unbind(), self.seeds.tolist(), strict=True)
        return torch.cat([function(part, training=True, seed=seed, **words) for part, seed in parts])


def _is_plain(input: Tensor) -> bool:
    in_memory = type(input) is Tensor and input.is_cpu and not (input.is_neg() or input.is_conj())
    return in_memory and input.dtype in cpu.DTYPES


def _dropout_each(input: Tensor, p: float, seeds: NDArray[np.uint64], stream: int, window: Window) -> Tensor:
    law = rate(p)
    if law.keeps_all or law.keeps_none:
        return input if law.keeps_all else torch.zeros_like(input)
    place = layout((len(input) // len(seeds), *input.shape[1:]), (), window)
    output = torch.empty_like(input)
    stacked = (len(seeds), input.numel() // len(seeds))
    cpu.dropout_each(input.view(stacked), output.view(stacked), law, seeds, stream, place.start % 2**64)
    return output


class Network(TorchFunctionMode):
    """A model whose dropout is keyed by pass, calls of torch's dropout functions included.

    Args:
        model: the model; its layers are this package's own.
        seed: unsigned 64-bit integer.
        total: rows of the whole input.
    """

    def __init__(self, model: torch.nn.Module, seed: int, total: int) -> None:
        super().__init__()
        self.model = model
        self.seed = seed
        self.total = total
        self.sites = [_SiteInPasses(site, path) for path, site in keys.sites(model)]
        self.called: dict[tuple[Any, int], _SiteInPasses] = {}

    @property
    def by_rows(self) -> bool:
        """Whether each row has decisions of its own at every site, so that several passes can be made at once."""
        return all(site.site.rowwise for site in self.sites)

    def restore(self) -> None:
        """Give the layers their own randomness back."""
        for site in self.sites:
            site.restore()

    def __call__(self, inputs: Sequence[Tensor], passes: range, start: int) -> Tensor:
        """Return the outputs of several passes.

        Args:
            inputs: the arguments of the model.
            passes: their numbers; one only if not `by_rows`.
            start: number of the first row in the whole input.

        Returns:
            Tensor of shape (passes, rows, ...).
        """
        return self._run(inputs, passes, start, self.total)

    def _run(self, inputs: Sequence[Tensor], passes: range, start: int, total: int) -> Tensor:
        count, rows = len(passes), len(inputs[0])
        self.place = passes, start, rows, total
        for site in (*self.sites, *self.called.values()):
            site.begin(self.seed, *self.place)
        self.calls = 0
        if count > 1:
            inputs = [x.expand(count, *x.shape).flatten(0, 1) for x in inputs]
        with self, torch.no_grad():
            output = self.model(*inputs)
        if not isinstance(output, Tensor):
            raise KindError(f"`model` must return a tensor, but got {type(output).__name__}.")
        if not output.dim() or len(output) != count * rows:
            raise RangeError(
                f"`model` must return one row for each row of its input, but got shape {tuple(output.shape)} for "
                f"{count * rows} rows."
            )
        return output.reshape(count, rows, *output.shape[1:])

    def bytes_per_row(self, inputs: Sequence[Tensor]) -> int:
        """Return an estimate of the memory that one row of one pass needs, by trying it.

        Args:
            inputs: the arguments of the model.

        Returns:
            Bytes, at least 1.
        """
        found = [1]

        def note(module: torch.nn.Module, given: Any, output: Any) -> None:  # noqa: ARG001
            tensors = [x for x in (*given, output) if isinstance(x, Tensor)]
            found.append(sum(x.numel() * x.element_size() for x in tensors))

        handles = [module.register_forward_hook(note) for module in self.model.modules()]
        try:
            self._run([x[:1] for x in inputs], range(1), 0, 1)
        finally:
            for handle in handles:
                handle.remove()
        return _SAFETY * max(found)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Let each call of a dropout function of torch be a site of its own, and leave all else alone."""
        kwargs = kwargs or {}
        if func in _CALLS:
            bound = inspect.signature(func).bind(*args, **kwargs)
            bound.apply_defaults()
            return self._site(func, bound.arguments["p"])(bound.arguments["input"])
        if func is torchs.scaled_dot_product_attention:
            bound = inspect.signature(functional.scaled_dot_product_attention).bind(*args, **kwargs)
            bound.apply_defaults()
            named = bound.arguments
            if named["dropout_p"]:
                options = {name: named[name] for name in ("attn_mask", "is_causal", "scale", "enable_gqa")}
                weights = attention_weights(named["query"], named["key"], **options)
                thin = self._site(torchs.dropout, named["dropout_p"])(weights)
                return thin @ attention_values(named["value"], named["query"], named["enable_gqa"])
        return func(*args, **kwargs)

    def _site(self, func: Any, p: float) -> Any:
        """The layer that stands for the n-th call of a function in one run of the model."""
        place = func, self.calls
        self.calls += 1
        if place not in self.called:
            site = _SiteInPasses(_CALLS[func](p), f"torch.nn.functional.{func.__name__}.{place[1]}")
            site.begin(self.seed, *self.place)
            self.called[place] = site
        self.called[place].site.p = p
        return self.called[place].site


@contextlib.contextmanager
def dropping(model: torch.nn.Module, seed: int, total: int) -> Iterator[Network]:
    """Make a model ready for passes, and leave it as it was.

    Args:
        model: any module; torch's dropout layers in it are replaced for the time being.
        seed: unsigned 64-bit integer.
        total: rows of the whole input.

    Yields:
        The network.

    Raises:
        KindError: a layer drops something in a way that cannot be keyed.
    """
    model = keys.unwrapped(model)
    _refuse(model)
    training = [(module, module.training) for module in model.modules()]
    network: Network | None = None
    places = [(parent, name) for parent in model.modules() for name, child in parent._modules.items() if _ours(child)]
    former = [(parent, name, parent._modules[name]) for parent, name in places]
    own = {child: _twin(child) for _, _, child in former if child is not None}
    # One mask for a batch would be one for all passes in it, so chains compute all units and their sites drop.
    chains = [(module, vars(module).get("forward")) for module in model.modules() if isinstance(module, Chain)]
    try:
        for chain, _ in chains:
            vars(chain)["forward"] = functools.partial(torch.nn.Sequential.forward, chain)
        for parent, name, child in former:
            parent._modules[name] = own[child]  # type: ignore[index]
        network = Network(_twin(model) if _ours(model) else model, seed, total)
        model.eval()
        for site in network.sites:
            site.site.train()  # type: ignore[attr-defined]
        yield network
    finally:
        if network is not None:
            network.restore()
        for parent, name, child in former:
            parent._modules[name] = child
        for chain, forward in chains:
            if forward is None:
                del vars(chain)["forward"]
            else:
                vars(chain)["forward"] = forward
        for module, mode in training:
            module.training = mode


def _ours(module: torch.nn.Module | None) -> bool:
    """Whether it is a layer of torch that has one of ours in its place for the time being."""
    return type(module) in RULES or (type(module) is torch.nn.MultiheadAttention and bool(module.dropout))


def _twin(module: torch.nn.Module) -> torch.nn.Module:
    """A layer of ours with all that belongs to a layer of torch."""
    if not isinstance(module, torch.nn.MultiheadAttention):
        return _swapped(module)
    twin = nn.MultiheadAttention.__new__(nn.MultiheadAttention)
    vars(twin).update((name, value) for name, value in vars(module).items() if name != "dropout")
    twin.dropout = module.dropout
    return twin


def _refuse(model: torch.nn.Module) -> None:
    for path, module in model.named_modules():
        name = f"The {type(module).__name__} at {path!r}"
        if isinstance(module, keys.Site):
            continue
        own = isinstance(module, nn.LSTM | nn.GRU)
        if isinstance(module, torch.nn.RNNBase) and not own and module.dropout and module.num_layers > 1:
            raise KindError(f"{name} drops inside torch's own function, where its masks cannot be keyed.")
        if isinstance(module, torch.nn.modules.dropout._DropoutNd) and module.p:
            if type(module) not in RULES:
                raise KindError(f"{name} cannot be keyed: there is no rule for this type of layer.")
            if patched(module):
                raise KindError(f"{name} cannot be keyed: the forward of this instance was replaced or compiled.")
