"""Options and names that all tests share."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before the first import of triton

import thinned

hypothesis.settings.register_profile("thinned", deadline=None)  # a machine may be busy
hypothesis.settings.load_profile("thinned")


def pytest_addoption(parser: pytest.Parser) -> None:
    help = "device of the tests marked `device`: cpu (default) or cuda; the others are about the CPU and run there"
    parser.addoption("--device", default="cpu", help=help)


def pytest_configure(config: pytest.Config) -> None:
    name = config.getoption("--device")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # the latter is what a torch without CUDA raises
        raise pytest.UsageError(f"--device {name}: {str(error).splitlines()[0]}") from None


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.config.getoption("--device"))


@pytest.fixture(autouse=True)
def _tensors_on_the_device(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test marked `device` makes its tensors there, unless it says otherwise."""
    marked = request.node.get_closest_marker("device") is not None
    name = request.config.getoption("--device")
    with torch.device(name) if marked and name != "cpu" else contextlib.nullcontext():
        yield


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict[str, Any]) -> None:
    doctest_namespace.update(torch=torch, thinned=thinned)
