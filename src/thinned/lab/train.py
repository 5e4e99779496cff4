"""Training one network, and measuring it."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional

from thinned import _check
from thinned._errors import RangeError
from thinned.data import Split

TEST_BATCH = 1000
LARGEST = torch.finfo(torch.float32).max
BETA2 = 0.999  # Adam's second beta


@dataclass(frozen=True)
class Rule:
    """What an optimizer's name stands for.

    Attributes:
        kind: its class in torch.optim.
        lr: a learning rate to begin with.
        adaptive: whether it is of Adam's kind.
    """

    kind: str
    lr: float
    adaptive: bool


OPTIMIZERS = {
    "sgd": Rule("SGD", 0.15, adaptive=False),
    "nesterov": Rule("SGD", 0.15, adaptive=False),
    "adam": Rule("Adam", 0.001, adaptive=True),
    "adamw": Rule("AdamW", 0.001, adaptive=True),
}

# Share of the first learning rate, by how much of the training is done and by the share to end at.
SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "linear": lambda done, _: 1 - done,
    "constant": lambda _, __: 1.0,
    "exponential": lambda done, share: math.pow(share, done),
}


@dataclass(frozen=True)
class Examples:
    """A part of a data set as tensors.

    Attributes:
        inputs: float32, shape (examples, features).
        targets: int64, shape (examples,).

    Example:
        >>> from thinned.data import load
        >>> examples = Examples.of(load("digits").train)
        >>> examples.inputs.shape, examples.head(100).inputs.shape
        (torch.Size([1438, 64]), torch.Size([100, 64]))
    """

    inputs: Tensor
    targets: Tensor

    @classmethod
    def of(cls, split: Split) -> "Examples":
        """Flatten each example of a split into one row.

        Args:
            split: the examples as arrays.

        Returns:
            The same numbers as tensors, in the same memory.
        """
        return cls(torch.from_numpy(split.inputs).flatten(1), torch.from_numpy(split.targets))

    def head(self, count: int) -> "Examples":
        """Return the first examples.

        Args:
            count: how many; all of them if there are fewer.

        Returns:
            A view of them.
        """
        return Examples(self.inputs[:count], self.targets[:count])


@dataclass(frozen=True)
class Recipe:
    """How a network is trained on the cross-entropy.

    At a constant learning rate the test error jumps about more from one epoch to the next than it differs between the
    methods of a comparison; so by default the rate falls.

    Attributes:
        epochs: how many times the training examples are gone through.
        batch_size: examples of one step; the last step of an epoch takes what is left.
        optimizer: a name in `OPTIMIZERS`.
        lr: learning rate of the first epoch; None for the one that `OPTIMIZERS` has, which takes its place.
        momentum: share of the last update that the next one keeps; Adam's first beta.
        weight_decay: as torch's optimizer of that name takes it: the decoupled kind for adamw alone.
        schedule: a name in `SCHEDULES`.
        final_lr_share: what the exponential schedule falls towards, as a share of `lr`; exp(-2) by default.

    Raises:
        RangeError, KindError: a value that training cannot work with.

    Example:
        >>> recipe = Recipe(epochs=4, lr=0.1, schedule="exponential", final_lr_share=0.0625)
        >>> [recipe.lr_at(epoch) for epoch in range(4)]
        [0.1, 0.05, 0.025, 0.0125]
        >>> Recipe(optimizer="adam").lr
        0.001
    """

    epochs: int = 10
    batch_size: int = 100
    optimizer: str = "sgd"
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "linear"
    final_lr_share: float = 0.135

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

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch.

        Args:
            epoch: counted from 0.

        Returns:
            The rate, the same for the whole epoch.
        """
        assert self.lr is not None  # since it was made
        return self.lr * SCHEDULES[self.schedule](epoch / self.epochs, self.final_lr_share)

    def make_optimizer(self, parameters: Iterable[nn.Parameter], library: ModuleType) -> torch.optim.Optimizer:
        """Make the optimizer.

        Args:
            parameters: what it changes.
            library: where its class is: torch.optim, whose fused form is taken as it is the fastest, or a module that
                has the same classes.

        Returns:
            The optimizer, at the first epoch's learning rate.
        """
        rule = OPTIMIZERS[self.optimizer]
        momentum = {"betas": (self.momentum, BETA2)} if rule.adaptive else {"momentum": self.momentum}
        nesterov = {"nesterov": True} if self.optimizer == "nesterov" else {}
        fused = {"fused": True} if library is torch.optim else {}
        made: torch.optim.Optimizer = getattr(library, rule.kind)(
            parameters, lr=self.lr_at(0), weight_decay=self.weight_decay, **momentum, **nesterov, **fused
        )
        return made


