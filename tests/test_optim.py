"""The optimizers, against torch's own: on ordinary gradients, and on gradients of the thinned network alone.

Float64 agrees to 1e-10 relative. Narrower dtypes may differ from torch's in float64 by twice what torch's own do.
"""

import copy
import itertools
import pickle

import pytest
import torch
from torch import nn

from thinned import optim
from thinned.batchwise import SubmatrixGrad, linear
from thinned.submatrix import Place

STEPS = 10
PAIRS = {
    "SGD": (optim.SGD, torch.optim.SGD),
    "Adam": (optim.Adam, torch.optim.Adam),
    "AdamW": (optim.AdamW, torch.optim.AdamW),
}
SGD = [
    dict(zip(("momentum", "dampening", "weight_decay", "nesterov", "maximize"), values, strict=True))
    for values in itertools.product((0.0, 0.9), (0.0, 0.3), (0.0, 0.05), (False, True), (False, True))
    if not values[3] or (values[0] and not values[1])
]
MOMENTS = [
    dict(zip(("betas", "weight_decay", "amsgrad", "maximize"), values, strict=True))
    for values in itertools.product(((0.9, 0.999), (0.0, 0.5)), (0.0, 0.05), (False, True), (False, True))
]
CASES = [("SGD", options) for options in SGD] + [(name, options) for name in ("Adam", "AdamW") for options in MOMENTS]
TYPICAL = [("SGD", SGD[0]), ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.05})]
TYPICAL += [("Adam", {"amsgrad": True, "weight_decay": 0.05}), ("AdamW", {"weight_decay": 0.05})]


def label(case):
    if isinstance(case, str):
        return case
    return "-".join(key if value is True else f"{key}{value}" for key, value in case.items() if value) or "plain"


every = pytest.mark.parametrize(("name", "options"), CASES, ids=label)
typical = pytest.mark.parametrize(("name", "options"), TYPICAL, ids=label)
names = pytest.mark.parametrize("name", PAIRS)


