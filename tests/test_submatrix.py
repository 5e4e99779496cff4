"""The submatrix kernels: gather, scatter_add, sgd and adam, and the units that the law keeps.

Every test of a kernel runs each code path that this CPU has. Matrices lie between guards of nan, and all that is not at
the place must stay as it was, bit for bit. A gather is exact. An update may differ from an oracle, the NumPy reference
in float64, by twice what torch's own optimizer differs from it.
"""

import hashlib
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinned import submatrix
from thinned._errors import RangeError
from thinned.kernels import cpu, reference, tensor
from thinned.kernels.steps import AdamStep, SgdStep
from thinned.masks import Mask, element_words, units_kept
from thinned.submatrix import Place

LAW = json.loads((Path(__file__).parent / "vectors" / "mask-law-v1.json").read_text())
GUARD = 64  # elements on either side
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
SIZES = (1, 2, 7, 8, 9, 15, 16, 17, 23, 100)  # below and around one vector and two

paths = pytest.mark.parametrize("path", cpu.PATHS)
dtypes = pytest.mark.parametrize(
    "dtype", sorted(cpu.SUBMATRIX_DTYPES, key=str), ids=lambda dtype: str(dtype).removeprefix("torch.")
)


def bits(values):
    return values.contiguous().view(INTEGERS[values.dtype.itemsize])


