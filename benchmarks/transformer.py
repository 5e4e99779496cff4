"""Four transformer blocks written by hand, with dropout as modules everywhere, attention weights included."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

WIDTH, HEADS, BATCH, TOKENS, BLOCKS = 256, 4, 8, 128, 4


class Block(nn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.drop_weights, self.drop_attention = nn.Dropout(p), nn.Dropout(p)
        self.drop_hidden, self.drop_out = nn.Dropout(p), nn.Dropout(p)

    def forward(self, x: Tensor) -> Tensor:  # x: (B, T, WIDTH)
        b, t, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        weights = self.drop_weights(torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(WIDTH / HEADS), dim=-1))
        x = x + self.drop_attention(self.out((weights @ v).transpose(1, 2).reshape(b, t, WIDTH)))
        hidden = self.drop_hidden(torch.nn.functional.gelu(self.up(self.norm2(x))))
        return x + self.drop_out(self.down(hidden))


def training_step(p: float, change: Callable[[nn.Module], nn.Module] | None = None) -> Callable[[], object]:
    """A step of forward, backward and SGD."""
    torch.manual_seed(0)
    model: nn.Module = nn.Sequential(*(Block(p) for _ in range(BLOCKS)))
    if change:
        model = change(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    x = torch.randn(BATCH, TOKENS, WIDTH)

    def step() -> None:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    return step