def numbers(shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def tensors_of(optimizer, parameter):
    return {key: value for key, value in optimizer.state[parameter].items() if isinstance(value, torch.Tensor)}


def compare(ours, theirs, mine, other):
    close(mine.detach(), other.detach())
    a, b = tensors_of(ours, mine), tensors_of(theirs, other)
    assert a.keys() == b.keys()
    for key, value in a.items():
        torch.testing.assert_close(value, b[key], rtol=1e-10, atol=1e-12)


def run(optimizer, parameter, gradients):
    for gradient in gradients:
        parameter.grad = gradient.clone() if gradient is not None else None
        optimizer.step()


# --- ordinary gradients -----------------------------------------------------------------------------------------------


@every
def test_ordinary_gradients(name, options):
    mine, other = (nn.Parameter(numbers((4, 9))) for _ in range(2))
    ours, theirs = PAIRS[name][0]([mine], lr=0.1, **options), PAIRS[name][1]([other], lr=0.1, **options)
    gradients = [numbers((4, 9), seed=step) for step in range(1, STEPS + 1)]
    gradients[4] = None  # a step without a gradient is none
    run(ours, mine, gradients)
    run(theirs, other, gradients)
    compare(ours, theirs, mine, other)


FORMS = {
    "transposed": lambda: numbers((9, 4)).t(),
    "strided": lambda: numbers((4, 18))[:, ::2],
    "channels_last": lambda: numbers((2, 3, 4, 5)).contiguous(memory_format=torch.channels_last),
    "convolution": lambda: numbers((4, 3, 3, 3)),
    "scalar": lambda: numbers(()),
    "one": lambda: numbers((1,)),
    "vector": lambda: numbers((17,)),
    "empty": lambda: numbers((0, 3)),
    "complex": lambda: torch.view_as_complex(numbers((3, 9, 2))),
    "complex scalar": lambda: torch.view_as_complex(numbers((2,))),
}


@typical
@pytest.mark.parametrize("form", FORMS)
def test_forms_of_parameters(name, options, form):
    mine, other = (nn.Parameter(FORMS[form]()) for _ in range(2))
    ours, theirs = PAIRS[name][0]([mine], lr=0.1, **options), PAIRS[name][1]([other], lr=0.1, **options)
    gradients = [
        numbers(mine.shape, seed=step).to(mine.dtype) * (1 + 2j if mine.is_complex() else 1) for step in range(STEPS)
    ]
    run(ours, mine, gradients)
    run(theirs, other, gradients)
    compare(ours, theirs, mine, other)
    assert mine.stride() == other.stride()


@typical
def test_forms_of_gradients(name, options):
    """Expanded, transposed, and of every other step that strides can take."""
    mine, other = (nn.Parameter(numbers((6, 6))) for _ in range(2))
    ours, theirs = PAIRS[name][0]([mine], lr=0.1, **options), PAIRS[name][1]([other], lr=0.1, **options)
    for gradient in (numbers((6,)).expand(6, 6), numbers((6, 6)).t(), numbers((6, 12))[:, ::2]):
        mine.grad, other.grad = gradient, gradient
        ours.step()
        theirs.step()
    compare(ours, theirs, mine, other)


@names
def test_conjugate_gradients(name):
    """Autograd conjugates complex gradients lazily; torch's Adam refuses such ones."""
    results = []
    for kind in PAIRS[name]:
        parameter = nn.Parameter(torch.view_as_complex(numbers((3, 2))))
        optimizer = kind([parameter], lr=0.1)
        (parameter.conj() * torch.tensor([1j, 2, 3 + 1j])).real.sum().backward()
        assert parameter.grad.is_conj()
        if kind is PAIRS[name][1]:
            parameter.grad = parameter.grad.resolve_conj()
        optimizer.step()
        results.append(parameter.detach())
    close(*results)


@typical
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_narrow_dtypes(name, options, dtype):
    """The rounding of each step: torch's own optimizers start it where ours does, in this dtype and in float64."""
    start, gradients = numbers((4, 33), dtype), [numbers((4, 33), dtype, seed=step) for step in range(1, STEPS + 1)]
    twins = [nn.Parameter(start.clone()), nn.Parameter(start.clone()), nn.Parameter(start.double())]
    kinds = (*PAIRS[name], PAIRS[name][1])
    optimizers = [kind([twin], lr=0.1, **options) for kind, twin in zip(kinds, twins, strict=True)]
    for gradient in gradients:
        for twin, optimizer in zip(twins, optimizers, strict=True):
            twin.grad = gradient.to(twin.dtype)
            optimizer.step()
        ours, theirs = ((twin.detach().double() - twins[2].detach()).abs().max() for twin in twins[:2])
        floor = torch.finfo(dtype).eps * twins[2].detach().abs().max()
        assert ours <= torch.maximum(2 * theirs, floor)
        for twin, optimizer in zip(twins[1:], optimizers[1:], strict=True):
            twin.data = twins[0].detach().to(twin.dtype, copy=True)
            for key, value in tensors_of(optimizers[0], twins[0]).items():
                optimizer.state[twin][key] = value.to(optimizer.state[twin][key].dtype, copy=True)


def test_sparse_gradients():
    """Those of `torch.nn.Embedding(sparse=True)`; duplicate indices add up."""
    mine, other = (nn.Parameter(numbers((5, 3))) for _ in range(2))
    for twin, optimizer in ((mine, optim.SGD([mine], lr=0.1)), (other, torch.optim.SGD([other], lr=0.1))):
        twin.grad = torch.sparse_coo_tensor(
            [[1, 3, 1]], numbers((3, 3)), (5, 3), dtype=torch.float64, check_invariants=True
        )
        optimizer.step()
    close(mine.detach(), other.detach())


# --- gradients of a submatrix -----------------------------------------------------------------------------------------


def places(shape, steps=STEPS):
    """A pattern for each step; the second repeats the first."""
    generator = torch.Generator().manual_seed(3)
    pick = lambda n: torch.randperm(n, generator=generator)[: n // 2].sort().values  # noqa: E731
    patterns = [[pick(n) for n in shape] for _ in range(steps)]
    patterns[1] = patterns[0]
    return patterns


def submatrix_grad(parameter, pattern, seed):
    place = Place(parameter, *pattern)
    return SubmatrixGrad(parameter, numbers(place.shape, parameter.dtype, seed), place)


def index(pattern):
    return torch.meshgrid(*pattern, indexing="ij") if len(pattern) == 2 else (pattern[0],)


@every
@pytest.mark.parametrize("shape", [(6, 20), (10,)], ids=["matrix", "vector"])
def test_dense_is_training_with_a_mask(name, options, shape):
    mine, other = (nn.Parameter(numbers(shape)) for _ in range(2))
    ours = PAIRS[name][0]([mine], lr=0.1, dropped="dense", **options)
    theirs = PAIRS[name][1]([other], lr=0.1, **options)
    for seed, pattern in enumerate(places(shape)):
        mine.grad = submatrix_grad(mine, pattern, seed)
        other.grad = mine.grad.clone()
        ours.step()
        theirs.step()
        compare(ours, theirs, mine, other)


def frozen(parameter, optimizer, pattern):
    """Everything that a step must not touch."""
    kept = torch.zeros(parameter.shape, dtype=torch.bool)
    kept[index(pattern)] = True
    full = [value for value in tensors_of(optimizer, parameter).values() if value.shape == parameter.shape]
    return [tensor.detach()[~kept].clone() for tensor in (parameter, *full)]


@every
@pytest.mark.parametrize("shape", [(6, 20), (10,)], ids=["matrix", "vector"])
def test_freeze_updates_what_is_kept_alone(name, options, shape):
    """The kept weights, with their state, as torch updates a small tensor of them; of the rest not a bit."""
    mine = nn.Parameter(numbers(shape))
    ours = PAIRS[name][0]([mine], lr=0.1, **options)
    mine.grad = torch.ones_like(mine)  # so that there is state everywhere
    ours.step()
    for seed, pattern in enumerate(places(shape)):
        at = index(pattern)
        small = nn.Parameter(mine.detach()[at].clone())
        theirs = PAIRS[name][1]([small], lr=0.1, **options)
        theirs.state[small] = {
            key: value[at].clone() if value.shape == mine.shape else value.clone()
            for key, value in tensors_of(ours, mine).items()
        }
        if not theirs.state[small]:
            del theirs.state[small]
        before = frozen(mine, ours, pattern)
        grad = mine.grad = submatrix_grad(mine, pattern, seed)
        small.grad = grad.block.clone()
        ours.step()
        theirs.step()
        assert grad.block is not None
        assert all(torch.equal(a, b) for a, b in zip(before, frozen(mine, ours, pattern), strict=True))
        close(mine.detach()[at], small.detach())
        for key, value in tensors_of(theirs, small).items():
            state = ours.state[mine][key]
            close(state[at] if state.shape == mine.shape else state, value)


@typical
@pytest.mark.parametrize("repeat", [True, False], ids=["one pattern", "two patterns"])
def test_accumulated_gradients_of_a_thinned_layer(name, options, repeat):
    """The gradients that autograd makes; across two patterns the sum is dense, and then so is the update."""
    results = []
    for kind, extra in zip(PAIRS[name], ({"dropped": "dense"}, {}), strict=True):
        weight, bias = nn.Parameter(numbers((6, 8))), nn.Parameter(numbers((6,)))
        optimizer = kind([weight, bias], lr=0.1, **options, **extra)
        for seed, (rows, columns) in enumerate(places((6, 8))):
            optimizer.zero_grad()
            x = numbers((3, 4), seed=seed)
            for r in (rows, rows if repeat else torch.tensor([0, 2, 4])):
                if extra:
                    linear(x, weight, bias, r[None], columns[None]).square().sum().backward()
                else:
                    (x @ weight[r][:, columns].t() + bias[r]).square().sum().backward()
            if extra:
                assert isinstance(weight.grad, SubmatrixGrad)
                assert (weight.grad.block is not None) is (repeat or bool((rows == r).all()))
            optimizer.step()
        results.append((weight.detach(), bias.detach()))
    close(*results)


OTHERS = [
    (torch.optim.SGD, {"momentum": 0.9, "foreach": False}),
    (torch.optim.SGD, {"momentum": 0.9, "foreach": True}),
    (torch.optim.Adam, {"foreach": False}),
    (torch.optim.Adam, {"foreach": True}),
    (torch.optim.AdamW, {}),
    (torch.optim.RMSprop, {"momentum": 0.5}),
    (torch.optim.Adagrad, {}),
    (torch.optim.Adadelta, {}),
    (torch.optim.NAdam, {}),
    (torch.optim.Rprop, {}),
]


@pytest.mark.parametrize(
    ("kind", "options"), OTHERS, ids=lambda case: label(case) if isinstance(case, dict) else case.__name__
)
def test_other_optimizers_work_from_them_too(kind, options):
    mine, other = (nn.Parameter(numbers((6, 20))) for _ in range(2))
    ours, theirs = (kind([parameter], lr=0.1, **options) for parameter in (mine, other))
    for seed, pattern in enumerate(places((6, 20))):
        mine.grad = submatrix_grad(mine, pattern, seed)
        other.grad = mine.grad.clone()
        ours.step()
        theirs.step()
    close(mine.detach(), other.detach())
    for value in tensors_of(ours, mine).values():
        assert type(value) is torch.Tensor


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_fused_optimizers(name):
    """They hand the gradient's memory to a kernel, so it must be dense by then."""
    mine, other = (nn.Parameter(numbers((6, 20))) for _ in range(2))
    ours, theirs = (PAIRS[name][1]([parameter], lr=0.1, fused=True) for parameter in (mine, other))
    for seed, pattern in enumerate(places((6, 20))):
        mine.grad = submatrix_grad(mine, pattern, seed)
        other.grad = mine.grad.clone()
        ours.step()
        theirs.step()
    close(mine.detach(), other.detach())


# --- state, groups, schedules -----------------------------------------------------------------------------------------


@typical
@pytest.mark.parametrize("to_torch", [True, False], ids=["to torch", "from torch"])
def test_state_dicts_go_both_ways(name, options, to_torch):
    kinds = PAIRS[name] if to_torch else PAIRS[name][::-1]
    straight, resumed = (nn.Parameter(numbers((4, 9))) for _ in range(2))
    gradients = [numbers((4, 9), seed=step) for step in range(STEPS)]
    reference = PAIRS[name][1]([straight], lr=0.1, **options)
    run(reference, straight, gradients)
    first = kinds[0]([resumed], lr=0.1, **options)
    run(first, resumed, gradients[:5])
    second = kinds[1]([resumed], lr=0.7)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert second.param_groups[0]["lr"] == 0.1
    run(second, resumed, gradients[5:])
    close(straight.detach(), resumed.detach())


@names
def test_an_own_state_dict_and_a_pickle(name):
    parameter = nn.Parameter(numbers((4, 9)))
    optimizer = PAIRS[name][0]([parameter], lr=0.1, dropped="dense")
    run(optimizer, parameter, [numbers((4, 9))])
    other = PAIRS[name][0]([nn.Parameter(numbers((4, 9)))])
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["dropped"] == "dense"
    assert pickle.loads(pickle.dumps(optimizer)).param_groups[0]["dropped"] == "dense"
    assert copy.deepcopy(optimizer).param_groups[0]["dropped"] == "dense"


@names
def test_a_state_dict_of_torch_has_no_opinion_on_dropped(name):
    ours, theirs = PAIRS[name]
    parameters = [nn.Parameter(numbers((4,))) for _ in range(2)]
    groups = [{"params": [parameters[0]]}, {"params": [parameters[1]], "dropped": "freeze"}]
    optimizer = ours(groups, lr=0.1, dropped="dense")
    optimizer.load_state_dict(theirs([{"params": [p]} for p in parameters], lr=0.2).state_dict())
    assert [group["dropped"] for group in optimizer.param_groups] == ["dense", "freeze"]
    assert [group["lr"] for group in optimizer.param_groups] == [0.2, 0.2]


@names
def test_groups_have_their_own_dropped(name):
    parameters = [nn.Parameter(numbers((6, 8))) for _ in range(3)]
    groups = [{"params": [parameters[0]]}, {"params": [parameters[1]], "dropped": "dense"}]
    optimizer = PAIRS[name][0](groups, lr=0.1, weight_decay=0.1)
    optimizer.add_param_group({"params": [parameters[2]], "dropped": "dense", "lr": 0.5})
    assert [group["dropped"] for group in optimizer.param_groups] == ["freeze", "dense", "dense"]
    pattern = places((6, 8))[0]
    for parameter in parameters:
        parameter.grad = submatrix_grad(parameter, pattern, 0)
    optimizer.step()
    start, changed = numbers((6, 8)), []
    for parameter in parameters:
        changed.append(int((parameter != start).sum()))
    assert changed == [12, 48, 48]
    optimizer.add_param_group({"params": [nn.Parameter(numbers((2,)))]})
    assert optimizer.param_groups[-1]["dropped"] == "freeze"


SCHEDULES = {
    "step": lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5),
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, STEPS),
    "one cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.5, total_steps=STEPS + 1),
}


