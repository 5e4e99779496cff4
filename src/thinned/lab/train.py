"""Training one network, and measuring it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional

from thinned.data import Split
from thinned.lab.recipe import Recipe

TEST_BATCH = 1000


@dataclass(frozen=True)
class Examples:
    """A part of a data set as tensors.

    Attributes:
        inputs: float32, shape (examples, features).
        targets: int64, shape (examples,).

    Examples:
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


class Trainer:
    """One network in training, with its own optimizer and its own random numbers.

    Two trainers with one seed start from the same weights and see the same batches in the same order, whatever they
    drop. What else draws random numbers in between does not reach them, nor they it: several can take turns.

    Args:
        build: makes the network; its random numbers come from `seed`.
        recipe: how to train it.
        seed: of the weights, of the order of the examples and of dropout.
        library: where the optimizer comes from; see `Recipe.make_optimizer`.

    Examples:
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

    Examples:
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

    Examples:
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
