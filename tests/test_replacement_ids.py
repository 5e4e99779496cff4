"""Sparse dropout with replacement: kernels, functions and layers on ids, and subsampling, against NumPy."""

import copy
import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import thinned
from thinned import Mask, Window, functional, nn
from thinned._errors import KindError, RangeError
from thinned.kernels import cpu, reference
from thinned.kernels import replacement as kernels
from thinned.masks import rate

BY_EXAMPLE, BY_VALUE = functional.sparse_dropout_with_replacement, functional.sparse_itemwise_dropout_with_replacement
LAYERS = [nn.SparseDropoutWithReplacement, nn.SparseItemwiseDropoutWithReplacement]
functions = pytest.mark.parametrize("function", [BY_EXAMPLE, BY_VALUE])
layers = pytest.mark.parametrize("layer", LAYERS)

lengths_lists = st.lists(st.integers(0, 7), max_size=30)
integers = st.sampled_from([torch.int32, torch.int64])


def ragged(lengths, dtype=torch.int64, length_dtype=torch.int64):
    return torch.arange(sum(lengths), dtype=dtype) + 100, torch.tensor(lengths, dtype=length_dtype)


def same(got, want):
    assert len(got) == len(want)
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours, torch.as_tensor(theirs), rtol=0, atol=0)


# --- kernels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.5, 0.001])  # of 16 and of 32 bits
@pytest.mark.parametrize("path", cpu.PATHS)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_kernels(p, path, threads):
    """Some blocks of segments, an uneven last one, and results of every length."""
    sizes = np.random.default_rng(1).integers(0, 5, 3 * 4096 + 77)
    values, lengths = ragged(sizes.tolist(), torch.int32, torch.int32)
    law = rate(p), 7, 3
    got = kernels.segments(values, lengths, -1, *law, start=11, path=path, threads=threads)
    mask = Mask(p, 7, 3, window=Window((len(sizes) + 20,), (11,)))
    same(got, reference.replacement_segments(values.numpy(), lengths.numpy(), -1, mask))
    mask = Mask(p, 7, 3, window=Window((values.numel() + 20,), (11,)))
    got = kernels.items(values, -1, *law, start=11, path=path, threads=threads)
    same([got], [reference.replacement_items(values.numpy(), -1, mask)])


@settings(max_examples=60, deadline=None)
@given(lengths_lists, st.floats(0.01, 0.99), st.integers(0, 2**64 - 1), integers, integers)
def test_kernels_agree_with_torch_and_numpy(lengths, p, seed, dtype, length_dtype):
    values, lengths = ragged(lengths, dtype, length_dtype)
    want = reference.replacement_segments(values.numpy(), lengths.numpy(), -5, Mask(p, seed))
    same(kernels.segments(values, lengths, -5, rate(p), seed, 0), want)
    same(kernels.by_mask(values, lengths, -5, Mask(p, seed).keep(lengths.shape)), want)
    want = reference.replacement_items(values.numpy(), -5, Mask(p, seed))
    same([kernels.items(values, -5, rate(p), seed, 0)], [want])


HOSTILE = [
    ([3, -1], kernels.NEGATIVE),
    ([1, 2], kernels.SUM),
    ([], kernels.SUM),
    ([2**63 - 1, 2**63 - 1, 4], kernels.SUM),  # whose sum wraps around to 2
    ([2**62] * 4 + [2], kernels.SUM),  # to 2 as well
    ([2] + [1] * 10_000, kernels.SUM),  # over some blocks
    ([3] + [0] * 5000 + [-1], kernels.NEGATIVE),
    ([5] + [0] * 5000 + [-(2**63)], kernels.NEGATIVE),
]


