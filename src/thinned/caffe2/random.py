"""The random numbers of one operator object: the mask law's, or Caffe2's own stream."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from thinned import ops
from thinned._errors import OperatorError
from thinned.caffe2.definitions import OperatorDef
from thinned.masks import rate

ENGINES = ("thinned", "caffe2")


class Random:
    """Random decisions of one operator object, which go on from run to run.

    Engine "thinned": run number n takes the mask of `thinned.Mask(ratio, seed, stream=n)`. Engine "caffe2": the
    Mersenne Twister with the seeding of Knuth and the 53-bit numbers of ATen, as in Caffe2 from October 2020 on.

    Args:
        definition: of the operator; its device option has the seed, its argument `random_engine` the engine.
        seed: the seed if the device option has none; a new one is drawn from torch's generator if this is None.

    Raises:
        OperatorError: there is no such engine.
    """

    def __init__(self, definition: OperatorDef, seed: int | None = None) -> None:
        self.engine = definition.arguments.text("random_engine", "thinned")
        if self.engine not in ENGINES:
            raise OperatorError(f"`random_engine` must be 'thinned' or 'caffe2', but got {self.engine!r}.")
        given = definition.device_option.random_seed
        self._seed = given if given is not None else seed
        self.runs = 0
        self._twister: np.random.MT19937 | None = None

    @property
    def seed(self) -> int:
        """The seed, drawn when it is first needed."""
        if self._seed is None:
            self._seed = int(ops.draw(torch.device("cpu"))) % 2**32
        return self._seed

    def keep(self, like: Tensor, ratio: float) -> Tensor:
        """Return which elements of a tensor one run keeps.

        Args:
            like: a tensor.
            ratio: probability of an element to be dropped, in [0, 1].

        Returns:
            bool tensor of its shape, on its device.
        """
        if self.engine == "caffe2":
            return self._twisted(like.numel(), ratio).reshape(like.shape).to(like.device)
        stream, law = self._next(), rate(ratio)
        if law.keeps_all or law.keeps_none:
            return torch.full_like(like, law.keeps_all, dtype=torch.bool)
        return ops.keep(like, (law, self.seed, stream, None))

    def choice(self, count: int, ratio: float) -> dict[str, Any]:
        """Return one run's `count` decisions as keyword arguments of a function of `thinned.functional`."""
        if self.engine == "caffe2":
            return {"mask": self._twisted(count, ratio)}
        return {"seed": self.seed, "stream": self._next()}

    def _next(self) -> int:
        self.runs += 1
        return self.runs - 1

    def _twisted(self, count: int, ratio: float) -> Tensor:
        if self._twister is None:
            self._twister = np.random.MT19937()
            knuth = np.random.RandomState(self.seed).get_state(legacy=False)  # the seeding wanted
            self._twister.state = knuth  # type: ignore[assignment]
        words = self._twister.random_raw(2 * count).astype(np.uint64)
        bits = ((words[0::2] << np.uint64(32)) | words[1::2]) & np.uint64(2**53 - 1)
        return torch.from_numpy(bits.astype(np.float64) * 2.0**-53 < 1 - ratio)
