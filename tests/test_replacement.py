"""Replacement dropout of dense and sparse tensors: which elements, by what, and with which gradient."""

import copy
import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import thinned
from thinned import Mask, Window, nn
from thinned._errors import KindError, RangeError
from thinned.functional import replacement_dropout

# torch says once in a process that CSR tensors are in beta state.
pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64]


def data(*shape, dtype=torch.float64, share=1.0):
    """Random numbers, of which a share is not zero."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=generator, dtype=torch.float64) + 2
    return (x * (torch.rand(shape, generator=generator) < share)).to(dtype)


def expected(x, replacement, p, seed, stream=0):
    return torch.where(Mask(p, seed, stream).keep(x.shape), x, replacement)


# --- values -----------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 5), max_size=4),
    st.floats(0.001, 0.999),
    st.integers(0, 2**64 - 1),
    st.sampled_from(DTYPES),
)
def test_constants(shape, p, seed, dtype):
    x = data(*shape, dtype=dtype)
    y = replacement_dropout(x, p, replacement=7.0, seed=seed)
    assert (y.dtype, y.shape) == (x.dtype, x.shape)
    assert torch.equal(y, expected(x, torch.tensor(7.0, dtype=dtype), p, seed))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.0, 3])
def test_kept_elements_are_not_touched(value):
    x = torch.tensor([float("inf"), float("nan"), -0.0, 1.0] * 20)
    y, keep = replacement_dropout(x, 0.5, replacement=value, seed=1), Mask(0.5, 1).keep(x.shape)
    want = torch.where(keep, x, torch.tensor(float(value)))
    assert torch.equal(y.view(torch.int32), want.view(torch.int32))  # bit for bit, with signs of zero


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_mean_and_median(dtype, share):
    """Of the non-zero elements, compared with NumPy in float64; torch takes the lower of two middle elements."""
    x = data(30, 7, dtype=dtype, share=share)
    wide = x.to(torch.complex128 if dtype.is_complex else torch.float64).numpy()
    counted = wide[wide != 0]
    y = replacement_dropout(x, 1.0, replacement="mean")
    want = counted.mean() if counted.size else 0.0
    # A sum of n <= 210 numbers in float32 is off by at most n * 2**-24 of their magnitudes; then one rounding to dtype.
    error = {torch.float16: 2**-10, torch.bfloat16: 2**-7}.get(dtype, 1.3e-5)
    wanted = torch.full(x.shape, complex(want) if dtype.is_complex else float(want), dtype=torch.from_numpy(wide).dtype)
    torch.testing.assert_close(y.to(wanted.dtype), wanted, rtol=error, atol=0)
    if dtype.is_complex:
        with pytest.raises(KindError, match=r"must not be 'median' for complex numbers, but got"):
            replacement_dropout(x, 1.0, replacement="median")
        return
    y = replacement_dropout(x, 1.0, replacement="median")
    want = np.sort(counted)[(counted.size - 1) // 2] if counted.size else 0.0
    assert (y.double() == want).all()


def test_tensors_broadcast():
    x = data(6, 4)
    for replacement in (torch.arange(4.0), torch.arange(6).view(6, 1), torch.tensor(5.0), data(6, 4)):
        y = replacement_dropout(x, 0.5, replacement=replacement, seed=2)
        assert torch.equal(y, expected(x, replacement.to(x.dtype), 0.5, 2))


@pytest.mark.parametrize("replacement", [2.0, "mean"])
def test_layouts_of_memory(replacement):
    x = data(5, 6, 7, 8)
    channels_last = x.to(memory_format=torch.channels_last)
    for view in (x, x.transpose(0, 3), channels_last, x[::2, :, 1:], x[:1].expand(4, 6, 7, 8)):
        y = replacement_dropout(view, 0.4, replacement=replacement, seed=3)
        want = replacement_dropout(view.contiguous(), 0.4, replacement=replacement, seed=3)
        torch.testing.assert_close(y, want, rtol=1e-14, atol=0)
    assert replacement_dropout(channels_last, 0.4).is_contiguous(memory_format=torch.channels_last)


def test_windows():
    x = data(8, 5)
    whole = replacement_dropout(x, 0.5, replacement=1.0, seed=4)
    part = replacement_dropout(x[3:], 0.5, replacement=1.0, seed=4, window=Window((8, 5), (3, 0)))
    assert torch.equal(part, whole[3:])


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_rate(p):
    """The number replaced is binomial: 5 standard deviations, beside the law's own 2**-10 of the smaller share."""
    n = 100_000
    replaced = int((replacement_dropout(torch.zeros(n), p, replacement=1.0, seed=5) == 1).sum())
    assert abs(replaced - n * p) <= 5 * math.sqrt(n * p * (1 - p)) + n * 2**-10 * min(p, 1 - p)