@names
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules(name, schedule):
    results = []
    for kind in PAIRS[name]:
        parameter = nn.Parameter(numbers((4, 9)))
        optimizer = kind([parameter], lr=0.1, **({"momentum": 0.9} if name == "SGD" else {}))
        scheduler = SCHEDULES[schedule](optimizer)
        for step in range(STEPS):
            parameter.grad = numbers((4, 9), seed=step)
            optimizer.step()
            scheduler.step()
        results.append(parameter.detach())
    close(*results)


@names
def test_numbers_in_tensors(name):
    results = []
    for kind in PAIRS[name]:
        parameter = nn.Parameter(numbers((4, 9)))
        optimizer = kind([parameter], lr=torch.tensor(0.1, dtype=torch.float64))
        run(optimizer, parameter, [numbers((4, 9), seed=1)])
        results.append(parameter.detach())
    close(*results)


@names
def test_closures_and_hooks(name):
    parameter, seen = nn.Parameter(numbers((3,))), []
    optimizer = PAIRS[name][0]([parameter], lr=0.1)
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))

    def closure():
        optimizer.zero_grad()
        assert torch.is_grad_enabled()
        loss = parameter.square().sum()
        loss.backward()
        return loss

    before = parameter.detach().clone()
    assert optimizer.step(closure) == before.square().sum()
    assert not torch.equal(parameter, before)
    assert seen == ["after"]
    assert optimizer.step() is None


