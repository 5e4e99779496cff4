"""What `thinned.cite` prints, and that the layers' pages have it."""

import inspect
from pathlib import Path

import pytest
import torch

import thinned
from thinned import nn, references
from thinned._errors import KindError

LAYERS = [layer for name in nn.__all__ if inspect.isclass(layer := getattr(nn, name))]
PAGES = "\n".join(page.read_text(encoding="utf-8") for page in Path(__file__).parents[1].glob("docs/**/*.md"))


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_names_its_paper(layer):
    assert layer.reference in {value for name, value in vars(references).items() if name.isupper()}
    assert layer.reference.startswith("@")
    assert layer.reference.count("{") == layer.reference.count("}")


def test_the_pages_have_the_papers():
    assert [layer for layer in LAYERS if layer.reference not in PAGES] == []


def test_each_paper_is_printed_once(capsys):
    model = torch.nn.Sequential(nn.Dropout(), nn.Dropout(), torch.nn.Linear(2, 2), nn.WeightDrop(torch.nn.LSTM(2, 2)))
    thinned.cite(model)
    assert capsys.readouterr().out == f"{references.SRIVASTAVA_2014}\n\n{references.MERITY_2018}\n"
    thinned.cite(torch.nn.Dropout2d())
    assert capsys.readouterr().out == f"{references.TOMPSON_2015}\n"


def test_not_a_module():
    with pytest.raises(KindError, match=r"`model` must be a torch\.nn\.Module, but got int"):
        thinned.cite(3)
