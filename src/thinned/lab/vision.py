"""A small vision transformer."""

from collections.abc import Sequence

from torch import Tensor, nn

from thinned._errors import RangeError
from thinned.lab import blocks, dropouts
from thinned.lab.blocks import Block
from thinned.lab.dropouts import ELEMENTS, MAPS, PATCHES, DropoutSettings
from thinned.lab.examples import Shape
from thinned.lab.network import ModelSettings

PLACES_STD = 0.02  # of the first values of what tells places apart: small beside what is seen there


class VisionTransformer(nn.Module):
    """A transformer on the patches of an image; the mean over them is what the image is told by.

    Args:
        drop: dropout of the images.
        patches: makes of each patch its features.
        places: how many patches an image has.
        tokens: dropout of patches.
        blocks: one after another.
        outputs: number of classes, or of numbers.

    Source: Dosovitskiy et al., "An image is worth 16x16 words: transformers for image recognition at scale", ICLR 2021;
    the mean in the place of a class token as by Beyer, Zhai and Kolesnikov, "Better plain ViT baselines for
    ImageNet-1k", 2022.
    """

    def __init__(
        self, drop: nn.Module, patches: nn.Conv2d, places: int, tokens: nn.Module, blocks: Sequence[Block], outputs: int
    ) -> None:
        super().__init__()
        width = patches.out_channels
        self.drop, self.patches, self.tokens = drop, patches, tokens
        self.places = nn.Embedding(places, width)
        nn.init.normal_(self.places.weight, std=PLACES_STD)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Return the outputs for some images.

        Args:
            images: shape (examples, channels, height, width).

        Returns:
            Tensor of shape (examples, outputs).
        """
        x = self.patches(self.drop(images)).flatten(2).transpose(1, 2) + self.places.weight
        x = self.tokens(x)
        for block in self.blocks:
            x = block(x)
        return self.output(self.norm(x).mean(1))  # type: ignore[no-any-return]


def build(settings: ModelSettings, dropped: DropoutSettings, shape: Shape) -> nn.Module:
    """Build a vision transformer.

    Args:
        settings: of the network.
        dropped: what is dropped.
        shape: of the data.

    Returns:
        The network.

    Raises:
        RangeError, KindError: a dropout that does not fit, or images that cannot be cut into such patches.

    Examples:
        >>> import torch
        >>> dropped = DropoutSettings(input_kind="patch", input_p=0.5)
        >>> made = build(ModelSettings("vit"), dropped, Shape((1, 8, 8), 3))
        >>> made(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 3])
    """
    if len(shape.inputs) != 3:
        raise RangeError(f"A vit must have images, but got examples of shape {shape.inputs}.")
    (channels, height, across), patch = shape.inputs, settings.patch
    if height % patch or across % patch:
        raise RangeError(
            f"`patch` must divide the sides of the images, but got patch={patch} for {height} x {across} pixels."
        )
    name = dropped.input_kind if dropped.input_p > 0 or dropped.input_kind == "cutout" else "none"
    options = {} if name == "none" else dropped.input_options
    takes = [ELEMENTS, MAPS, PATCHES]
    drop = dropouts.make(name, dropped.input_p, channels, shape.examples, options, takes, "the input")
    of_patches = dropouts.known(name, "input_kind").takes == PATCHES
    return VisionTransformer(
        nn.Identity() if of_patches else drop,
        nn.Conv2d(channels, settings.width, patch, stride=patch),
        (height // patch) * (across // patch),
        drop if of_patches else nn.Identity(),
        blocks.build(settings, dropped, shape.examples),
        shape.outputs,
    )