@functions
@pytest.mark.parametrize(("lengths", "fault"), HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_lengths(function, lengths, fault):
    values, lengths = torch.arange(2), torch.tensor(lengths, dtype=torch.int64)
    for threads in (1, 3):
        assert kernels.segments(values, lengths, 0, rate(0.5), 1, 0, threads=threads) == fault
    assert kernels.by_mask(values, lengths, 0, torch.ones(len(lengths), dtype=torch.bool)) == fault
    message = "must not be negative" if fault == kernels.NEGATIVE else "must add up to the number of values, 2, but"
    for p in (0.5, 1.0):
        with pytest.raises(RangeError, match=f"`lengths` {message}"):
            function(values, lengths, p)


# --- functions --------------------------------------------------------------------------------------------------------


@functions
def test_nothing_to_replace(function):
    values, lengths = ragged([2, 0, 3])
    state = torch.get_rng_state()
    for p, training in ((0.0, True), (0.5, False)):
        got = function(values, lengths, p, training)
        assert got[0] is values
        assert got[1] is lengths
    examples = [values]
    assert function(examples, p=0.0) is examples
    assert torch.equal(torch.get_rng_state(), state)


@functions
def test_everything_is_replaced(function):
    values, lengths = ragged([2, 0, 3])
    new, sizes = function(values, lengths, 1.0, replacement_value=9)
    assert new.tolist() == [9] * (3 if function is BY_EXAMPLE else 5)
    assert sizes.tolist() == ([1, 1, 1] if function is BY_EXAMPLE else [2, 0, 3])


@settings(max_examples=40, deadline=None)
@given(lengths_lists, st.sampled_from([BY_EXAMPLE, BY_VALUE]), st.booleans(), integers)
def test_all_forms_agree(lengths, function, last, dtype):
    values, lengths = ragged(lengths, dtype)
    options = {"p": 0.4, "replacement_value": -1, "seed": 5}
    want, sizes = function(values, lengths, **options)
    ends = torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)))
    offsets = ends if last else ends[:-1]
    if last or len(lengths):
        new, starts = function(values, offsets=offsets, include_last_offset=last, **options)
        ends = torch.cat((torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)))
        same((new, starts), (want, ends if last else ends[:-1]))
    examples = function(list(values.split(lengths.tolist())) if len(lengths) else [], **options)
    assert [len(example) for example in examples] == sizes.tolist()
    assert not len(lengths) or torch.equal(torch.cat(examples), want)
    if len(lengths):
        nested = torch.nested.nested_tensor_from_jagged(values, torch.cat((lengths.new_zeros(1), lengths.cumsum(0))))
        got = function(nested, **options)
        same((got.values(), got.offsets().diff()), (want, sizes))


def test_nested_tensors_with_holes():
    nested = torch.nested.nested_tensor_from_jagged(torch.arange(6), torch.tensor([0, 3, 6]), torch.tensor([2, 1]))
    got = BY_EXAMPLE(nested, p=0.5, replacement_value=-1, mask=torch.tensor([True, False]))
    assert [example.tolist() for example in got.unbind()] == [[0, 1], [-1]]


def test_a_mask_of_ones_own():
    values, lengths = ragged([2, 0, 3])
    new, sizes = BY_EXAMPLE(values, lengths, mask=torch.tensor([True, False, False]), replacement_value=-1)
    assert (new.tolist(), sizes.tolist()) == ([100, 101, -1, -1], [2, 1, 1])
    new, _ = BY_VALUE(values, lengths, mask=torch.tensor([True, False, False, True, True]), replacement_value=-1)
    assert new.tolist() == [100, -1, -1, 103, 104]


@functions
def test_windows_are_parts_of_the_whole(function):
    values, lengths = ragged([2, 0, 3, 1, 4, 2, 2, 0])
    options = {"p": 0.5, "replacement_value": -1, "seed": 3}
    whole, sizes = function(values, lengths, **options)
    first, total = (2, 8) if function is BY_EXAMPLE else (2, 14)
    part, part_sizes = function(values[2:], lengths[2:], window=Window((total,), (first,)), **options)
    assert torch.equal(part_sizes, sizes[2:])
    assert torch.equal(part, whole[int(sizes[:2].sum()) :])


@functions
def test_seeds_and_generators(function):
    values, lengths = ragged([1] * 200)
    first = function(values, lengths, generator=torch.Generator().manual_seed(1))[0]
    assert torch.equal(first, function(values, lengths, generator=torch.Generator().manual_seed(1))[0])
    torch.manual_seed(4)
    drawn = function(values, lengths)[0]
    torch.manual_seed(4)
    assert torch.equal(drawn, function(values, lengths)[0])
    seeded = function(values, lengths, seed=9)[0]
    assert torch.equal(seeded, function(values, lengths, seed=torch.tensor(9))[0])
    assert not torch.equal(seeded, function(values, lengths, seed=9, stream=1)[0])


@functions
def test_strided_inputs(function):
    values, lengths = ragged([3] * 20)
    want = function(values, lengths, seed=1)
    spread = torch.stack((values, -values), 1)[:, 0]
    assert not spread.is_contiguous()
    same(function(spread, torch.stack((lengths, lengths), 1)[:, 1], seed=1), want)


