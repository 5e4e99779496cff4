"""How a network is trained: optimizer, learning rate, batches, penalties."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import nn

from thinned import _check
from thinned._errors import RangeError

LARGEST = torch.finfo(torch.float32).max
BETA2 = 0.999  # Adam's second beta
WATCHED = ("loss", "error")


@dataclass(frozen=True)
class Rule:
    """What an optimizer's name stands for.

    Attributes:
        kind: its class in torch.optim.
        words: what to call it; the momentum goes into the braces.
        lr: a learning rate to begin with.
        adaptive: whether it is of Adam's kind, with two moments for each weight.
        momentum: the arguments that say what momentum it has.
        fused: whether torch has a fused form of it.
    """

    kind: str
    words: str
    lr: float
    adaptive: bool = False
    momentum: Callable[[float], dict[str, Any]] = lambda momentum: {"momentum": momentum}
    fused: bool = True


def _betas(momentum: float) -> dict[str, Any]:
    return {"betas": (momentum, BETA2)}


@dataclass(frozen=True)
class Schedule:
    """How the learning rate goes from epoch to epoch.

    Attributes:
        words: that, in words; the share to end at goes into the braces.
        share: of the first learning rate, by how much of the training is done and by the share to end at.
    """

    words: str
    share: Callable[[float, float], float]


OPTIMIZERS = {
    "sgd": Rule("SGD", "SGD with momentum {}", lr=0.03),
    "nesterov": Rule(
        "SGD", "SGD with Nesterov's momentum {}", lr=0.03, momentum=lambda m: {"momentum": m, "nesterov": True}
    ),
    "adam": Rule("Adam", f"Adam with betas {{}} and {BETA2}", lr=0.001, adaptive=True, momentum=_betas),
    "adamw": Rule("AdamW", f"AdamW with betas {{}} and {BETA2}", lr=0.001, adaptive=True, momentum=_betas),
    "rmsprop": Rule("RMSprop", "RMSprop with momentum {}", lr=0.001, adaptive=True, fused=False),
    "adagrad": Rule("Adagrad", "Adagrad", lr=0.01, momentum=lambda _: {}),
}
SCHEDULES = {
    "linear": Schedule("falling in equal steps towards zero", lambda done, _: 1 - done),
    "constant": Schedule("the same in all others", lambda _, __: 1.0),
    "exponential": Schedule("falling exponentially towards {} of that", lambda done, share: math.pow(share, done)),
    "cosine": Schedule("falling along half a cosine towards zero", lambda done, _: (1 + math.cos(math.pi * done)) / 2),
    "step": Schedule(
        "a tenth of that after half of the epochs, a hundredth after three quarters",
        lambda done, _: 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01,
    ),
}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained on the cross-entropy.

    At a constant learning rate the test error jumps about more from one epoch to the next than it differs between the
    methods of a comparison; so by default the rate falls. And by default it is one that the noisiest of the methods can
    learn at: batchwise dropout, whose noise does not average out over a batch, diverges before the others do.

    Attributes:
        epochs: how many times the training examples are gone through.
        batch_size: examples of one step; the last step of an epoch takes what is left.
        optimizer: a name in `OPTIMIZERS`.
        lr: learning rate of the first epoch; None for the one that `OPTIMIZERS` has, which takes its place.
        momentum: share of the last update that the next one keeps; Adam's first beta.
        weight_decay: as torch's optimizer of that name takes it: the decoupled kind for adamw alone.
        schedule: a name in `SCHEDULES`.
        final_lr_share: what the exponential schedule falls towards, as a share of `lr`; exp(-2) by default.
        warmup_epochs: epochs at the start in which the rate rises to `lr` in equal steps; the schedule begins then.
        clip_norm: longest gradient of all weights together; a longer one is shortened; 0 for any length.

    Raises:
        RangeError, KindError: a value that training cannot work with.

    Examples:
        >>> recipe = Recipe(epochs=4, lr=0.1, schedule="exponential", final_lr_share=0.0625)
        >>> [recipe.lr_at(epoch) for epoch in range(4)]
        [0.1, 0.05, 0.025, 0.0125]
        >>> Recipe(optimizer="adam").lr
        0.001
    """

    epochs: int = 20
    batch_size: int = 50
    optimizer: str = "sgd"
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "linear"
    final_lr_share: float = 0.135
    warmup_epochs: int = 0
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        _check.positive(self.epochs, "epochs")
        _check.positive(self.batch_size, "batch_size")
        for name, value, known in (
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("schedule", self.schedule, SCHEDULES),
        ):
            if value not in known:
                raise RangeError(f"`{name}` must be one of {', '.join(known)}, but got {name}={value!r}.")
        lr = OPTIMIZERS[self.optimizer].lr if self.lr is None else self.lr
        if not 0 < lr <= LARGEST:  # false for nan too
            raise RangeError(f"`lr` must be above 0 and at most {LARGEST:.1e}, but got lr={lr!r}.")
        object.__setattr__(self, "lr", lr)
        if not 0 <= self.momentum < 1:
            raise RangeError(f"`momentum` must be in [0, 1), but got momentum={self.momentum!r}.")
        if self.optimizer == "nesterov" and self.momentum == 0:
            raise RangeError("`momentum` must be above 0 for nesterov, but got momentum=0.")
        if not 0 <= self.weight_decay <= LARGEST:
            raise RangeError(
                f"`weight_decay` must be in [0, {LARGEST:.1e}], but got weight_decay={self.weight_decay!r}."
            )
        if not 0 < self.final_lr_share <= 1:
            raise RangeError(f"`final_lr_share` must be in (0, 1], but got final_lr_share={self.final_lr_share!r}.")
        (warmup,) = _check.sizes((self.warmup_epochs,), "warmup_epochs")
        if warmup >= self.epochs:
            raise RangeError(f"`warmup_epochs` must be below epochs={self.epochs}, but got warmup_epochs={warmup}.")
        _check.scale(self.clip_norm, "clip_norm")

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch.

        Args:
            epoch: counted from 0.

        Returns:
            The rate, the same for the whole epoch.
        """
        assert self.lr is not None  # since it was made
        warmup = self.warmup_epochs
        if epoch < warmup:
            return self.lr * (epoch + 1) / (warmup + 1)
        done = (epoch - warmup) / (self.epochs - warmup)
        return self.lr * SCHEDULES[self.schedule].share(done, self.final_lr_share)

    def make_optimizer(
        self, parameters: Iterable[nn.Parameter], library: ModuleType, scaled: bool = False
    ) -> torch.optim.Optimizer:
        """Make the optimizer.

        Args:
            parameters: what it changes.
            library: where its class is: torch.optim, whose fused form is taken as it is the fastest, or a module that
                has some of the same classes; for the others torch's are taken.
            scaled: whether a GradScaler scales the gradients. Then no fused form is taken: torch's fused SGD starts its
                momentum with whatever is in memory where the first step is skipped, as it often is.

        Returns:
            The optimizer, at the first epoch's learning rate.
        """
        rule = OPTIMIZERS[self.optimizer]
        kind = getattr(library, rule.kind, None) or getattr(torch.optim, rule.kind)
        fused = {"fused": True} if rule.fused and not scaled and kind is getattr(torch.optim, rule.kind) else {}
        made: torch.optim.Optimizer = kind(
            parameters, lr=self.lr_at(0), weight_decay=self.weight_decay, **rule.momentum(self.momentum), **fused
        )
        return made


@dataclass(frozen=True)
class Penalties:
    """What restrains a network besides dropout.

    Attributes:
        l1: factor of the sum of absolute weights in the loss.
        l2: factor of the sum of squared weights in the loss.
        max_norm: longest vector of incoming weights that a unit may have; 0 for any length.
        prune: share of the weights that are zero at the end, the smallest; pruned gradually in the middle half.
        kl_warmup: share of the training in which the divergence of learned noise comes in, evenly from 0 to its whole;
            at once, it can make noise of all weights before there is anything to learn (Sønderby et al., "Ladder
            variational autoencoders", NeurIPS 2016).
        patience: epochs without a better validation after which training stops; 0 to go on to the end.
        watch: what "better" looks at: the validation ``"loss"`` or ``"error"``.
    """

    l1: float = 0.0
    l2: float = 0.0
    max_norm: float = 0.0
    prune: float = 0.0
    kl_warmup: float = 0.25
    patience: int = 0
    watch: str = "loss"

    def __post_init__(self) -> None:
        for name in ("l1", "l2", "max_norm"):
            _check.scale(getattr(self, name), name)
        _check.probability(self.prune, "prune")
        _check.probability(self.kl_warmup, "kl_warmup")
        _check.sizes((self.patience,), "patience")
        _check.one_of(self.watch, WATCHED, "watch")
        if self.prune and self.max_norm:
            raise RangeError(
                "`max_norm` must be 0 where weights are pruned, as both want to set them, but got "
                f"max_norm={self.max_norm}, prune={self.prune}."
            )