# --- the contract for edge cases --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["long", "float", "to_sparse", "to_sparse_csr"])
def test_nothing_to_replace(name):
    x = getattr(torch.eye(3), name)()
    state = torch.get_rng_state()
    assert replacement_dropout(x, 0.0, replacement=1.0) is x
    assert replacement_dropout(x, 0.5, False, replacement=1.0) is x
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_integers(dtype):
    with pytest.raises(KindError, match=f"for dropout in training, but got dtype {dtype}"):
        replacement_dropout(torch.ones(3, dtype=dtype))


def test_everything_is_replaced():
    x = torch.tensor([1.0, -2.0, math.inf, math.nan], requires_grad=True)
    y = replacement_dropout(x, 1.0, replacement=3.0)
    assert y.tolist() == [3.0] * 4
    y.backward(torch.tensor([1.0, math.inf, math.nan, -1.0]))
    assert x.grad.tolist() == [0.0] * 4
    assert not x.grad.signbit().any()


@pytest.mark.parametrize("p", [0.4, 1.0])
def test_in_place(p):
    x = data(5, 6)
    want = replacement_dropout(x, p, replacement="mean", seed=1)
    assert replacement_dropout(x, p, inplace=True, replacement="mean", seed=1) is x
    assert torch.equal(x, want)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        replacement_dropout(x.clone().requires_grad_(), p, inplace=True)
    with pytest.raises(RuntimeError, match="refers to a single memory location"):
        replacement_dropout(torch.ones(1).expand(4), p, inplace=True)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"p": 1.5}, RangeError, r"`p` must be in \[0, 1\], but got p=1\.5"),
        ({"p": "0.5"}, KindError, "`p` must be a number"),
        (
            {"replacement": "mode"},
            RangeError,
            "must be 'mean' or 'median' if it is a str, but got 'mode'",
        ),
        ({"replacement": None}, KindError, "must be a number, a tensor, 'mean' or 'median', but got a NoneType"),
        ({"replacement": True}, KindError, "must be a number, a tensor, 'mean' or 'median', but got a bool"),
        (
            {"replacement": torch.ones(2)},
            RangeError,
            r"must broadcast to the shape of `input`, \(4, 3\), but",
        ),
        ({"replacement": torch.ones(2, 4, 3)}, RangeError, r"must broadcast to .* but got shape \(2, 4, 3\)"),
        ({"replacement": 1j}, KindError, "must be real for an input of dtype torch.float64, but got 1j"),
        ({"replacement": torch.ones(3) * 1j}, KindError, "must be real for an input of dtype torch.float64"),
        ({"positions": "some"}, RangeError, "`positions` must be 'stored' or 'all', but got positions='some'"),
        ({"seed": 1, "generator": torch.Generator()}, RangeError, "`seed` and `generator` must not both be given"),
        ({"seed": 1.5}, KindError, r"`seed` must be an integer, but got seed=1\.5"),
        ({"window": Window((2, 3), (0, 0))}, RangeError, "`window` must contain the tensor"),
    ],
)
def test_wrong_arguments(options, kind, message):
    with pytest.raises(kind, match=message):
        replacement_dropout(data(4, 3), **options)


# --- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("replacement", [0.5, "mean", "median", "features"])
@pytest.mark.parametrize("p", [0.4, 1.0])
def test_gradients(replacement, p):
    """By finite differences, first and second order, forward and backward, in the input and in the replacement."""
    x = data(4, 3).requires_grad_()
    features = (torch.arange(3.0, dtype=torch.float64).requires_grad_(),)
    values = (x, *features) if replacement == "features" else (x,)

    def function(x, value=replacement):
        return replacement_dropout(x, p, replacement=value, seed=6)

    assert torch.autograd.gradcheck(function, values, check_forward_ad=replacement != "median")
    assert torch.autograd.gradgradcheck(function, values)


def test_a_gradient_is_zero_where_the_law_says_so():
    x, value = data(50).requires_grad_(), torch.zeros(50, dtype=torch.float64, requires_grad=True)
    y = replacement_dropout(x, 0.5, replacement=value, seed=7)
    y.backward(torch.full((50,), math.inf, dtype=torch.float64))
    keep = Mask(0.5, 7).keep((50,))
    assert torch.equal(x.grad, torch.where(keep, math.inf, 0.0).double())
    assert torch.equal(value.grad, torch.where(keep, 0.0, math.inf).double())


