"""The audit finds each fault that it looks for, and finds none where there is none."""

import copy
import json
import math

import pytest
import torch
from click.testing import CliRunner

import thinned
from thinned import nn
from thinned._audit import statistics
from thinned._errors import KindError, RangeError
from thinned_cli.commands import thinned as command

SHAPE = (64, 128)


def found(target, p=None, shape=SHAPE, calls=40, **options):
    return {finding.check: finding for finding in thinned.audit(target, p, shape=shape, calls=calls, **options)}


def failing(target, p=None, **options):
    return [name for name, finding in found(target, p, **options).items() if finding.verdict == "fails"]


def keep(x, p):
    return torch.rand_like(x) >= p


def good(x, p=0.3):
    """Dropout that obeys the contract, written apart from the package."""
    return x if p == 0 else torch.where(keep(x.float(), p), (x.float() / (1 - p)).to(x.dtype), 0.0)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Dropout(0.3), None),
        (nn.Dropout1d(0.1), None),
        (nn.Dropout2d(0.5), (16, 16, 4, 4)),
        (nn.Dropout3d(0.25), (16, 16, 3, 3, 2)),
    ],
)
def test_own_layers_pass(layer, shape):
    assert thinned.audit(layer, shape=shape, calls=20).passed


@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(5))
def test_a_faultless_function_passes(p, seed):
    assert failing(good, p, seed=seed, calls=20) == []


def test_torchs_layers():
    assert failing(torch.nn.Dropout(0.3)) == ["p = 1 on inf and nan", "dropped inf and nan"]
    torchs = found(torch.nn.Dropout(0.1))
    assert torchs["bfloat16"].verdict == "note"  # its scale is rounded before it multiplies
    assert torchs["dropped negative"].measured == "-0.0"
    assert torchs["same seed, transposed memory"].verdict == "note"
    alpha = found(torch.nn.AlphaDropout(0.2))
    assert alpha["variance of N(0, 1)"].expected == "1: preserved"
    assert (alpha["mean of N(0, 1)"].verdict, alpha["rate"].verdict, alpha["mean of ones"].verdict) == (
        "ok",
        "ok",
        "n/a",
    )


# --- each fault is found, and it alone --------------------------------------------------------------------------------


@pytest.mark.parametrize("real", [0.252, 0.353, 0.29])
def test_a_wrong_rate_is_found(real):
    def off(x):
        return torch.where(keep(x, real), x / (1 - 0.3), 0.0)

    assert "rate" in failing(off, 0.3, calls=200)
    assert "mean of ones" in failing(off, 0.3, calls=200)


def test_a_missing_scale_is_found():
    assert {"scale of kept", "mean of ones"} <= set(failing(lambda x: torch.where(keep(x, 0.3), x, 0.0), 0.3))


def test_a_shifted_mean_is_found():
    assert "mean of N(0, 1)" in failing(lambda x: good(x) + 0.1, 0.3)


def test_one_mask_for_all_calls_is_found():
    mask = torch.rand(SHAPE) >= 0.3
    assert "correlation of calls" in failing(lambda x: torch.where(mask, x / 0.7, 0.0), 0.3)


def test_rates_that_differ_by_place_are_no_correlation_of_calls():
    """As with blocks that may not hang over the border: two calls agree at each place more than by chance."""
    rates = torch.linspace(0.05, 0.55, SHAPE[1])

    def uneven(x):
        return torch.where(torch.rand_like(x) >= rates, x / 0.7, 0.0)

    assert found(uneven, 0.3, calls=200)["correlation of calls"].verdict == "ok"
    mask = (torch.rand(SHAPE) >= rates).float()
    assert "correlation of calls" in failing(lambda x: mask * x / 0.7, 0.3)


@pytest.mark.parametrize("layer", [nn.GaussianNoise(0.3), nn.GaussianDropout(0.3), nn.VariationalDropout()])
def test_noise_passes(layer):
    assert failing(layer) == []


def test_a_wrong_gradient_of_noise_is_found():
    def straight(x):
        return x + (x * torch.randn_like(x)).detach()

    assert failing(straight) == ["backward mask"]


