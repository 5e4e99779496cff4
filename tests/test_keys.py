"""Keys: the vectors, and that one (seed, step) gives one set of masks however the model is run."""

import copy
import json
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

import thinned
from thinned import keys
from thinned.masks import Mask, Window

pytestmark = pytest.mark.device
VECTORS = json.loads((Path(__file__).parent / "vectors" / "mask-law-v1.json").read_text())["keys"]
WORDS64 = st.integers(0, 2**64 - 1)


class Twice(nn.Module):
    """Uses one site twice in a forward."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = thinned.nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(x) + 10 * self.drop(x)


def net(sites: int = 2, width: int = 16) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [(nn.Linear(width, width), nn.Tanh(), thinned.nn.Dropout(0.5)) for _ in range(sites)]
    return nn.Sequential(*(layer for triple in layers for layer in triple))


def expected(x: Tensor, path: str, seed: int, step: int, call: int = 0, window: Window | None = None) -> Tensor:
    """Which elements are kept, by the law in NumPy."""
    return Mask(0.5, keys.site_seed(seed, step, path), call * 65536, (), window).keep(tuple(x.shape), x.device)


def gradients(model: nn.Module) -> list[Tensor]:
    result = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return result


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) > 0 and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("case", VECTORS, ids=lambda c: f"{c['seed']}-{c['step']}-{c['path']}")
def test_vectors(case: dict[str, Any]) -> None:
    assert keys.site_seed(int(case["seed"]), int(case["step"]), case["path"]) == int(case["site_seed"])
    assert case["call"] * keys.DRAWS + case["draw"] == int(case["site_stream"])


@given(WORDS64, st.lists(WORDS64, min_size=1, max_size=5), st.text(max_size=20))
def test_one_step_and_many_at_once(seed: int, steps: list[int], path: str) -> None:
    """C++ does the former, NumPy the latter."""
    many = keys.step_seeds(seed, np.array(steps, np.uint64), path)
    assert many.tolist() == [keys.site_seed(seed, step, path) for step in steps]


def test_a_site_uses_its_path_its_call_and_nothing_else() -> None:
    model, x = nn.ModuleDict({"a": nn.Sequential(Twice())}), torch.ones(6, 50)
    for step in (0, 3):
        thinned.keyed(model, seed=5, step=step)
        torch.rand(step + 1)  # whatever else draws
        for use in range(2):
            first = expected(x, "a.0.drop", 5, step, call=2 * use)
            second = expected(x, "a.0.drop", 5, step, call=2 * use + 1)
            assert torch.equal(model["a"](x), 2.0 * first + 20.0 * second)


def test_the_key_draws_no_random_number_and_holds_until_the_next() -> None:
    model = thinned.keyed(net(), 1)
    state = torch.get_rng_state()
    first = model(torch.ones(4, 16))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(model(torch.ones(4, 16)), first)  # the second use of each site
    assert torch.equal(thinned.keyed(model, 1)(torch.ones(4, 16)), first)


def test_eval_and_p_zero_do_not_count_as_uses() -> None:
    model, x = thinned.keyed(net(), 1), torch.ones(4, 16)
    wanted = model(x)
    thinned.keyed(model, 1).eval()(x)
    for module in model:
        if isinstance(module, thinned.nn.Dropout):
            module.p = 0.0
    model.train()(x)
    for module in model:
        if isinstance(module, thinned.nn.Dropout):
            module.p = 0.5
    assert torch.equal(model(x), wanted)


@pytest.mark.parametrize("layer", [thinned.nn.Dropout1d, thinned.nn.Dropout2d, thinned.nn.Dropout3d])
def test_channel_layers_are_sites_and_split_by_batch(layer: Callable[[], nn.Module]) -> None:
    axes = {"Dropout1d": 1, "Dropout2d": 2, "Dropout3d": 3}[layer.__name__]  # type: ignore[attr-defined]
    model, x = nn.Sequential(layer()), torch.ones(8, 20, *[3] * axes)
    whole = thinned.keyed(model, 2, 1)(x)
    parts = [thinned.keyed(model, 2, 1, batch=(at, at + 2, 8))(x[at : at + 2]) for at in range(0, 8, 2)]
    assert torch.equal(torch.cat(parts), whole)
    assert 0 < whole.mean() < 2


@pytest.mark.parametrize("pieces", [1, 2, 4])
def test_accumulation_over_micro_batches_sees_the_masks_of_the_whole_batch(pieces: int) -> None:
    model, x = net(), torch.randn(8, 16)
    whole = thinned.keyed(model, 3, 9)(x)
    whole.square().sum().backward()
    wanted, size = gradients(model), 8 // pieces
    outputs = []
    for start in range(0, 8, size):
        thinned.keyed(model, 3, 9, batch=(start, start + size, 8))
        outputs.append(model(x[start : start + size]))
        outputs[-1].square().sum().backward()
    torch.testing.assert_close(torch.cat(outputs), whole)
    assert torch.equal(torch.cat(outputs) == 0, whole == 0)
    torch.testing.assert_close(gradients(model), wanted)


def test_rows_may_be_a_multiple_of_the_batch() -> None:
    model, x = nn.Sequential(thinned.nn.Dropout()), torch.ones(12, 5)  # 4 samples of 3 rows, batch outermost
    whole = thinned.keyed(model, 1)(x)
    part = thinned.keyed(model, 1, batch=(1, 3, 4))(x[3:9])
    assert torch.equal(part, whole[3:9])


def test_rows_that_do_not_fit_the_batch_are_refused() -> None:
    model = thinned.keyed(nn.Sequential(thinned.nn.Dropout()), 1, batch=(0, 2, 4))
    with pytest.raises(ValueError, match=r"rows 0 to 2 of 4.*dropout at '0' must have a multiple of 2.*shape \(3, 5\)"):
        model(torch.ones(3, 5))
    with pytest.raises(ValueError, match=r"but got shape \(\)"):
        model(torch.ones(()))


@pytest.mark.parametrize("preserve", [False, True])
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_replays_by_itself(reentrant: bool, preserve: bool) -> None:
    model, x = net(), torch.randn(8, 16, requires_grad=True)
    thinned.keyed(model, 4)(x).square().sum().backward()
    wanted = gradients(model)
    thinned.keyed(model, 4)
    checkpoint(model, x, use_reentrant=reentrant, preserve_rng_state=preserve).square().sum().backward()
    assert same(gradients(model), wanted)


@pytest.mark.parametrize("context", [False, True])
def test_backward_may_run_in_another_thread(context: bool) -> None:
    model, x = net(), torch.randn(8, 16)
    thinned.keyed(model, 4)(x).square().sum().backward()
    wanted = gradients(model)
    options = {"context_fn": thinned.checkpoint_context} if context else {}
    thinned.keyed(model, 4)
    loss = checkpoint(model, x, use_reentrant=False, preserve_rng_state=False, **options).square().sum()
    thread = threading.Thread(target=loss.backward)
    thread.start()
    thread.join()
    assert same(gradients(model), wanted)


def test_backward_after_the_next_key_needs_the_context() -> None:
    model, x = net(), torch.randn(8, 16)
    thinned.keyed(model, 4)(x).square().sum().backward()
    wanted = gradients(model)

    def late_backward(**options: Any) -> None:
        thinned.keyed(model, 4)
        loss = checkpoint(model, x, use_reentrant=False, preserve_rng_state=False, **options).square().sum()
        thinned.keyed(model, 5)(x)
        loss.backward()

    late_backward(context_fn=thinned.checkpoint_context)
    assert same(gradients(model), wanted)
    with pytest.raises(RuntimeError, match="keyed again while a forward under the former key was still waiting"):
        late_backward()


def test_an_ordinary_training_loop_is_not_taken_for_a_late_backward() -> None:
    model, x, losses = net(), torch.randn(8, 16), []
    for step in range(3):
        thinned.keyed(model, 4, step)
        losses.append(checkpoint(model, x, use_reentrant=False, preserve_rng_state=False).square().sum())
        losses[-1].backward()  # the losses stay alive, but their backward is done
    assert len(gradients(model)) == 4


@pytest.mark.parametrize("reentrant", [False, True])
def test_two_uses_of_a_site_cannot_be_told_apart_without_the_context(reentrant: bool) -> None:
    model, x = Twice(), torch.ones(4, 16, requires_grad=True)
    thinned.keyed(model, 6)
    function = nn.Sequential(model, nn.Tanh())  # something has to be kept, or there is nothing to recompute
    loss = checkpoint(function, x, use_reentrant=reentrant, preserve_rng_state=False).sum()
    with pytest.raises(RuntimeError, match="was used 2 times since `keyed`, so which use is meant cannot be known"):
        loss.backward()


def test_the_context_replays_a_site_that_is_used_twice_also_when_nested() -> None:
    model, x = Twice(), torch.ones(4, 16, requires_grad=True)
    options = {"use_reentrant": False, "preserve_rng_state": False, "context_fn": thinned.checkpoint_context}
    thinned.keyed(model, 6)
    plain = torch.autograd.grad((model(x) + model(x)).sum(), x)[0]
    thinned.keyed(model, 6)
    one = checkpoint(lambda t: model(t) + model(t), x, **options)
    assert torch.equal(torch.autograd.grad(one.sum(), x)[0], plain)
    thinned.keyed(model, 6)
    two = checkpoint(lambda t: checkpoint(model, t, **options) + model(t), x, **options)
    assert torch.equal(torch.autograd.grad(two.sum(), x)[0], plain)


def test_a_recomputation_that_does_more_than_its_forward_is_refused() -> None:
    model, x, uses = thinned.keyed(nn.Sequential(thinned.nn.Dropout()), 1), torch.ones(4, requires_grad=True), [1]

    def growing(t: Tensor) -> Tensor:
        for _ in uses:
            t = model(t)
        uses.append(1)
        return t.tanh()

    options = {"use_reentrant": False, "preserve_rng_state": False, "context_fn": thinned.checkpoint_context}
    loss = checkpoint(growing, x, **options).sum()
    with pytest.raises(RuntimeError, match="dropout at '0' is used more often in the recomputation"):
        loss.backward()


def test_a_recomputation_of_a_site_that_was_not_used_is_refused() -> None:
    model, x = net(1), torch.randn(2, 16, requires_grad=True)
    loss = checkpoint(model, x, use_reentrant=True, preserve_rng_state=False).sum()
    thinned.keyed(model, 1)
    with pytest.raises(RuntimeError, match="was used 0 times since `keyed`"):
        loss.backward()


def test_a_key_is_refused_where_a_cuda_graph_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    model = thinned.keyed(net(1), 1)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    model(torch.ones(4, 16))  # the CPU's tensors are no part of a CUDA graph
    with (
        FakeTensorMode(),
        pytest.raises(RuntimeError, match=r"dropout at '2' has a key.*every replay would repeat one"),
    ):
        model[2](torch.ones(4, 16, device="cuda"))


def test_deepcopy_and_pickle_carry_the_key_and_part_ways() -> None:
    model, x = thinned.keyed(net(), 8), torch.randn(4, 16)
    others = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    first, second = model(x), model(x)
    for other in others:
        assert torch.equal(other(x), first)
        assert torch.equal(other(x), second)


def test_state_dict_has_no_key_in_it() -> None:
    model = net()
    names = list(model.state_dict())
    assert list(thinned.keyed(model, 1).state_dict()) == names


def test_functional_call_and_converted_layers() -> None:
    model = thinned.convert(nn.Sequential(nn.Linear(16, 16), nn.Dropout(0.5)))
    x = torch.randn(4, 16)
    wanted = thinned.keyed(model, 1)(x)
    parameters = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert torch.equal(torch.func.functional_call(thinned.keyed(model, 1), parameters, (x,)), wanted)


def test_wrappers_are_not_part_of_a_path() -> None:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    model, x = net(), torch.randn(4, 16)
    wanted = thinned.keyed(model, 1)(x)
    wrapped = nn.Sequential(*(checkpoint_wrapper(layer) if i % 3 == 2 else layer for i, layer in enumerate(model)))
    assert torch.equal(thinned.keyed(wrapped, 1)(x), wanted)
    compiled = torch.compile(model, backend="eager")
    assert [path for path, _ in keys.sites(compiled)] == ["2", "5"]
    named_like_a_wrapper = nn.ModuleDict({"module": net()})
    assert [path for path, _ in keys.sites(named_like_a_wrapper)] == ["module.2", "module.5"]


def test_a_shared_layer_is_one_site() -> None:
    layer = thinned.nn.Dropout(0.5)
    model, x = nn.Sequential(layer, layer), torch.ones(4, 16)
    thinned.keyed(model, 1)
    assert torch.equal(model(x) != 0, expected(x, "0", 1, 0, call=0) & expected(x, "0", 1, 0, call=1))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"seed": 2**64}, ValueError, "`seed` must be in"),
        ({"seed": 1.5}, TypeError, "`seed` must be an integer"),
        ({"seed": 1, "step": "x"}, TypeError, "`step` must be an integer"),
        ({"seed": 1, "batch": (2, 2, 4)}, ValueError, r"start < stop <= total, but got \(2, 2, 4\)"),
        ({"seed": 1, "batch": (0, 5, 4)}, ValueError, r"start < stop <= total, but got \(0, 5, 4\)"),
        ({"seed": 1, "batch": (0, 5)}, ValueError, r"`batch` must be \(start, stop, total\)"),
        ({"seed": 1, "batch": (-1, 5, 8)}, ValueError, "`batch` must not be negative"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        thinned.keyed(net(), **arguments)


def test_not_a_model() -> None:
    with pytest.raises(TypeError, match=r"`model` must be a torch\.nn\.Module, but got int"):
        thinned.keyed(1, seed=1)  # type: ignore[arg-type]