@names
def test_options_of_a_group_may_change(name):
    """Torch looks at the group at every step, and so do these."""
    results = []
    change = {"maximize": True, "weight_decay": 0.1}
    if name != "SGD":
        change |= {"amsgrad": False, "decoupled_weight_decay": name != "AdamW"}
    for kind in PAIRS[name]:
        parameter = nn.Parameter(numbers((4, 9)))
        optimizer = kind([parameter], lr=0.1, **({"amsgrad": True} if name != "SGD" else {}))
        run(optimizer, parameter, [numbers((4, 9), seed=1)])
        optimizer.param_groups[0].update(change)
        run(optimizer, parameter, [numbers((4, 9), seed=2)])
        results.append(parameter.detach())
    close(*results)


def test_a_cast_module_goes_on():
    results = []
    for kind in (optim.SGD, torch.optim.SGD):
        layer = nn.Linear(9, 4)
        with torch.no_grad():
            layer.weight.copy_(numbers((4, 9)))
        optimizer = kind([layer.weight], lr=0.1, momentum=0.9)
        run(optimizer, layer.weight, [numbers((4, 9), torch.float32)])
        layer.double()
        run(optimizer, layer.weight, [numbers((4, 9), seed=1)] * 2)
        results.append(layer.weight.detach())
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)  # the momentum is still float32


