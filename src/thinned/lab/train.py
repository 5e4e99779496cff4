"""Training one network, and measuring it: the one loop of the laboratory."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune

from thinned import _check, keyed, optim, regularization
from thinned.keys import step_seeds
from thinned.lab.distributed import Job
from thinned.lab.examples import Augment, Examples, order
from thinned.lab.precision import Precision
from thinned.lab.recipe import Penalties, Recipe
from thinned.nn import ConcreteDropout, kl_divergence

TEST_BATCH = 1000
COUNTS = ("epochs_done", "steps_done")


class Trainer:
    """One network in training, with its own optimizer and its own random numbers.

    Two trainers with one seed start from the same weights and see the same batches in the same order, whatever they
    drop. What else draws random numbers in between does not reach them, nor they it: several can take turns. What a
    step does is a function of the seed, the number of the step and the state before it, so that training can be
    interrupted between any two steps and go on from `state` as if nothing had happened.

    Args:
        build: makes the network; its random numbers come from `seed`.
        recipe: how to train it.
        seed: of the weights, of the order of the examples and of dropout.
        library: where the optimizer comes from; see `Recipe.make_optimizer`.
        penalties: what restrains the weights.
        job: the processes that share the batches.
        precision: a name in `thinned.lab.precision.PRECISIONS`.
        augment: what is done to the inputs of a batch, given their places and the epoch.

    Examples:
        >>> trainer = Trainer(lambda: nn.Linear(4, 2), Recipe(batch_size=8), seed=0)
        >>> examples = Examples(torch.ones(20, 4), torch.zeros(20, dtype=torch.int64))
        >>> loss, seconds = trainer.epoch(examples)
        >>> measure(trainer.model, examples).error
        0.0
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        recipe: Recipe,
        seed: int,
        library: ModuleType = torch.optim,
        *,
        penalties: Penalties | None = None,
        job: Job | None = None,
        precision: str = "float32",
        augment: Augment | None = None,
    ) -> None:
        self._seed = _check.word64(seed, "seed")
        self._recipe, self._job = recipe, job or Job()
        self._penalties = penalties or Penalties()
        self._precision = Precision(precision, self._job)
        self._augment = augment
        self._examples = 1  # to train on
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self._seed)
            self.model = build().to(self._job.device)
        self._optimizer = recipe.make_optimizer(self.model.parameters(), library, self._precision.scaled)
        self._sparse = library is optim
        self._pruning: regularization.GradualPruning | None = None
        self._learned_noise = [module for module in self.model.modules() if hasattr(module, "kl")]
        self._concrete = [module for module in self.model.modules() if isinstance(module, ConcreteDropout)]
        self._wrapped = self._job.wrap(self.model, self._sparse)
        self.epochs_done = 0
        self.steps_done = 0  # within the epoch
        self._total = torch.zeros((), dtype=torch.float64, device=self._job.device)  # of the epoch's losses
        self.seconds = 0.0  # of training, of the epoch so far

    def epoch(self, train: Examples, after_step: Callable[[], None] | None = None) -> tuple[float, float]:
        """Go through the training examples once, in a random order, or through what is left of them.

        Args:
            train: the examples, all of them in each process.
            after_step: called after each step but the last; what it raises leaves the trainer between two steps.

        Returns:
            The mean loss over the examples as they were met, dropout included, but for those of steps that were
            skipped; nan if all were. And the seconds that training took.
        """
        if self.steps_done == 0:
            self._precision.begin_epoch()
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.lr_at(self.epochs_done)
        self.model.train()
        self._examples = len(train)
        size, job = self._recipe.batch_size, self._job
        steps = -(-len(train) // size)
        self._start_pruning(steps)
        chosen = order(self._seed, self.epochs_done, len(train)).to(job.device)
        first = self.epochs_done * steps
        seeds = step_seeds(self._seed, np.arange(first, first + steps, dtype=np.uint64), "noise").tolist()
        generator = torch.cuda.default_generators[job.device.index] if job.device.type == "cuda" else None
        with torch.random.fork_rng(devices=[job.device] if generator else []):
            while self.steps_done < steps:
                start = time.perf_counter()
                rows = chosen[self.steps_done * size : (self.steps_done + 1) * size]
                begin, end = job.rows(len(rows))
                share = (end - begin) * job.size / len(rows)
                if begin == end:  # fewer rows than processes: one that does not count keeps this process in step
                    begin, end, share = 0, 1, 0.0
                # Masks come from the key. What knows no keys, such as torch's own dropout, draws from these.
                (generator or torch.default_generator).manual_seed(seeds[self.steps_done])
                batch = (begin, end, len(rows)) if job.size > 1 else None
                keyed(self.model, self._seed, first + self.steps_done, batch)
                mine = train.pick(rows[begin:end])
                inputs = mine.inputs
                if self._augment is not None:
                    inputs = self._augment(inputs, rows[begin:end], self.epochs_done)
                loss = self.step(inputs, mine.targets, share)
                self._total += self._precision.counted(loss, share * len(rows) / job.size)
                self.steps_done += 1
                self.seconds += time.perf_counter() - start
                if after_step is not None and self.steps_done < steps:
                    after_step()
        total, seconds = float(job.sum(self._total)), self.seconds
        counted = len(train) - self._precision.left_out()
        self.epochs_done, self.steps_done, self.seconds = self.epochs_done + 1, 0, 0.0
        self._total.zero_()
        return total / counted if counted else math.nan, seconds

    def step(self, inputs: Any, targets: Tensor, share: float = 1.0) -> Tensor:
        """Change the weights once.

        Args:
            inputs: this process's part of a batch, as `Examples.inputs`.
            targets: what belongs to it.
            share: examples of the part, times processes, divided by examples of the whole batch.

        Returns:
            The mean loss over the part before the change, without penalties.
        """
        self._optimizer.zero_grad()
        with self._precision.autocast():
            loss = loss_of(self._wrapped(inputs), targets)
        self._precision.backward(self._penalised(loss * share if share != 1.0 else loss))
        if self._sparse:
            self._job.average(self.model)
        self._precision.step(self._optimizer, self._clip if self._recipe.clip_norm else None)
        if self._penalties.max_norm:
            regularization.max_norm_(self.model, self._penalties.max_norm)
        if self._pruning is not None:
            self._pruning.step()
        return loss.detach()

    def lr(self) -> float:
        """Return the learning rate of the next step, or of the last where training is over.

        Returns:
            The rate.
        """
        return self._recipe.lr_at(min(self.epochs_done, self._recipe.epochs - 1))

    @property
    def skipped(self) -> int | None:
        """How many steps of the epoch were skipped, as a gradient was no number; None where none can be."""
        return self._precision.skipped

    def finite(self) -> bool:
        """Return whether the losses of the epoch so far, in this process, and the weights are numbers.

        Returns:
            False after a nan or an infinity, or once so many steps were skipped in a row that no scale will help.
        """
        numbers = [self._total, *(part for part in self.model.state_dict().values() if part.is_floating_point())]
        return not self._precision.lost() and all(bool(part.isfinite().all()) for part in numbers)

    def state(self) -> dict[str, Any]:
        """Return all that changes with training: tensors, numbers, lists and dictionaries.

        Returns:
            What `load` takes. In a job, each process has to call it, and the one that writes has the whole.
        """
        total = self._job.sum(self._total.clone())
        return {
            "epochs_done": self.epochs_done,
            "steps_done": self.steps_done,
            "total": float(total),
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            **self._precision.state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: of a trainer with the same network, recipe and seed.

        Raises:
            LookupError, TypeError, ValueError, RuntimeError: it is of another, or damaged.
        """
        load_weights(self.model, state["model"])
        # What an optimizer is told comes from the settings, whatever the state says.
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state["optimizer"]["state"], "param_groups": groups})
        for parameter, moments in self._optimizer.state.items():
            if any(not _fits(moment, parameter) for moment in moments.values()):
                raise ValueError("a moment of the optimizer is of another shape")
        self.epochs_done, self.steps_done = (_check.sizes((state[name],), name)[0] for name in COUNTS)
        self.seconds = float(state["seconds"])
        self._total.fill_(state["total"] if self._job.writes else 0.0)
        self._precision.load(state)

    def _penalised(self, loss: Tensor) -> Tensor:
        penalties = self._penalties
        if penalties.l1:
            loss = loss + penalties.l1 * regularization.l1_penalty(self.model)
        if penalties.l2:
            loss = loss + penalties.l2 * regularization.l2_penalty(self.model)
        if self._learned_noise:
            loss = loss + self._kl_share() * kl_divergence(self.model) / self._examples
        for layer in self._concrete:
            loss = loss + layer.penalty()
        return loss

    def _clip(self) -> None:
        optim.clip_grad_norm_(self.model.parameters(), self._recipe.clip_norm)

    def _kl_share(self) -> float:
        """Return how much of the divergence counts by now."""
        steps = -(-self._examples // self._recipe.batch_size)
        done = (self.epochs_done + self.steps_done / steps) / self._recipe.epochs
        return min(done / self._penalties.kl_warmup, 1.0) if self._penalties.kl_warmup else 1.0

    def _start_pruning(self, steps: int) -> None:
        """Prune in the middle half of the training: the network has learned what matters, and can still adapt."""
        if not self._penalties.prune or self._pruning is not None:
            return
        _mask(self.model)
        total = steps * self._recipe.epochs
        begin, end = total // 4, max(3 * total // 4, total // 4 + 1)
        self._pruning = regularization.GradualPruning(self.model, self._penalties.prune, begin, end)
        self._pruning.steps = self.epochs_done * steps + self.steps_done


def _fits(moment: Any, parameter: Tensor) -> bool:
    """Tell whether something that an optimizer keeps of a parameter is what its kernels take for granted."""
    if not isinstance(moment, Tensor):
        return moment is None or isinstance(moment, int | float)
    same = moment.shape == parameter.shape and moment.dtype == parameter.dtype
    return (same or moment.numel() == 1) and moment.untyped_storage().nbytes() >= moment.nbytes


def load_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give a network the weights of a checkpoint, pruned ones too.

    Args:
        model: the same network.
        weights: a state dict of it.
    """
    add_masks(model, weights)
    model.load_state_dict(weights)


def add_masks(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give a network the masks that a checkpoint's weights have, if they are pruned.

    Args:
        model: the same network.
        weights: a state dict of it.
    """
    if any(str(name).endswith("weight_mask") for name in weights):
        _mask(model)


def _mask(model: nn.Module) -> None:
    """Give all weights that are pruned a mask of ones, so that the names of the parameters stay from now on."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and not hasattr(module, "weight_mask"):
            prune.identity(module, "weight")  # type: ignore[no-untyped-call]


def loss_of(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss that goes with the kind of targets.

    Args:
        outputs: of the network, shape (..., classes) for classes or words, and like the targets for numbers.
        targets: int64 for classes or words, floating for numbers.

    Returns:
        Mean cross-entropy, or mean squared error.

    Examples:
        >>> loss_of(torch.zeros(3, 2), torch.tensor([0, 1, 1]))
        tensor(0.6931)
    """
    if targets.is_floating_point():
        return functional.mse_loss(outputs.float().view_as(targets), targets)
    return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())


@dataclass(frozen=True)
class Measured:
    """How well a network does, without dropout.

    Attributes:
        loss: mean loss.
        error: share of examples, or of words, in a wrong class; the root of the mean squared error for numbers. An
            output that is nan counts as wrong.
    """

    loss: float
    error: float


@torch.no_grad()
def measure(model: nn.Module, examples: Examples, job: Job | None = None) -> Measured:
    """Measure a network on examples.

    Args:
        model: the network; left in evaluation mode.
        examples: all of them in each process, at least one.
        job: the processes that share the work.

    Returns:
        The same in each process.

    Examples:
        >>> measure(nn.Identity(), Examples(torch.eye(2), torch.tensor([0, 0]))).error
        0.5
    """
    model.eval()
    job = job or Job(device=examples.targets.device)
    sums = torch.zeros(3, dtype=torch.float64, device=job.device)  # of losses, of errors, of targets
    first, last = job.rows(len(examples))
    for begin in range(first, last, TEST_BATCH):
        part = examples.part(begin, min(begin + TEST_BATCH, last))
        outputs, count = model(part.inputs), part.targets.numel()
        loss = loss_of(outputs, part.targets).double() * count
        if part.targets.is_floating_point():
            wrong = loss
        else:
            wrong = ((outputs.argmax(-1) != part.targets) | outputs.isnan().any(-1)).sum()
        sums += torch.stack([loss, wrong.double(), loss.new_tensor(count)])
    loss, wrong, count = job.sum(sums).tolist()
    return Measured(loss / count, (wrong / count) ** 0.5 if examples.targets.is_floating_point() else wrong / count)
