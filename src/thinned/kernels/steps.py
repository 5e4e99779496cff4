"""The numbers of one optimizer step, as every kernel takes them."""

from typing import NamedTuple


class SgdStep(NamedTuple):
    """One step of SGD; names and meaning are those of `torch.optim.SGD`."""

    lr: float
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    maximize: bool = False


class AdamStep(NamedTuple):
    """One step of Adam, or of AdamW where weight decay is decoupled; names are those of `torch.optim.Adam`."""

    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    correction1: float  # 1 - beta1**step
    correction2: float  # 1 - beta2**step
    decoupled: bool = False
    maximize: bool = False