V, L = ragged([1, 2])
WRONG = [
    ((V.float(), L), {}, KindError, r"`values` must be of dtype int32 or int64, but got torch\.float32"),
    ((V, L.float()), {}, KindError, r"`lengths` must be of dtype int32 or int64, but got torch\.float32"),
    ((V.view(3, 1), L), {}, RangeError, r"`values` must have 1 axis, but got shape \(3, 1\)"),
    ((V, L.view(2, 1)), {}, RangeError, r"`lengths` must have 1 axis, but got shape \(2, 1\)"),
    ((V,), {}, RangeError, "`lengths` or `offsets` must be given beside a tensor of values, but got neither"),
    ((V, L), {"offsets": L}, RangeError, "`lengths` and `offsets` must not both be given"),
    (([V], L), {}, RangeError, "must not be given beside a nested tensor or a list"),
    ((V, [1, 2]), {}, KindError, "`lengths` must be a tensor, but got a list"),
    (("text",), {}, KindError, "`values` must be a tensor or a list of tensors, but got a str"),
    (([V, V.int()],), {}, KindError, "`values` must have one dtype and device in all examples, but got 2 different"),
    ((V,), {"offsets": L}, RangeError, "`offsets` must begin with 0, but got 1"),
    ((V,), {"offsets": L[:0]}, RangeError, "`offsets` must not be empty, but got 3 values without an offset"),
    ((V,), {"offsets": L[:0], "include_last_offset": True}, RangeError, "must have at least 1 entry"),
    ((V,), {"offsets": torch.tensor([0, 2, 1])}, RangeError, r"must not be negative anywhere \(nor `offsets` descend"),
    ((V,), {"offsets": torch.tensor([0, 9])}, RangeError, r"must not be negative anywhere \(nor `offsets` descend"),
    ((V, L, 1.5), {}, RangeError, r"`p` must be in \[0, 1\], but got p=1\.5"),
    (
        (V, L),
        {"replacement_value": 1.0},
        KindError,
        "`replacement_value` must be an integer, but got 1.0 of",
    ),
    ((V, L), {"replacement_value": True}, KindError, "`replacement_value` must be an integer, but got a bool"),
    ((V.int(), L), {"replacement_value": 2**31}, RangeError, r"must fit in torch\.int32, but got 2147483648"),
    ((V, L), {"seed": 1, "generator": torch.Generator()}, RangeError, "`seed` and `generator` must not both be given"),
    ((V, L), {"mask": L}, KindError, r"`mask` must be a bool tensor \(true = keep\), but got torch\.int64"),
    ((V, L), {"mask": L > 7, "seed": 1}, RangeError, "`mask` excludes `seed`"),
    (
        (V, L),
        {"mask": torch.ones(9, dtype=torch.bool)},
        RangeError,
        r"`mask` must have shape \([23],\), but got",
    ),
    ((V, L), {"window": Window((1,), (0,))}, RangeError, "`window` must contain the tensor"),
]


@functions
@pytest.mark.parametrize(("arguments", "options", "kind", "message"), WRONG, ids=range(len(WRONG)))
def test_wrong_arguments(function, arguments, options, kind, message):
    with pytest.raises(kind, match=message):
        function(*arguments, **options)


@functions
def test_nested_tensors_of_other_kinds(function):
    jagged = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(1, 3)], layout=torch.jagged)
    with pytest.raises(KindError, match=r"must be jagged with 2 axes.*but got layout torch\.jagged with 3 axes"):
        function(jagged)
    with warnings.catch_warnings():  # torch says once in a process that these are a prototype
        warnings.simplefilter("ignore")
        strided = torch.nested.nested_tensor([torch.arange(2), torch.arange(3)])
    with pytest.raises(KindError, match="must be jagged with 2 axes"):
        function(strided)


def test_meta():
    values, lengths = V.to("meta"), L.to("meta")
    with pytest.raises(RangeError, match="`values` must hold data, on which the size of the result depends"):
        BY_EXAMPLE(values, lengths)
    assert BY_VALUE(values, lengths)[0].is_meta
    with pytest.raises(RangeError, match="`values` and `lengths` must be on one device, but got cpu and meta"):
        BY_EXAMPLE(V, lengths)