def test_state_of_another_shape_is_refused():
    small, large = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(1000))
    optimizer = optim.SGD([small], lr=0.1, momentum=0.9)
    run(optimizer, small, [torch.ones(2)])
    other = optim.SGD([large], lr=0.1, momentum=0.9)
    other.load_state_dict(optimizer.state_dict())
    with pytest.raises(ValueError, match=r"must have shape \(1000,\), but got \(2,\)\."):
        run(other, large, [torch.ones(1000)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: optim.SGD(p, lr=-1.0), "learning rate"),
        (lambda p: optim.SGD(p, momentum=-0.1), "momentum"),
        (lambda p: optim.SGD(p, weight_decay=-0.1), "weight_decay"),
        (lambda p: optim.SGD(p, nesterov=True), "Nesterov"),
        (lambda p: optim.Adam(p, betas=(1.0, 0.9)), "beta parameter at index 0"),
        (lambda p: optim.AdamW(p, betas=(0.9, -0.1)), "beta parameter at index 1"),
        (lambda p: optim.Adam(p, eps=-1.0), "epsilon"),
        (lambda p: optim.SGD(p, dropped="keep"), r"`dropped` must be 'freeze' or 'dense', but got dropped='keep'\."),
        (lambda p: optim.Adam(p, dropped=None), r"`dropped` must be .*, but got dropped=None\."),
        (lambda p: optim.AdamW([{"params": p, "dropped": 1}]), r"`dropped` must be .*, but got dropped=1\."),
        (lambda p: optim.SGD(p).add_param_group({"params": [], "dropped": ""}), r"but got dropped=''\."),
        (lambda _: optim.SGD([]), "empty parameter list"),
    ],
)
def test_bad_options(make, message):
    with pytest.raises(ValueError, match=message):
        make([nn.Parameter(torch.ones(2))])