class Trainer:
    """One network in training, with its own optimizer and its own random numbers.

    Two trainers with one seed start from the same weights and see the same batches in the same order, whatever they
    drop. What else draws random numbers in between does not reach them, nor they it: several can take turns.

    Args:
        build: makes the network; its random numbers come from `seed`.
        recipe: how to train it.
        seed: of the weights, of the order of the examples and of dropout.
        library: where the optimizer comes from; see `Recipe.make_optimizer`.

    Example:
        >>> trainer = Trainer(lambda: nn.Linear(4, 2), Recipe(batch_size=8), seed=0)
        >>> examples = Examples(torch.ones(20, 4), torch.zeros(20, dtype=torch.int64))
        >>> loss, seconds = trainer.epoch(examples)
        >>> test_error(trainer.model, examples)
        0.0
    """

    def __init__(
        self, build: Callable[[], nn.Module], recipe: Recipe, seed: int, library: ModuleType = torch.optim
    ) -> None:
        self._order = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.model = build()
            self._noise = torch.get_rng_state()
        self._recipe = recipe
        self._epochs_done = 0
        self._optimizer = recipe.make_optimizer(self.model.parameters(), library)

    def epoch(self, train: Examples) -> tuple[float, float]:
        """Go through the training examples once, in a random order; at most as often as the recipe says.

        Args:
            train: the examples.

        Returns:
            The mean loss over the examples as they were met, dropout included, and the seconds that training took.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.lr_at(self._epochs_done)
        self._epochs_done += 1
        self.model.train()
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._noise)
            start = time.perf_counter()
            total = torch.zeros((), dtype=torch.float64)
            order = torch.randperm(len(train.targets), generator=self._order)
            for begin in range(0, len(order), self._recipe.batch_size):
                chosen = order[begin : begin + self._recipe.batch_size]
                total += self.step(train.inputs[chosen], train.targets[chosen]) * len(chosen)
            seconds = time.perf_counter() - start
            self._noise = torch.get_rng_state()
        return float(total) / len(train.targets), seconds

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Change the weights once.

        Args:
            inputs: a batch, shape (examples, features).
            targets: its classes, shape (examples,).

        Returns:
            The mean loss over the batch before the change.
        """
        self._optimizer.zero_grad()
        loss: Tensor = functional.cross_entropy(self.model(inputs), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return loss.detach()


def test_error(model: nn.Module, test: Examples) -> float:
    """Return the share of examples that a network puts in a wrong class, without dropout.

    Args:
        model: the network; left in evaluation mode.
        test: the examples.

    Returns:
        A number in [0, 1]. An output that is nan counts as wrong.

    Example:
        >>> test_error(nn.Identity(), Examples(torch.eye(2), torch.tensor([0, 0])))
        0.5
    """
    model.eval()
    wrong = 0
    with torch.no_grad():
        for begin in range(0, len(test.targets), TEST_BATCH):
            outputs = model(test.inputs[begin : begin + TEST_BATCH])
            targets = test.targets[begin : begin + TEST_BATCH]
            right = (outputs.argmax(1) == targets) & ~outputs.isnan().any(1)
            wrong += len(targets) - int(right.sum())
    return wrong / len(test.targets)


def bytes_kept(model: nn.Module, batch: Examples) -> int:
    """Count the bytes that the forward pass of one training step keeps for backward.

    Counted are the storages of all tensors that autograd saves, each once and whole; the network's parameters and the
    batch itself, which are in memory anyway, are left out.

    Args:
        model: the network; left in training mode.
        batch: the examples of the step.

    Returns:
        Number of bytes.

    Example:
        ReLU keeps its output, 2 x 3 float32 numbers; the loss keeps as many, and one number more:

        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
        >>> bytes_kept(model, Examples(torch.ones(2, 4), torch.tensor([0, 1])))
        52
    """
    model.train()
    kept: dict[int, Tensor] = {}  # the tensors too: a freed storage's address could come again

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.random.fork_rng(devices=[]), saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = functional.cross_entropy(model(batch.inputs), batch.targets)
    known = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), batch.inputs, batch.targets)}
    del loss
    return sum(tensor.untyped_storage().nbytes() for address, tensor in kept.items() if address not in known)