@functions
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_rate(function, p):
    """The number replaced is binomial: 5 standard deviations, beside the law's own 2**-10 of the smaller share."""
    n = 30_000
    values, lengths = ragged([1] * n)
    replaced = int((function(values, lengths, p, replacement_value=-1, seed=8)[0] == -1).sum())
    assert abs(replaced - n * p) <= 5 * math.sqrt(n * p * (1 - p)) + n * 2**-10 * min(p, 1 - p)


# --- layers -----------------------------------------------------------------------------------------------------------


@layers
def test_layers_call_their_function(layer):
    values, lengths = ragged([2, 0, 3] * 20)
    function = BY_EXAMPLE if layer is LAYERS[0] else BY_VALUE
    made = layer(0.3, replacement_value=7)
    torch.manual_seed(1)
    got = made(values, lengths)
    torch.manual_seed(1)
    same(got, function(values, lengths, 0.3, replacement_value=7))
    torch.manual_seed(1)
    got = layer(0.3, 7, include_last_offset=True)(values, offsets=torch.tensor([0, 100]))
    torch.manual_seed(1)
    same(got, function(values, torch.tensor([100]), 0.3, replacement_value=7)[:1] + got[1:])
    assert made.eval()(values, lengths)[0] is values


@layers
def test_layers_are_modules(layer):
    made = layer(0.3, 7)
    assert repr(made) == f"{layer.__name__}(p=0.3, replacement_value=7)"
    assert repr(layer(include_last_offset=True)).endswith("replacement_value=0, include_last_offset=True)")
    assert made.state_dict() == {}
    for twin in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert repr(twin) == repr(made)
    with pytest.raises(RangeError, match=r"`p` must be in \[0, 1\], but got p=2"):
        made.p = 2
    with pytest.raises(KindError, match="`p` must be a number"):
        layer("0.5")
    with pytest.raises(KindError, match="`replacement_value` must be an integer, but got 'a' of type str"):
        layer(0.5, "a")
    with pytest.raises(RangeError, match=r"`replacement_value` must fit in torch\.int64, but got 9223372036854775808"):
        layer(0.5, 2**63)
    made.p = 0
    assert made(V, L)[0] is V


@layers
def test_keys(layer):
    values, lengths = ragged([1] * 40)
    model = torch.nn.ModuleDict({"ids": layer(0.5, -1)})
    runs = [thinned.keyed(model, seed=1, step=step)["ids"](values, lengths) for step in (0, 0, 1)]
    same(runs[0], runs[1])
    assert not torch.equal(runs[0][0], runs[2][0])
    nested = torch.nested.nested_tensor_from_jagged(values, torch.arange(41))
    same([thinned.keyed(model, seed=1)["ids"](nested).values()], [runs[0][0]])
    same([torch.cat(thinned.keyed(model, seed=1)["ids"](list(values.split(1))))], [runs[0][0]])
    thinned.keyed(model, seed=1, batch=(1, 2, 2))
    if layer is LAYERS[0]:
        second_half, _ = model["ids"](values[20:], offsets=torch.arange(20))
        assert torch.equal(second_half, runs[0][0][20:])
    else:
        with pytest.raises(RangeError, match="The itemwise dropout at 'ids' must not be keyed with `batch`"):
            model["ids"](values[20:], lengths[20:])


def test_before_an_embedding_bag():
    bag = torch.nn.EmbeddingBag(10, 4)
    layer = nn.SparseDropoutWithReplacement(1.0, replacement_value=9)
    bag(*layer(torch.tensor([1, 2, 3]), offsets=torch.tensor([0, 2]))).sum().backward()
    assert (bag.weight.grad != 0).any(1).tolist() == [False] * 9 + [True]


@layers
def test_compiled_with_a_break(layer):
    torch._dynamo.reset()
    made = layer(0.5, -1)
    values, lengths = ragged([2, 3, 0, 4])
    compiled = torch.compile(lambda v, n: made(v + 1, n), backend="aot_eager")
    torch.manual_seed(2)
    got = compiled(values, lengths)
    torch.manual_seed(2)
    same(got, made(values + 1, lengths))
    torch._dynamo.reset()