@names
def test_bad_kinds(name):
    kind, parameter = PAIRS[name][0], nn.Parameter(torch.ones(2))
    with pytest.raises(TypeError, match="param_group must be a dict"):
        kind([parameter]).add_param_group([parameter])
    with pytest.raises(TypeError, match="unexpected keyword argument 'momentun'"):
        kind([parameter], momentun=0.9)
    with pytest.raises(TypeError, match="iterable"):
        kind(parameter)


# --- clipping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1.0, 2.0, float("inf")])
def test_clip_grad_norm(order):
    parameter = nn.Parameter(numbers((6, 8)))
    parameter.grad = submatrix_grad(parameter, places((6, 8))[0], 0)
    plain = nn.Parameter(numbers((6, 8)))
    plain.grad = parameter.grad.clone()
    close(optim.clip_grad_norm_([parameter], 0.5, order), torch.nn.utils.clip_grad_norm_([plain], 0.5, order))
    assert parameter.grad.block is not None
    close(parameter.grad.clone(), plain.grad)


def test_clipping_refuses_what_is_not_finite():
    parameter = nn.Parameter(torch.ones(3))
    parameter.grad = torch.full((3,), float("nan"))
    with pytest.raises(RuntimeError, match="non-finite"):
        optim.clip_grad_norm_(parameter, 1.0, error_if_nonfinite=True)