def test_no_mask_is_kept_for_backward():
    saved = []

    def pack(tensor):
        saved.append(tensor.numel())
        return tensor

    x, value = torch.ones(1000, requires_grad=True), torch.zeros(1, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        replacement_dropout(x, 0.5, replacement=value)
    assert max(saved, default=0) <= 1


def test_seeds_are_remembered_as_they_were():
    seed, x = torch.tensor(3), data(100).requires_grad_()
    y = replacement_dropout(x, 0.5, replacement=0.0, seed=seed)
    seed += 1
    y.sum().backward()
    assert torch.equal(x.grad != 0, y != 0)


def test_transforms():
    x = data(10, 4)
    gradient = torch.func.grad(lambda t: replacement_dropout(t, 0.5, replacement="mean", seed=1).square().sum())(x)
    twin = x.clone().requires_grad_()
    replacement_dropout(twin, 0.5, replacement="mean", seed=1).square().sum().backward()
    torch.testing.assert_close(gradient, twin.grad)
    rows = torch.func.vmap(lambda t: replacement_dropout(t, 0.5, replacement=9.0), randomness="different")(x)
    assert len({tuple(row.tolist()) for row in rows == 9}) > 1
    rows = torch.func.vmap(lambda t: replacement_dropout(t, 0.5, replacement=9.0), randomness="same")(x)
    assert len({tuple(row.tolist()) for row in rows == 9}) == 1


# --- sparse tensors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
@pytest.mark.parametrize("positions", ["stored", "all"])
@pytest.mark.parametrize("p", [0.3, 1.0])
@pytest.mark.parametrize("replacement", [7.0, "mean", "median", torch.arange(1.0, 10.0)])
def test_sparse_is_dense_at_what_can_be_replaced(layout, positions, p, replacement):
    x = data(20, 9, share=0.3)
    sparse = x.to_sparse(layout=layout)
    y = replacement_dropout(sparse, p, replacement=replacement, positions=positions, seed=8)
    assert (y.layout, y.shape, y.dtype) == (layout, x.shape, x.dtype)
    want = replacement_dropout(x, p, replacement=replacement, seed=8)
    if positions == "stored":
        want = torch.where(x != 0, want, 0.0)
        assert y._nnz() == sparse._nnz()
    torch.testing.assert_close(y.to_dense(), want, rtol=1e-14, atol=0)


def test_the_order_of_storage_does_not_matter():
    x = data(6, 5, share=0.5).to_sparse()
    turned = torch.sparse_coo_tensor(x.indices().flip(1), x.values().flip(0), x.shape, check_invariants=True)
    both = [replacement_dropout(t, 0.5, replacement=9.0, seed=1).to_dense() for t in (x, turned)]
    assert torch.equal(*both)


@pytest.mark.parametrize("positions", ["stored", "all"])
def test_gradients_of_sparse_tensors(positions):
    dense = data(5, 4, share=0.5)
    indices = dense.to_sparse().indices()
    values = dense.to_sparse().values().clone().requires_grad_()
    value = torch.arange(4.0, dtype=torch.float64).requires_grad_()

    def function(values, value):
        x = torch.sparse_coo_tensor(indices, values, dense.shape, is_coalesced=True, check_invariants=True)
        return replacement_dropout(x, 0.5, replacement=value, positions=positions, seed=2).to_dense()

    assert torch.autograd.gradcheck(function, (values, value))


def test_windows_of_sparse_tensors():
    x = data(8, 5, share=0.5)
    whole = replacement_dropout(x.to_sparse(), 0.5, replacement=1.0, seed=4).to_dense()
    part = replacement_dropout(x[3:].to_sparse(), 0.5, replacement=1.0, seed=4, window=Window((8, 5), (3, 0)))
    assert torch.equal(part.to_dense(), whole[3:])


def test_empty_sparse_tensors():
    for shape in ((0, 3), (4, 0), (4, 3)):
        empty = torch.zeros(shape).to_sparse()
        assert replacement_dropout(empty, 0.5, replacement="mean")._nnz() == 0


@pytest.mark.filterwarnings("ignore:Sparse CSC tensor support is in beta:UserWarning")
def test_sparse_tensors_that_are_refused():
    with pytest.raises(KindError, match=r"must be dense, or sparse in COO or CSR form.*with 1 dense axes"):
        replacement_dropout(torch.eye(3).to_sparse(1))
    with pytest.raises(KindError, match=r"but got layout torch\.sparse_csc"):
        replacement_dropout(torch.eye(3).to_sparse_csc())
    with pytest.raises(RangeError, match="`inplace` must be false for sparse tensors"):
        replacement_dropout(torch.eye(3).to_sparse(), inplace=True)


# --- the layer --------------------------------------------------------------------------------------------------------


def test_the_layer_calls_the_function():
    x = data(30, 4)
    for options in ({"replacement": 2.0}, {"replacement": "median"}, {"replacement": torch.arange(4.0)}):
        layer = nn.ReplacementDropout(0.3, **options)
        torch.manual_seed(1)
        y = layer(x)
        torch.manual_seed(1)
        assert torch.equal(y, replacement_dropout(x, 0.3, **options))
        assert layer.eval()(x) is x
    sparse = x.to_sparse()
    torch.manual_seed(1)
    y = nn.ReplacementDropout(0.3, replacement=1.0, positions="all")(sparse)
    torch.manual_seed(1)
    assert torch.equal(y.to_dense(), replacement_dropout(sparse, 0.3, replacement=1.0, positions="all").to_dense())
    assert nn.ReplacementDropout(0.3, True)(x) is x


def test_a_trained_replacement():
    """It learns what stands best for a missing feature: with squared error, the feature's mean."""
    layer = nn.ReplacementDropout(0.5, replacement=torch.nn.Parameter(torch.zeros(2)))
    assert [name for name, _ in layer.named_parameters()] == ["replacement"]
    x = torch.tensor([[1.0, -3.0], [3.0, -5.0]]).repeat(50, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    torch.manual_seed(0)
    for _ in range(100):
        optimizer.zero_grad()
        ((layer(x) - x) ** 2).mean().backward()
        optimizer.step()
    # Each step moves it towards the mean of some 50 rows that are 1 away from it: three standard errors are 0.43.
    torch.testing.assert_close(layer.replacement.data, torch.tensor([2.0, -4.0]), rtol=0, atol=0.43)


def test_the_layer_is_a_module():
    buffer = nn.ReplacementDropout(0.2, replacement=torch.arange(3.0))
    assert list(buffer.state_dict()) == ["replacement"]
    assert repr(buffer) == "ReplacementDropout(p=0.2, inplace=False, replacement=Tensor of shape (3,))"
    layer = nn.ReplacementDropout(0.2, replacement="mean", positions="all")
    assert repr(layer) == "ReplacementDropout(p=0.2, inplace=False, replacement='mean', positions='all')"
    assert layer.state_dict() == {}
    file = io.BytesIO()
    torch.save(buffer, file)
    file.seek(0)
    for twin in (copy.deepcopy(buffer), torch.load(file, weights_only=False)):
        assert repr(twin) == repr(buffer)
        assert torch.equal(twin.replacement, buffer.replacement)
    assert buffer.to(torch.float64).replacement.dtype == torch.float64
    with pytest.raises(RangeError, match=r"`p` must be in \[0, 1\], but got p=-1"):
        layer.p = -1
    with pytest.raises(KindError, match="must be a number, a tensor, 'mean' or 'median', but got a list"):
        nn.ReplacementDropout(replacement=[1.0])
    with pytest.raises(RangeError, match="`positions` must be 'stored' or 'all'"):
        nn.ReplacementDropout(positions="none")
    with pytest.raises(TypeError, match="unexpected keyword argument 'rate'"):
        nn.ReplacementDropout(rate=0.5)


@pytest.mark.parametrize("sparse", [False, True])
def test_keys(sparse):
    model = torch.nn.Sequential(nn.ReplacementDropout(0.5, replacement=9.0, positions="all"))
    x = data(8, 3)
    inputs = [t.to_sparse() if sparse else t for t in (x, x[4:])]
    whole = thinned.keyed(model, seed=3, step=1)(inputs[0])
    half = thinned.keyed(model, seed=3, step=1, batch=(4, 8, 8))(inputs[1])
    assert torch.equal(half.to_dense(), whole.to_dense()[4:])


@pytest.mark.parametrize("replacement", [0.5, "mean"])
def test_compiled(replacement):
    torch._dynamo.reset()
    layer, x = nn.ReplacementDropout(0.4, replacement=replacement), data(20, 5)
    fast = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.manual_seed(1)
    y = fast(x)
    torch.manual_seed(1)
    torch.testing.assert_close(y, layer(x), rtol=1e-14, atol=0)
    torch._dynamo.reset()


def test_meta():
    y = replacement_dropout(torch.empty(3, 4, device="meta"), 0.5, replacement="mean")
    assert y.is_meta
    assert y.shape == (3, 4)