# --- subsample --------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(lengths_lists, st.sampled_from([0.0, 1.0, 0.3]), st.sampled_from(["rows", "values"]), integers)
def test_subsample(lengths, p, by, dtype):
    values, sizes = ragged(lengths, dtype, torch.int32)
    got = functional.subsample(values, sizes, p, by=by, seed=3)
    keep = Mask(p, 3).keep((len(lengths) if by == "rows" else values.numel(),)).tolist()
    row = np.repeat(np.arange(len(lengths)), lengths)
    if by == "rows":
        want = [v for v, r in zip(values.tolist(), row, strict=True) if keep[r]]
        want_sizes = [n for n, kept in zip(lengths, keep, strict=True) if kept]
    else:
        want = [v for v, kept in zip(values.tolist(), keep, strict=True) if kept]
        want_sizes = [sum(k for k, r in zip(keep, row, strict=True) if r == i) for i in range(len(lengths))]
    assert (got.values.tolist(), got.lengths.tolist()) == (want, want_sizes)
    assert got.kept.tolist() == [i for i, kept in enumerate(keep) if kept]
    assert (got.values.dtype, got.lengths.dtype, got.kept.dtype) == (dtype, torch.int32, torch.int64)


@pytest.mark.parametrize("given", [True, False])
def test_subsample_of_frequent_ids(given):
    """Occurrences of an id that stay are binomial with probability sqrt(threshold / share): 5 standard deviations."""
    times, threshold = [9000, 900, 100], 0.04
    values = torch.repeat_interleave(torch.arange(3), torch.tensor(times))
    counts = torch.tensor(times) if given else None
    got = functional.subsample(values, torch.tensor([10_000]), by="ids", threshold=threshold, counts=counts, seed=2)
    for id, count in enumerate(times):
        stay = min(1, math.sqrt(threshold / (count / 10_000)))
        kept = int((got.values == id).sum())
        assert abs(kept - count * stay) <= 5 * math.sqrt(count * stay * (1 - stay))
    assert torch.equal(values[got.kept], got.values)
    assert int(got.lengths) == got.values.numel()


def test_subsample_counts_that_are_zero():
    counts = torch.tensor([0, 5])
    got = functional.subsample(torch.tensor([0, 0]), torch.tensor([2]), by="ids", threshold=1e-9, counts=counts)
    assert got.values.tolist() == [0, 0]


def test_subsample_counts_of_more_than_64_bits():
    counts = torch.full((5,), 2**62)  # a share of 1 / 5 each
    got = functional.subsample(torch.arange(5), torch.tensor([5]), by="ids", threshold=0.2, counts=counts)
    assert got.kept.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({}, RangeError, "`p` must be given for 'rows' and 'values', .* but got p=None, threshold=None"),
        ({"p": 0.5, "by": "ids"}, RangeError, "`threshold` .* for 'ids', but got p=0.5"),
        ({"p": 0.5, "threshold": 0.1}, RangeError, "but got p=0.5, threshold=0.1 and counts=None for by='rows'"),
        ({"p": 0.5, "counts": L}, RangeError, "counts=a tensor for by='rows'"),
        ({"p": 0.5, "by": "columns"}, RangeError, "`by` must be 'rows', 'values' or 'ids', but got by='columns'"),
        ({"p": 1.5}, RangeError, r"`p` must be in \[0, 1\]"),
        ({"by": "ids", "threshold": 0.0}, RangeError, r"`threshold` must be in \(0, 1\], but got threshold=0\.0"),
        ({"by": "ids", "threshold": "a"}, KindError, "`threshold` must be a number"),
        ({"by": "ids", "threshold": 0.1, "counts": L}, RangeError, "`counts` must have an entry for each id, but 2"),
        ({"by": "ids", "threshold": 0.1, "counts": L.float()}, KindError, "`counts` must be an int32 or int64 tensor"),
        (
            {"by": "ids", "threshold": 0.1, "counts": -L},
            RangeError,
            "`counts` must not be negative anywhere, but got",
        ),
        ({"p": 0.5, "values": V.to("meta")}, RangeError, "`values` must be on the CPU, but got a tensor on meta"),
        ({"p": 0.5, "lengths": L.to("meta")}, RangeError, "`lengths` must be on the CPU, but got a tensor on meta"),
        ({"p": 0.5, "seed": 1, "generator": torch.Generator()}, RangeError, "must not both be given"),
        ({"p": 0.5, "lengths": torch.tensor([7])}, RangeError, "`lengths` must add up to the number of values, 3"),
    ],
)
def test_subsample_refuses(options, kind, message):
    with pytest.raises(kind, match=message):
        functional.subsample(**{"values": V, "lengths": L, **options})