def alike(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(bits(a), bits(b))


class Guarded:
    """A contiguous tensor with nan before and after it."""

    def __init__(self, values):
        n = values.numel()
        self.memory = torch.full((n + 2 * GUARD,), math.nan, dtype=values.dtype)
        self.tensor = self.memory[GUARD : GUARD + n].view(values.shape)
        self.tensor.copy_(values)
        self.before = self.memory.clone()

    def outside_untouched(self, rows=None, columns=None):
        """Whether all but the submatrix has the bits it had."""
        restored = self.memory.clone()
        n = self.tensor.numel()
        inside = restored[GUARD : GUARD + n].view(self.tensor.shape)
        old = self.before[GUARD : GUARD + n].view(self.tensor.shape)
        at = np.ix_(*chosen(inside.shape, rows, columns))
        inside[at] = old[at]
        return alike(restored, self.before)


def chosen(shape, rows, columns):
    choices = (rows, columns)[: len(shape)] + (None,) * (len(shape) - 2)
    return [np.arange(n) if c is None else c.numpy() for n, c in zip(shape, choices, strict=True)]


def as_array(index):
    return None if index is None else index.numpy()


def numbers(shape, dtype, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def choices(n, seed):
    """Some of n, in every way that the law or a caller chooses them."""
    generator = torch.Generator().manual_seed(seed)
    k = max(n // 2, 1)
    return {
        "all": None,
        "every": torch.arange(n),
        "one": torch.tensor([n - 1]),
        "random": torch.randperm(n, generator=generator)[:k].sort().values,
        "slice": torch.arange(n - k, n),
        "wrapped": torch.cat([torch.arange(k - k // 2), torch.arange(n - k // 2, n)]).unique(),
        "most": torch.arange(n)[torch.arange(n) != n // 2] if n > 1 else torch.tensor([0]),
    }


@st.composite
def submatrices(draw):
    """Shape of a matrix or a vector, and chosen rows and columns."""
    shape = tuple(draw(st.lists(st.sampled_from(SIZES) | st.integers(1, 40), min_size=1, max_size=2)))
    picks = [draw(st.sampled_from(list(choices(n, draw(st.integers(0, 9))).values()))) for n in shape]
    return shape, picks[0], picks[1] if len(shape) == 2 else None


examples = settings(derandomize=True, deadline=None, max_examples=60)


# --- gather and scatter_add -------------------------------------------------------------------------------------------


@paths
def test_jobs_together_are_jobs_alone(path):
    """Of all sizes and dtypes at once, empty ones among them; large enough for several threads."""
    jobs = []
    for number, (shape, dtype) in enumerate(
        itertools.product([(1, 1), (0, 5), (7, 9), (300, 333), (40,)], cpu.SUBMATRIX_DTYPES)
    ):
        matrix = numbers(shape, dtype, number)
        picks = [choices(n, number)["random"] if n else torch.empty(0, dtype=torch.int64) for n in shape]
        place = Place(matrix, *picks)
        jobs.append((matrix, numbers(shape, dtype, number + 50), numbers(place.shape, dtype, number + 99), place))
    alone, together = ([(m.clone(), s.clone(), b.clone(), p.native) for m, s, b, p in jobs] for _ in range(2))
    sgd, adam = SgdStep(0.1, 0.9), AdamStep(0.1, 0.9, 0.99, 1e-8, 0, 0.1, 0.01)
    for few in ([job] for job in alone):
        carry_out_all(few, sgd, adam, path)
    carry_out_all(together, sgd, adam, path)
    for one, other in zip(alone, together, strict=True):
        assert all(alike(a, b) for a, b in zip(one[:3], other[:3], strict=True))


def carry_out_all(jobs, sgd, adam, path):
    blocks = [(matrix, block, place) for matrix, _, block, place in jobs]
    cpu.sgd([(matrix, state, block, place, sgd) for matrix, state, block, place in jobs], path)
    cpu.gather(blocks, path)
    cpu.scatter_add(blocks, path)
    moments = [(state, state.abs(), None) for _, state, _, _ in jobs]
    cpu.adam([(x, m, block, place, adam) for (x, _, block, place), m in zip(jobs, moments, strict=True)], path)


@paths
@dtypes
def test_gather_and_scatter_add_for_every_choice(path, dtype):
    """All pairs of choices, at the sizes where vectors begin and end. Sums are rounded as torch rounds them."""
    for height, width in [(3, n) for n in SIZES] + [(1, 1), (9, 3)]:
        for rows, columns in itertools.product(choices(height, 1).values(), choices(width, 2).values()):
            matrix = Guarded(numbers((height, width), dtype))
            place = cpu.place(matrix.tensor, rows, columns)
            wide = reference.gather(matrix.tensor.double().numpy(), as_array(rows), as_array(columns))
            block = Guarded(torch.zeros(wide.shape, dtype=dtype))
            cpu.gather([(matrix.tensor, block.tensor, place)], path)
            assert alike(block.tensor, torch.from_numpy(wide).to(dtype))
            assert block.outside_untouched()
            assert alike(matrix.memory, matrix.before)
            addend = Guarded(numbers(wide.shape, dtype, seed=3))
            cpu.scatter_add([(matrix.tensor, addend.tensor, place)], path)
            wanted = numbers((height, width), dtype)
            wanted[np.ix_(*chosen(wanted.shape, rows, columns))] += addend.tensor
            assert alike(matrix.tensor, wanted)
            assert matrix.outside_untouched(rows, columns)
            assert alike(addend.memory, addend.before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scatter_add_is_the_reference(dtype):
    for (height, width), seed in itertools.product([(3, 17), (8, 8), (5, 100)], range(3)):
        rows, columns = choices(height, seed)["random"], choices(width, seed)["random"]
        matrix, block = numbers((height, width), dtype), numbers((len(rows), len(columns)), dtype, seed=1)
        wanted = reference.scatter_add(matrix.numpy(), block.numpy(), rows.numpy(), columns.numpy())
        submatrix.scatter_add(matrix, block, Place(matrix, rows, columns))
        assert alike(matrix, torch.from_numpy(wanted))


@examples
@given(submatrices(), st.sampled_from(sorted(cpu.SUBMATRIX_DTYPES, key=str)), st.sampled_from(cpu.PATHS))
def test_any_gather(case, dtype, path):
    shape, rows, columns = case
    n = math.prod(shape)
    raw = torch.randint(-128, 128, (n * dtype.itemsize,), dtype=torch.int8, generator=torch.Generator().manual_seed(n))
    matrix = Guarded(raw.view(dtype).view(shape))  # nan, inf and -0.0 among them: bits are copied
    wanted = matrix.tensor[np.ix_(*chosen(shape, rows, columns))]
    block = Guarded(torch.zeros(wanted.shape, dtype=dtype))
    cpu.gather([(matrix.tensor, block.tensor, cpu.place(matrix.tensor, rows, columns))], path)
    assert alike(block.tensor, wanted)
    assert block.outside_untouched()


@paths
def test_vectors_and_tensors_taken_whole(path):
    for shape in [(9,), (1,), (2, 3, 4), (), (2, 1, 8, 8)]:
        matrix = Guarded(numbers(shape, torch.float32))
        block = Guarded(torch.zeros(shape))
        cpu.gather([(matrix.tensor, block.tensor, cpu.place(matrix.tensor, None, None))], path)
        assert alike(block.tensor, matrix.tensor)
        assert block.outside_untouched()


def test_nothing_chosen_is_nothing_done():
    matrix = numbers((3, 4), torch.float32)
    nothing = torch.empty(0, dtype=torch.int64)
    for rows, columns in [(nothing, None), (None, nothing), (nothing, nothing)]:
        place, before = Place(matrix, rows, columns), matrix.clone()
        block = submatrix.gather(matrix, place)
        assert 0 in block.shape
        submatrix.scatter_add(matrix, block, place)
        submatrix.sgd([(matrix, None, block, place, SgdStep(0.1))])
        assert alike(matrix, before)


# --- updates ----------------------------------------------------------------------------------------------------------

SGD = [
    dict(zip(("momentum", "dampening", "weight_decay", "nesterov", "maximize"), values, strict=True))
    for values in itertools.product((0.0, 0.9), (0.0, 0.3), (0.0, 0.05), (False, True), (False, True))
    if not values[3] or (values[0] and not values[1])  # torch: nesterov needs momentum, and no dampening
]
SHAPES, KINDS = ((7, 23), (5, 9), (3, 7)), (("random", "random"), ("all", "wrapped"))
ADAM = [
    dict(zip(("weight_decay", "amsgrad", "maximize", "decoupled_weight_decay"), values, strict=True))
    for values in itertools.product((0.0, 0.05), (False, True), (False, True), (False, True))
]


def close(ours, torchs, oracle):
    """Whether our largest error is at most twice torch's, or a rounding of the largest number."""
    exact = torch.from_numpy(oracle)
    floor = torch.finfo(ours.dtype).eps * exact.abs().max()
    mine, other = ((x.double() - exact).abs().max() for x in (ours, torchs))
    return bool(mine <= torch.maximum(2 * other, floor))


def doubles(values):
    return None if values is None else values.double().numpy()


def sgd_by_torch(parameter, momentum, gradient, options, lr):
    """One of torch's own steps on whole tensors, with a momentum that is there already."""
    twin = torch.nn.Parameter(parameter.clone())
    optimizer = torch.optim.SGD([twin], lr, **options, foreach=False)
    twin.grad = gradient.clone()
    if momentum is not None:
        optimizer.state[twin]["momentum_buffer"] = momentum.clone()
    optimizer.step()
    return twin.detach(), optimizer.state[twin].get("momentum_buffer")


def adam_by_torch(parameter, moments, gradient, options, lr, count):
    twin = torch.nn.Parameter(parameter.clone())
    optimizer = torch.optim.Adam([twin], lr, **options, foreach=False)
    twin.grad = gradient.clone()
    names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    state = {name: moment.clone() for name, moment in zip(names, moments, strict=True) if moment is not None}
    optimizer.state[twin] = {"step": torch.tensor(count - 1.0), **state}
    optimizer.step()
    return twin.detach(), [optimizer.state[twin].get(name) for name in names]


def check_sgd(shape, rows, columns, dtype, options, path, lr=0.1):
    """One step at a place: against oracle and torch, and nothing else touched. Returns the result for comparisons."""
    at = np.ix_(*chosen(shape, rows, columns))
    parameter, gradient = Guarded(numbers(shape, dtype)), numbers(shape, dtype, seed=1)
    momentum = Guarded(numbers(shape, dtype, seed=2)) if options["momentum"] else None
    state, block = momentum and momentum.tensor, Guarded(gradient[at])
    step = SgdStep(lr, **options)
    index = as_array(rows), as_array(columns)
    oracle = reference.sgd(doubles(parameter.tensor), doubles(state), doubles(block.tensor), *index, step)
    theirs = sgd_by_torch(parameter.tensor, state, gradient, options, lr)
    cpu.sgd([(parameter.tensor, state, block.tensor, cpu.place(parameter.tensor, rows, columns), step)], path)
    assert parameter.outside_untouched(rows, columns)
    assert alike(block.memory, block.before)
    assert close(parameter.tensor[at], theirs[0][at], oracle[0][at])
    if momentum:
        assert momentum.outside_untouched(rows, columns)
        assert close(state[at], theirs[1][at], oracle[1][at])
    return parameter.memory, momentum and momentum.memory


def check_adam(shape, rows, columns, dtype, options, path, lr=0.1, count=3):
    at = np.ix_(*chosen(shape, rows, columns))
    parameter, gradient = Guarded(numbers(shape, dtype)), numbers(shape, dtype, seed=1)
    guarded = [
        Guarded(numbers(shape, dtype, seed=2)),
        Guarded(numbers(shape, dtype, seed=3).abs()),
        Guarded(numbers(shape, dtype, seed=4).abs()) if options["amsgrad"] else None,
    ]
    moments, block = tuple(moment and moment.tensor for moment in guarded), Guarded(gradient[at])
    betas = 0.9, 0.999
    corrections = (1 - beta**count for beta in betas)
    step = AdamStep(
        lr,
        *betas,
        1e-8,
        options["weight_decay"],
        *corrections,
        options["decoupled_weight_decay"],
        options["maximize"],
    )
    index = as_array(rows), as_array(columns)
    oracle = reference.adam(
        doubles(parameter.tensor), tuple(map(doubles, moments)), doubles(block.tensor), *index, step
    )
    theirs = adam_by_torch(parameter.tensor, moments, gradient, options, lr, count)
    cpu.adam([(parameter.tensor, moments, block.tensor, cpu.place(parameter.tensor, rows, columns), step)], path)
    assert parameter.outside_untouched(rows, columns)
    assert alike(block.memory, block.before)
    assert close(parameter.tensor[at], theirs[0][at], oracle[0][at])
    for moment, other, exact in zip(guarded, theirs[1], oracle[1], strict=True):
        if moment:
            assert moment.outside_untouched(rows, columns)
            assert close(moment.tensor[at], other[at], exact[at])
    return parameter.memory, *(moment and moment.memory for moment in guarded)


def label(options):
    return "-".join(name if value is True else f"{name}{value}" for name, value in options.items() if value) or "plain"


@dtypes
@pytest.mark.parametrize("options", SGD, ids=label)
def test_sgd(dtype, options):
    for (height, width), kinds in itertools.product(SHAPES, KINDS):
        rows, columns = (choices(n, 5)[kind] for n, kind in zip((height, width), kinds, strict=True))
        results = [check_sgd((height, width), rows, columns, dtype, options, path) for path in cpu.PATHS]
        for result in results:  # one result, whatever the CPU
            assert all(alike(a, b) for a, b in zip(result, results[0], strict=True) if a is not None)


@dtypes
@pytest.mark.parametrize("options", ADAM, ids=label)
def test_adam(dtype, options):
    for (height, width), kinds in itertools.product(SHAPES, KINDS):
        rows, columns = (choices(n, 5)[kind] for n, kind in zip((height, width), kinds, strict=True))
        results = [check_adam((height, width), rows, columns, dtype, options, path) for path in cpu.PATHS]
        for result in results:
            assert all(alike(a, b) for a, b in zip(result, results[0], strict=True) if a is not None)


@examples
@given(submatrices(), st.sampled_from(sorted(cpu.SUBMATRIX_DTYPES, key=str)), st.sampled_from(cpu.PATHS), st.data())
def test_any_update(case, dtype, path, data):
    check_sgd(*case, dtype, data.draw(st.sampled_from(SGD)), path, data.draw(st.sampled_from([1e-4, 0.1, 2.0])))
    count = data.draw(st.sampled_from([1, 2, 1000]))
    check_adam(*case, dtype, data.draw(st.sampled_from(ADAM)), path, data.draw(st.sampled_from([1e-4, 0.1])), count)


@paths
@dtypes
@pytest.mark.parametrize("amsgrad", [False, True])
def test_nan_and_inf_are_as_torch_has_them(path, dtype, amsgrad):
    gradient = torch.tensor([math.nan, math.inf, -math.inf, 0.0, 1.0] * 4, dtype=dtype)
    options = {"weight_decay": 0.0, "amsgrad": amsgrad, "maximize": False, "decoupled_weight_decay": False}
    state = [torch.ones_like(gradient) for _ in range(2 + amsgrad)] + [None] * (not amsgrad)
    theirs, moments = adam_by_torch(torch.ones_like(gradient), state, gradient, options, 0.1, 2)
    ours, mine = torch.ones_like(gradient), tuple(moment if moment is None else moment.clone() for moment in state)
    step = AdamStep(0.1, 0.9, 0.999, 1e-8, 0.0, 1 - 0.9**2, 1 - 0.999**2)
    cpu.adam([(ours, mine, gradient, cpu.place(ours, None, None), step)], path)
    for a, b in zip((ours, *mine), (theirs, *moments), strict=True):
        if a is not None:
            torch.testing.assert_close(a, b, equal_nan=True, rtol=1e-2, atol=0)


# --- threads, forms and dispatch --------------------------------------------------------------------------------------


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@paths
@dtypes
def test_threads_do_not_matter(path, dtype, threads):
    shape = (301, 400)
    rows, columns = choices(301, 1)["random"], choices(400, 2)["random"]
    options = {"momentum": 0.9, "dampening": 0.0, "weight_decay": 0.01, "nesterov": True, "maximize": False}
    results = []
    for count in (1, 2, 4):
        threads(count)
        parameter, momentum = numbers(shape, dtype), numbers(shape, dtype, seed=1)
        place, block = cpu.place(parameter, rows, columns), torch.empty(150, 200, dtype=dtype)
        cpu.gather([(parameter, block, place)], path)
        cpu.scatter_add([(parameter, block, place)], path)
        cpu.sgd([(parameter, momentum, block, place, SgdStep(0.1, **options))], path)
        second = momentum.abs()
        cpu.adam(
            [(parameter, (momentum, second, None), block, place, AdamStep(0.1, 0.9, 0.99, 1e-8, 0, 0.1, 0.01))], path
        )
        results.append((block, parameter, momentum, second))
    for result in results[1:]:
        assert all(alike(a, b) for a, b in zip(result, results[0], strict=True))


@examples
@given(submatrices(), st.sampled_from(sorted(cpu.SUBMATRIX_DTYPES, key=str)), st.data())
def test_the_tensor_form_is_the_same(case, dtype, data):
    """Both round after each of at most a dozen operations; torch's vectors may divide in another way."""
    shape, rows, columns = case
    sgd = SgdStep(0.1, **data.draw(st.sampled_from(SGD)))
    adam = data.draw(st.sampled_from(ADAM))
    adam_step = AdamStep(
        0.1, 0.9, 0.99, 1e-8, adam["weight_decay"], 0.1, 0.01, adam["decoupled_weight_decay"], adam["maximize"]
    )
    results = []
    for native in (True, False):
        matrix, state = numbers(shape, dtype), [numbers(shape, dtype, seed=n).abs() for n in (1, 2, 3)]
        block = numbers(matrix[np.ix_(*chosen(shape, rows, columns))].shape, dtype, seed=4)
        moments = state[0], state[1], state[2] if adam["amsgrad"] else None
        momentum = state[0] if sgd.momentum else None
        if native:
            place = Place(matrix, rows, columns)
            found = submatrix.gather(matrix, place)
            submatrix.scatter_add(matrix, block, place)
            submatrix.sgd([(matrix, momentum, block, place, sgd)])
            submatrix.adam([(matrix, moments, block, place, adam_step)])
        else:
            found = tensor.gather(matrix, rows, columns)
            tensor.scatter_add(matrix, block, rows, columns)
            tensor.sgd(matrix, momentum, block, rows, columns, sgd)
            tensor.adam(matrix, moments, block, rows, columns, adam_step)
        results.append((found, matrix, *state))
    (found, *ours), (other, *theirs) = results
    assert alike(found, other)
    for a, b in zip(ours, theirs, strict=True):
        assert (a.double() - b.double()).abs().max() <= 4 * torch.finfo(dtype).eps * b.double().abs().max()


@pytest.mark.parametrize("form", ["contiguous", "transposed", "strided", "float16"])
def test_layouts_and_dtypes_that_have_no_kernel(form):
    """They take the tensor form, and the result is the same."""
    dtype = torch.float16 if form == "float16" else torch.float32
    values = numbers((6, 9), dtype)
    matrix = values.clone()
    if form == "transposed":
        matrix = values.t().contiguous().t()
    if form == "strided":
        matrix = torch.zeros(6, 18, dtype=dtype)[:, ::2].copy_(values)
    rows, columns = torch.tensor([0, 2, 5]), torch.tensor([1, 3, 8])
    place, at = Place(matrix, rows, columns), np.ix_(rows, columns)
    block = submatrix.gather(matrix, place)
    assert alike(block, values[at])
    assert alike(submatrix.gather(matrix, place, torch.zeros(3, 3, dtype=dtype)), block)
    submatrix.scatter_add(matrix, block, place)
    submatrix.sgd([(matrix, None, block, place, SgdStep(lr=0.5))])
    values[at] *= 1.5
    torch.testing.assert_close(matrix, values)


def test_state_of_another_dtype_is_no_memory_of_the_kernels():
    """A module that is cast leaves the state of its optimizer as it was."""
    parameter, momentum = numbers((3, 9), torch.float64), Guarded(torch.zeros(3, 9))
    submatrix.sgd(
        [(parameter, momentum.tensor, torch.ones(3, 9).double(), Place(parameter), SgdStep(0.1, momentum=0.9))]
    )
    assert torch.equal(momentum.tensor, torch.ones(3, 9))
    assert momentum.outside_untouched()


def test_versions_are_counted():
    """What was saved for backward and has been updated since is refused there."""
    matrix = numbers((3, 9), torch.float32)
    rows = torch.tensor([1])
    place, block = Place(matrix, rows), torch.ones(1, 9)
    moments = torch.zeros(3, 9), torch.zeros(3, 9), None
    for change in (
        lambda: submatrix.scatter_add(matrix, block, place),
        lambda: submatrix.sgd([(matrix, None, block, place, SgdStep(0.1))]),
        lambda: submatrix.adam([(matrix, moments, block, place, AdamStep(0.1, 0.9, 0.99, 1e-8, 0, 0.1, 0.01))]),
    ):
        saved = (torch.ones(3, 9, requires_grad=True) * matrix).sum()
        before = matrix._version
        change()
        assert matrix._version == before + 1
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            saved.backward()


def test_places():
    matrix = torch.empty(4, 5)
    rows = torch.tensor([0, 3])
    assert Place(matrix, rows).shape == (2, 5)
    assert Place(matrix).shape == (4, 5)
    assert Place(matrix, rows) == Place(matrix, rows.clone())
    assert Place(matrix, rows) != Place(matrix, columns=rows)
    assert Place(matrix, rows) != Place(torch.empty(5, 5), rows)
    assert Place(matrix, rows) != Place(matrix, torch.tensor([0, 2]))
    assert Place(matrix, rows) != "a place"
    strided = torch.tensor([0, 9, 3, 9])[::2]
    values = numbers((4, 5), torch.float32)
    assert alike(submatrix.gather(values, Place(values, strided)), values[[0, 3]])


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda m: submatrix.gather(torch.empty(5, 5), Place(m)), r"shape \(4, 5\), but got \(5, 5\)\."),
        (lambda m: submatrix.gather(m, Place(m), torch.empty(3)), r"The block must have .* got \(3,\)\."),
        (
            lambda m: submatrix.sgd([(m, torch.empty(2, 5), m, Place(m), SgdStep(0.1, 0.9))]),
            r"must have shape \(4, 5\), but got \(2, 5\)\.",
        ),
    ],
)
def test_what_would_leave_the_memory_is_refused(use, message):
    with pytest.raises(RangeError, match=message):
        use(torch.zeros(4, 5))


# --- units ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", LAW["units"], ids=lambda c: f"n{c['n']}-p{c['p']}-seed{c['seed']}-multiple{c['multiple_of']}"
)
def test_known_units(case):
    k = units_kept(case["n"], case["p"], case["multiple_of"])
    assert k == case["count"]
    kept = cpu.units(case["n"], k, case["group"] + 1, int(case["seed"]), int(case["stream"]))
    mine = kept[case["group"]].numpy()
    assert mine[:40].tolist() == case["kept"]
    assert hashlib.sha256(mine.astype("<i8").tobytes()).hexdigest() == case["sha256"]


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    st.sampled_from([1, 2, 7, 100, 255, 256, 257, 1000]) | st.integers(1, 600),
    st.sampled_from([0.0, 0.01, 0.5, 0.99, 1.0]) | st.floats(0, 1),
    st.integers(1, 5),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.booleans(),
    st.sampled_from([1, 8]),
)
def test_units_are_those_of_the_law(n, p, groups, seed, stream, slices, multiple_of):
    kept = Mask(p, seed, stream).units(n, groups, multiple_of, slices)
    k = units_kept(n, p, multiple_of)
    assert kept.shape == (groups, k)
    assert torch.equal(cpu.units(n, k, groups, seed, stream, slices), kept)


def test_slices_are_neighbours_and_start_where_their_word_says():
    n, groups, seed = 10, 50, 3
    kept = Mask(0.6, seed).units(n, groups, slices=True)
    starts = element_words(0, groups, 32, seed, 0).tolist()
    wrapped = 0
    for row, word in zip(kept.tolist(), starts, strict=True):
        start = word * n // 2**32
        assert row == sorted((start + j) % n for j in range(4))
        wrapped += start > 6
    assert wrapped > 0


@pytest.mark.parametrize("slices", [False, True])
@pytest.mark.parametrize(("n", "p"), [(1, 0.5), (2, 0.5), (7, 0.01), (7, 0.99), (10, 0.2), (100, 0.5), (100, 0.99)])
def test_every_unit_is_kept_with_the_same_probability(n, p, slices):
    """In G independent groups a unit is kept G q times, q = k / n, give or take t: by Hoeffding's inequality it strays
    further with probability at most 2 exp(-2 t**2 / G), which is 1e-9 at t = sqrt(G ln(2e9) / 2). Fewer than 1,000
    units are counted here, so a perfect generator would fail with a chance of 1e-6. The start of a slice is uniform to
    2**-32 only, which moves a count by less than 1e-3.
    """
    groups = 20_000
    k = units_kept(n, p)
    kept = cpu.units(n, k, groups, seed=77, stream=5, slices=slices)
    counts = torch.bincount(kept.flatten(), minlength=n).double()
    assert (counts - groups * k / n).abs().max() <= math.sqrt(groups * math.log(2e9) / 2)
    assert (kept.diff(dim=1) > 0).all()  # ascending, none twice


def test_units_by_hand():
    assert cpu.units(1, 1, 3, 0, 0).tolist() == [[0]] * 3
    assert cpu.units(1, 1, 2, 5, 0, slices=True).tolist() == [[0]] * 2
    assert cpu.units(5, 5, 1, 0, 0).tolist() == [[0, 1, 2, 3, 4]]
    assert cpu.units(5, 5, 1, 0, 0, slices=True).tolist() == [[0, 1, 2, 3, 4]]


def test_a_slice_of_more_units_than_a_word_can_count():
    """The start is the word times n, of which 96 bits are needed."""
    n = 2**40 + 3
    word = int(element_words(0, 1, 32, 9, 0)[0])
    start = word * n >> 32
    assert cpu.units(n, 3, 1, 9, 0, slices=True).tolist() == [[start, start + 1, start + 2]]
