"""Draw the masks of the layers, one small SVG for each page of layers: `python docs/figures/masks.py`.

Each panel is what a layer really makes of ones, under a fixed key; so the files are the same on every machine.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

import thinned
from thinned import nn, regularization

SEED = 7
SIDE, GAP, HEAD = 168, 20, 44  # of a panel, between panels, above them; in pixels
KEPT, DROPPED = "#3b6ea5", "#e3e6ea"
SHADES = ("#b2182b", "#d6604d", "#f4a582", "#fddbc7", "#d1e5f0", "#92c5de", "#4393c3", "#2166ac")  # below to above 1


class Panel(NamedTuple):
    """A matrix to be drawn: what it shows, along which axes, and for numbers the one in the middle of the colours."""

    title: str
    axes: str
    matrix: Tensor
    middle: float | None = None


def of(layer: torch.nn.Module, *shape: int) -> Tensor:
    """What a layer makes of ones."""
    with torch.no_grad():
        return thinned.keyed(layer.train(), SEED)(torch.ones(shape))


def tiled(maps: Tensor) -> Tensor:
    """Images (N, C, H, W) side by side, N down and C across, with a line of nan between them."""
    framed = torch.nn.functional.pad(maps, (0, 1, 0, 1), value=torch.nan)
    n, c, h, w = framed.shape
    return framed.permute(0, 2, 1, 3).reshape(n * h, c * w)[:-1, :-1]


def torchs() -> Iterable[Panel]:
    yield Panel("Dropout", "any axes", of(nn.Dropout(0.5), 24, 24))
    yield Panel("with shared_axes=1", "batch, features", of(nn.Dropout(0.5, shared_axes=1), 24, 24))
    yield Panel("Dropout2d", "samples, channels", tiled(of(nn.Dropout2d(0.5), 4, 4, 6, 6)))
    alpha = of(nn.AlphaDropout(0.5), 24, 24)
    yield Panel("AlphaDropout", "gray: saturated, not 0", (alpha > 0).float())


def gaussian() -> Iterable[Panel]:
    yield Panel("GaussianDropout", "factors; pale is near 1", of(nn.GaussianDropout(0.2), 24, 24), 1.0)
    shared = of(nn.GaussianDropout(0.2, shared_axes=1), 24, 24)
    yield Panel("with shared_axes=1", "batch, features", shared, 1.0)
    yield Panel("GaussianNoise", "summands; pale is near 0", of(nn.GaussianNoise(0.5), 24, 24), 1.0)


def vision() -> Iterable[Panel]:
    yield Panel("DropBlock2d(block_size=5)", "height, width", of(nn.DropBlock2d(0.3, 5), 1, 1, 28, 28)[0, 0])
    yield Panel("DropPath", "samples, features of a branch", of(nn.DropPath(0.4), 16, 24))
    dropout, count = nn.PatchDropout(0.5, prefix_tokens=0), 196
    with torch.no_grad():
        left = thinned.keyed(dropout, SEED)(torch.arange(count).view(1, -1, 1).float()).long().flatten()
    yield Panel("PatchDropout", "patches of an image", torch.zeros(count).index_fill(0, left, 1.0).view(14, 14))
    yield Panel("Cutout(size=10)", "height, width", of(nn.Cutout(10), 1, 3, 28, 28)[0, 0])


def sequences() -> Iterable[Panel]:
    yield Panel("LockedDropout", "time, features", of(nn.LockedDropout(0.5, batch_first=True), 1, 24, 24)[0])
    yield Panel("Dropout, to compare", "time, features", of(nn.Dropout(0.5), 1, 24, 24)[0])
    words = thinned.keyed(nn.WordDropout(0.25, unknown=0), SEED)(torch.ones(16, 24, dtype=torch.int64))
    yield Panel("WordDropout", "sentences, words", words.float())
    table = torch.nn.Embedding.from_pretrained(torch.ones(8, 12))
    ids = torch.randint(8, (24,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        rows = thinned.keyed(nn.EmbeddingDropout(table, 0.4), SEED)(ids)
    yield Panel("EmbeddingDropout", "words in a text, features", rows)


def attention() -> Iterable[Panel]:
    q = torch.zeros(1, 1, 24, 4)
    value = torch.eye(24).view(1, 1, 24, 24)  # so that the output is the matrix of attention weights
    attend = thinned.functional.scaled_dot_product_attention
    yield Panel("dropout_p=0.3", "queries, keys", attend(q, q, value, dropout_p=0.3, seed=SEED)[0, 0])
    causal = attend(q, q, value, dropout_p=0.3, is_causal=True, seed=SEED)[0, 0]
    yield Panel("with is_causal=True", "queries, keys", causal)


def recurrent() -> Iterable[Panel]:
    layer = nn.LSTM(1, 24, recurrent_dropout=0.5)
    row = of(layer.recurrent, 1, 24)  # the mask that is drawn once for a sequence
    yield Panel("LSTM, GRU", "time, units of the state", row.expand(24, -1))
    zoneout = thinned.keyed(nn.Zoneout(0.3), SEED)
    steps = [zoneout(torch.ones(1, 24), torch.zeros(1, 24)) for _ in range(24)]
    yield Panel("Zoneout", "time, units; gray: old value", torch.cat(steps))


def dropconnect() -> Iterable[Panel]:
    def weights(layer: nn.DropConnectLinear, examples: int) -> Tensor:
        """(examples, outputs, inputs) of the weights at work, by way of one-hot inputs."""
        torch.nn.init.ones_(layer.weight)
        rows = torch.eye(layer.in_features).expand(examples, -1, -1)
        with torch.no_grad():
            return thinned.keyed(layer, SEED)(rows).transpose(1, 2)

    layer = nn.DropConnectLinear(24, 24, bias=False)
    yield Panel("DropConnectLinear", "outputs, inputs: whole batch", weights(layer, 1)[0])
    each = nn.DropConnectLinear(11, 11, bias=False, per_example=True)
    found = weights(each, 4).view(2, 2, 11, 11)
    yield Panel("per_example=True", "outputs, inputs: 4 examples", tiled(found))
    linear = torch.nn.Linear(24, 24, bias=False)
    torch.nn.init.ones_(linear.weight)
    with torch.no_grad():
        thin = thinned.keyed(nn.WeightDrop(linear, ["weight"], p=0.25), SEED)(torch.eye(24)).t()
    yield Panel("WeightDrop(p=0.25)", "outputs, inputs", thin)


def concrete() -> Iterable[Panel]:
    for temperature in (0.1, 0.5):
        seen: list[Tensor] = []
        layer = nn.ConcreteDropout(torch.nn.Linear(24, 1), p=0.3, examples=1, temperature=temperature)
        layer.layer.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0] * 1.4))
        of(layer, 24, 24)
        yield Panel(f"temperature={temperature}", "rows, features; red is dropped", seen[0], 1.0)


def variational() -> Iterable[Panel]:
    layer = nn.VariationalDropout(24)
    with torch.no_grad():
        layer.log_alpha.copy_(torch.linspace(-8, 0, 24))
    yield Panel("VariationalDropout(24)", "rows, features; alpha grows", of(layer, 24, 24), 1.0)


def sparse() -> Iterable[Panel]:
    def rows(layer: torch.nn.Module) -> Tensor:
        """Lists of 1 to 12 ids, one below the other; replaced ids are 0."""
        lengths = torch.arange(24) * 5 % 12 + 1
        ids, lengths = thinned.keyed(layer, SEED)(torch.ones(int(lengths.sum()), dtype=torch.int64), lengths)
        lists = [list_.float() for list_ in ids.split(lengths.tolist())]
        return torch.stack([torch.nn.functional.pad(row, (0, 12 - len(row)), value=torch.nan) for row in lists])

    whole, single = nn.SparseDropoutWithReplacement(0.4), nn.SparseItemwiseDropoutWithReplacement(0.3)
    yield Panel("ids, whole examples", "examples, their ids", rows(whole))
    yield Panel("ids, one by one", "examples, their ids", rows(single))
    yield Panel("ReplacementDropout", "gray: another number", of(nn.ReplacementDropout(0.3), 24, 24))


def sparse_variational() -> Iterable[Panel]:
    torch.manual_seed(SEED)
    layer = nn.SparseVariationalLinear(24, 24)
    with torch.no_grad():
        layer.log_sigma2.copy_(torch.linspace(-10, 2, 24).expand(24, -1))
    yield Panel("SparseVariationalLinear", "outputs, inputs; noise grows", layer.kept.float())


def penalties() -> Iterable[Panel]:
    torch.manual_seed(SEED)
    model = torch.nn.Sequential(torch.nn.Linear(24, 24), torch.nn.Linear(24, 24))
    with torch.no_grad():
        model[1].weight.mul_(0.5)
    regularization.prune_magnitude(model, 0.6)
    yield Panel("prune_magnitude", "first layer: large weights", model[0].weight_mask)
    yield Panel("prune_magnitude", "second layer: small weights", model[1].weight_mask)


FIGURES: dict[str, Callable[[], Iterable[Panel]]] = {
    "attention": attention,
    "concrete": concrete,
    "dropconnect": dropconnect,
    "gaussian": gaussian,
    "recurrent": recurrent,
    "regularization": penalties,
    "sequences": sequences,
    "sparse": sparse,
    "sparse-variational": sparse_variational,
    "torch": torchs,
    "variational": variational,
    "vision": vision,
}


def colours(panel: Panel) -> list[list[str | None]]:
    """The colour of each cell; None for no cell."""

    def colour(value: float) -> str | None:
        if math.isnan(value):
            return None
        if panel.middle is None:
            return KEPT if value else DROPPED
        return SHADES[min(max(round((value - panel.middle) * 4 + 3.5), 0), len(SHADES) - 1)]

    return [[colour(value) for value in row] for row in panel.matrix.tolist()]


def drawn(panel: Panel, left: int) -> str:
    """One panel: a path for each colour, made of runs of cells."""
    cells = colours(panel)
    height, width = SIDE / len(cells), SIDE / len(cells[0])
    paths: dict[str, list[str]] = {}
    for y, row in enumerate(cells):
        x = 0
        while x < len(row):
            end = next((at for at in range(x, len(row)) if row[at] != row[x]), len(row))
            if row[x] is not None:
                run = f"M{x * width:.4g} {y * height:.4g}h{(end - x) * width:.4g}v{height:.4g}h{(x - end) * width:.4g}z"
                paths.setdefault(str(row[x]), []).append(run)
            x = end
    shapes = "".join(f'<path fill="{colour}" d="{"".join(runs)}"/>' for colour, runs in sorted(paths.items()))
    title = f'<text x="{left}" y="18" font-weight="bold">{escape(panel.title)}</text>'
    axes = f'<text x="{left}" y="34" fill="#666">{escape(panel.axes)}</text>'
    return f'{title}{axes}<g transform="translate({left} {HEAD})" shape-rendering="crispEdges">{shapes}</g>'


def figure(panels: Sequence[Panel]) -> str:
    """All panels of one page as an SVG."""
    width, height = GAP + len(panels) * (SIDE + GAP), HEAD + SIDE + GAP
    body = "\n".join(drawn(panel, GAP + number * (SIDE + GAP)) for number, panel in enumerate(panels))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    head += ' font-family="sans-serif" font-size="11">'
    return f'{head}\n<rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n'


def main() -> None:
    for name, panels in FIGURES.items():
        path = Path(__file__).parent / f"masks-{name}.svg"
        path.write_text(figure(list(panels())), encoding="utf-8")
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