def test_correlated_neighbours_are_told():
    def pairs(x, p=0.3):
        mask = (torch.rand(x.shape[0], x.shape[1] // 2) >= p).repeat_interleave(2, 1)
        return torch.where(mask, x / (1 - p), 0.0)

    axes = found(pairs, 0.3)
    assert [axes[f"correlation along axis {axis}"].verdict for axis in (0, 1)] == ["ok", "note"]
    assert float(axes["correlation along axis 1"].measured.partition(" ")[0]) > 0.9
    assert axes["rate"].verdict == "ok"


def test_shared_axes_are_told():
    axes = found(lambda x: thinned.dropout(x, 0.3, shared_axes=0), 0.3, calls=200)
    assert axes["correlation along axis 0"].measured == "one decision for all"
    assert axes["correlation along axis 1"].verdict == "ok"
    assert axes["rate"].verdict == "ok"


def test_another_mask_in_backward_is_found():
    class Forgetful(torch.autograd.Function):
        @staticmethod
        def forward(_, x):
            return good(x)

        @staticmethod
        def backward(_, gradient):
            return good(gradient)

    assert failing(Forgetful.apply, 0.3) == ["backward mask"]


def test_dropout_in_eval_is_found():
    class Always(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.p = 0.3

        def forward(self, x):
            return good(x, self.p)

    assert failing(Always()) == ["eval"]


def test_overflow_in_half_precision_is_found():
    def total(x, p=0.3):
        mask = keep(x.float(), p).to(x.dtype)
        return x * mask * (mask.numel() / (mask * 64).sum()) * 64  # the sum passes 65504 in float16

    assert "float16" in failing(total, 0.3, shape=(64, 64))


def test_a_layer_that_widens_is_told():
    """Keras's layers compute in the dtype of their policy."""
    assert found(lambda x: good(x.float()), 0.3)["float16"].measured == "returns float32"


def test_a_scale_that_differs_from_call_to_call_is_not_held_against_a_dtype():
    def counted(x, p=0.3):
        mask = keep(x.float(), p).float()
        return (x * mask * (mask.numel() / mask.sum())).to(x.dtype)

    assert found(counted, 0.3)["float16"].verdict == "n/a"


def test_errors_at_extreme_rates_are_told():
    def divides(x, rate=0.5):
        return torch.where(keep(x, rate), x * float(1 // (1 - rate)) if rate == 1 else x / (1 - rate), 0.0)

    assert found(divides)["p = 1"].measured.startswith("ZeroDivisionError")

    def refuses(x, rate=0.5):
        if rate == 1:
            raise ValueError("the limit")
        return good(x, rate)

    assert found(refuses)["p = 1"].verdict == "note"


# --- other libraries' manners -----------------------------------------------------------------------------------------


def test_noise_has_no_rate():
    noise = found(lambda x: x * (1 + 0.5 * torch.randn_like(x)))
    assert (noise["rate"].verdict, noise["mean of ones"].verdict, noise["backward mask"].verdict) == ("n/a", "ok", "ok")
    assert noise["variance of N(0, 1)"].measured.startswith("1.2")


def test_keras_manners():
    class Layer:
        """`rate`, `call(inputs, training)`, arrays of NumPy's kind in and out."""

        def __init__(self, rate):
            self.rate = rate

        def call(self, inputs, training=False):
            return good(inputs, self.rate).numpy() if training else inputs

        __call__ = call

    layer = found(Layer(0.3), shape=(16, 64))
    assert layer["rate"].verdict == "ok"
    assert layer["backward mask"].verdict == "n/a"
    assert layer["p = 1"].verdict == "ok"
    assert layer["eval"].verdict == "ok"


def test_timm_manners():
    class DropPath(torch.nn.Module):
        def __init__(self, drop_prob=0.0):
            super().__init__()
            self.drop_prob = drop_prob

        def forward(self, x):
            if not self.training or self.drop_prob == 0:
                return x
            mask = x.new_empty([len(x)] + [1] * (x.dim() - 1)).bernoulli_(1 - self.drop_prob)
            return x * mask / (1 - self.drop_prob)

    layer = DropPath(0.2).eval()
    told = found(layer, shape=(64, 8), calls=200)
    assert told["correlation along axis 1"].measured == "one decision for all"
    assert told["rate"].verdict == "ok"
    assert not layer.training  # the audit had a copy


def test_functions_with_a_rate_of_their_own():
    assert thinned.audit(torch.nn.functional.dropout, shape=SHAPE, calls=5).p == 0.5
    assert thinned.audit(torch.nn.functional.dropout, 0.2, shape=SHAPE, calls=5).p == 0.2
    assert found(lambda x: x, 0.0)["rate"].verdict == "n/a"


# --- what it returns, refuses, and leaves alone -----------------------------------------------------------------------


def test_report():
    report = thinned.audit(torch.nn.Dropout(0.3), shape=SHAPE, calls=20)
    text = str(report)
    assert text.startswith("Dropout, p = 0.3\ncheck ")
    assert text.endswith(f"2 of {len(report)} checks fail.")
    told = json.loads(report.json())
    assert (told["name"], told["p"], told["passed"]) == ("Dropout", 0.3, False)
    assert told["findings"][0] == {
        "check": "rate",
        "verdict": "ok",
        "measured": report[0].measured,
        "expected": "0.3000",
    }
    assert str(thinned.audit(good, shape=SHAPE, calls=20)).endswith("Nothing fails.")


def test_repeatable_and_without_traces():
    layer = nn.Dropout(0.3).eval()
    state, before = torch.get_rng_state(), copy.deepcopy(vars(layer))
    assert thinned.audit(layer, shape=SHAPE, calls=5) == thinned.audit(layer, shape=SHAPE, calls=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert vars(layer).keys() == before.keys()
    assert not layer.training


def test_too_few_elements_are_not_judged():
    assert found(good, 0.3, shape=(3, 4), calls=3)["correlation"].verdict == "n/a"


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "message"),
    [
        ((3,), {}, KindError, "`layer_or_fn` must be a layer or a function, but got 3"),
        ((torch.nn.Dropout,), {}, KindError, "`layer_or_fn` must be a layer or a function, but got <class"),
        ((good, 1.5), {}, RangeError, r"`p` must be in \[0, 1\], but got p=1\.5"),
        ((good,), {"shape": (0, 3)}, RangeError, r"`shape` must have elements, but got shape=\(0, 3\)"),
        ((good,), {"shape": ()}, RangeError, r"`shape` must have elements, but got shape=\(\)"),
        ((good,), {"calls": 0}, RangeError, "`calls` must be at least 1, but got calls=0"),
        (
            (lambda x: x[:1],),
            {},
            KindError,
            r"must return a tensor of its input's shape, \(64, 512\), but got \(1, 512\)",
        ),
    ],
)
def test_wrong_arguments(arguments, options, kind, message):
    with pytest.raises(kind, match=message):
        thinned.audit(*arguments, **options)


def test_the_bounds_hold_what_they_say():
    """Of 2,000 means of 100 normal units none is further off than t standard errors; of shifted ones all are."""
    units = torch.randn(2000, 100, generator=torch.Generator().manual_seed(0))
    assert not any(statistics._strays(row) for row in units)
    assert all(statistics._strays(row + 2 * statistics._T / math.sqrt(100)) for row in units[:100])


# --- the command ------------------------------------------------------------------------------------------------------


def run(*arguments, calls="10"):
    return CliRunner().invoke(command, ["audit", *arguments, "--shape", "32,64", "--calls", calls])


def test_command():
    result = run("thinned.nn.Dropout", "--p", "0.2")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Dropout, p = 0.2\n")
    result = run("torch.nn.functional.dropout", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["p"] == 0.5


def test_command_with_options():
    result = run("thinned.nn.Dropout", "--option", "shared_axes=1", calls="100")
    assert result.exit_code == 0, result.output
    assert "correlation along axis 1       note     one decision for all" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["torch.nn.Unheard"], "`target` must be the dotted name of a layer or function, but got 'torch.nn.Unheard'"),
        (["dropout"], "`target` must be the dotted name of a layer or function, but got 'dropout'"),
        (["torch.nn.Dropout", "--option", "inplace"], "`option` must be NAME=VALUE, but got 'inplace'"),
        (["torch.nn.Dropout", "--option", "size=3"], "torch.nn.Dropout cannot be made with {'size': 3}"),
        (["torch.nn.Dropout", "--p", "2"], "`p` must be in [0, 1], but got p=2.0."),
    ],
)
def test_wrong_commands(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
