"""Writing in place: what is refused, in torch's own words, what is written, and what autograd is told of it."""

import pytest
import torch

import thinned
from thinned.masks import Mask, rate

pytestmark = pytest.mark.device


def randn(*shape, requires_grad=False):
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator(torch.get_default_device()).manual_seed(0))
    return x.requires_grad_(requires_grad)


def drop(x, **options):
    return thinned.dropout(x, 0.4, inplace=True, **{"seed": 11, **options})


def error_of(call):
    try:
        call()
    except Exception as error:
        return type(error), str(error)
    return None


def leaf():
    x = torch.ones(6, requires_grad=True)
    return x, x


def view_of_leaf():
    x = torch.ones(6, requires_grad=True)
    return x, x.view(2, 3)


def expanded():
    x = torch.ones(1)
    return x, x.expand(6)


def one_of_many_views():
    x = torch.ones(6, requires_grad=True) + 0
    return x, x.chunk(2)[0]


def view_without_grad():
    x = torch.ones(6, requires_grad=True) + 0
    with torch.no_grad():
        view = x.view(2, 3)
    return x, view


def inference_tensor():
    with torch.inference_mode():
        x = torch.ones(6)
    return x, x


REFUSED = {
    leaf: "a leaf Variable that requires grad is being used in an in-place operation",
    view_of_leaf: "a view of a leaf Variable that requires grad is being used in an in-place operation",
    expanded: "more than one element of the written-to tensor refers to a single memory location",
    one_of_many_views: "This view is the output of a function that returns multiple views",
    view_without_grad: "A view was created in no_grad mode and is being modified inplace with grad mode enabled",
    inference_tensor: "Inplace update to inference tensor outside InferenceMode is not allowed",
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    "options", [{}, {"p": 1.0}, {"seed": 3}, {"mask": torch.tensor(False)}], ids=["drawn", "p=1", "seed", "mask"]
)
def test_in_place_errors_are_torchs_own(make, options):
    theirs = error_of(lambda: torch.nn.functional.dropout(make()[1], options.get("p", 0.5), inplace=True))
    assert theirs is not None
    memory, x = make()
    assert error_of(lambda: thinned.dropout(x, **{"p": 0.5, **options}, inplace=True)) == theirs
    assert REFUSED[make] in theirs[1]
    if make is not inference_tensor:  # where torch itself writes before it refuses
        assert memory.tolist() == [1.0] * len(memory)


def test_in_place_result_is_the_input():
    x = randn(4, 5)
    want = torch.where(Mask(0.4, 11).keep(x.shape, x.device), x * rate(0.4).scale, 0.0)
    assert drop(x) is x
    assert torch.equal(x, want)


@pytest.mark.parametrize(
    "view",
    [lambda x: x.view(20), lambda x: x.t(), lambda x: x[1:, ::2], lambda x: x],
    ids=["view", "t", "part", "self"],
)
@pytest.mark.parametrize("p", [0.4, 1.0])
def test_in_place_on_a_view(view, p):
    """The rest of the base is untouched, and the gradient reaches it."""
    x = randn(4, 5, requires_grad=True)
    base = x + 0
    y = thinned.dropout(view(base), p, inplace=True, seed=11)
    factor = torch.ones(4, 5, dtype=x.dtype)
    view(factor).copy_(thinned.dropout(torch.ones_like(view(factor)), p, seed=11))
    assert y.data_ptr() == view(base).data_ptr()
    torch.testing.assert_close(base.detach(), x.detach() * factor)
    base.sum().backward()
    assert torch.equal(x.grad, factor)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_in_place_is_seen_by_autograd(mode):
    """A tensor that was saved for backward and then changed must not pass for the one that was saved."""
    w, x = randn(6, requires_grad=True), randn(6)
    y = w * x
    with mode():
        drop(x)
    with pytest.raises(RuntimeError, match="has been modified by an inplace operation"):
        y.sum().backward()


def test_in_place_under_inference_mode():
    with torch.inference_mode():
        x = torch.ones(40)
        assert drop(x) is x
        assert 0 < x.count_nonzero() < 40
