"""Imports run one way, down the list of docs/design/0001-layers.md, and `import thinned` stays lean."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import thinned

SOURCE = Path(__file__).parents[1] / "src" / "thinned"

# Each line may import from the lines above it. Names on one line do not import each other. `__init__` is the public
# face: whoever needs `thinned` itself stands above it.
LAYERS = [
    ["_errors"],
    ["_check", "_optional", "references"],
    ["philox"],
    ["data"],  # draws its splits with philox
    ["masks"],
    ["kernels"],
    ["ops", "submatrix"],
    ["redraw"],
    ["functional", "numpy", "keys"],
    ["nn", "caffe2"],
    ["batchwise"],
    ["optim"],
    ["_convert", "_audit", "regularization", "schedule"],
    ["_predict", "_cite"],  # know what `convert` would swap
    ["__init__"],
    ["lab"],
    ["__main__"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
ALONE = {  # what only these modules may import
    "triton": ("kernels.triton",),
    "thinned.kernels._cpu": ("kernels.cpu", "kernels.replacement"),
}
HEAVY = {"click", "rich", "sklearn", "matplotlib", "optuna", "triton"}
BY_NAME = ("import_module", "__import__", "require")  # calls that import a module by its name in a string


def imports(tree, package):
    """Yield (line, dotted name) of everything a module imports; `package` is the dotted name of its package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", None))
            if called in BY_NAME:
                yield node.lineno, str(node.args[0].value)


def room(name):
    """The entry of LAYERS that a dotted name below `thinned` belongs to."""
    head = name.split(".")[1] if "." in name else "__init__"
    known = head in RANK or (SOURCE / head).is_dir() or (SOURCE / f"{head}.py").is_file()
    return head if known else "__init__"  # an object that `thinned` itself offers


def faults(module, text):
    """Return what is wrong with the imports of one module, named relative to `thinned`, as "nn.dropout"."""
    found = []
    here = module.split(".")[0]
    if here not in RANK:
        return [f"{module}: `{here}` has no place in LAYERS"]
    package = ".".join(["thinned", *module.split(".")[:-1]])
    for line, name in imports(ast.parse(text), package):
        for target, owners in ALONE.items():
            if (name == target or name.startswith(target + ".")) and module not in owners:
                found.append(f"{module}:{line} imports {name}, which only {' and '.join(owners)} may")
        if name.split(".")[0] == "thinned":
            there = room(name)
            if there not in RANK:
                found.append(f"{module}:{line} imports {name}, but `{there}` has no place in LAYERS")
            elif there != here and RANK[there] >= RANK[here]:
                found.append(f"{module}:{line} imports {name}, which is not below `{here}`")
    return found


def module_name(path):
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)


def modules():
    return sorted(SOURCE.rglob("*.py"))


def test_there_are_modules_to_walk():
    names = {module_name(path) for path in modules()}
    assert {"__init__", "_check", "masks", "philox"} <= names


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_imports_run_down(path):
    assert faults(module_name(path), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "text", "fault"),
    [
        ("masks", "from thinned import functional", "masks:1 imports thinned.functional, which is not below `masks`"),
        ("masks", "import thinned.nn.dropout", "imports thinned.nn.dropout, which is not below"),
        ("masks", "def f():\n    from thinned.ops import dropout", "masks:2 imports thinned.ops.dropout"),
        ("masks", "from .kernels import cpu", "imports thinned.kernels.cpu, which is not below"),
        (
            "nn.dropout",
            "from ..batchwise.chain import Chain",
            "imports thinned.batchwise.chain.Chain, which is not below",
        ),
        ("functional", "from thinned import keys", "imports thinned.keys, which is not below `functional`"),
        ("functional", "from thinned import dropout", "imports thinned.dropout, which is not below `functional`"),
        ("ops", "import thinned", "imports thinned, which is not below `ops`"),
        ("nn.dropout", "from thinned import lab", "imports thinned.lab, which is not below `nn`"),
        ("__init__", "from thinned.lab import compare", "imports thinned.lab.compare, which is not below `__init__`"),
        ("ops", "importlib.import_module('thinned.nn')", "imports thinned.nn, which is not below `ops`"),
        ("ops", "import triton.language as tl", "imports triton.language, which only kernels.triton may"),
        ("ops", "require('triton', 'gpu')", "imports triton, which only kernels.triton may"),
        (
            "ops",
            "from thinned.kernels import _cpu",
            "imports thinned.kernels._cpu, which only kernels.cpu and kernels.replacement may",
        ),
        (
            "kernels.tensor",
            "from ._cpu import dropout",
            "imports thinned.kernels._cpu.dropout, which only kernels.cpu and kernels.replacement may",
        ),
        ("novelty", "", "novelty: `novelty` has no place in LAYERS"),
    ],
)
def test_the_walker_finds_faults(module, text, fault):
    found = faults(module, text)
    assert len(found) == 1
    assert fault in found[0]


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("functional", "import numpy\nimport torch\nfrom thinned import _check, masks, ops"),
        ("nn.dropout", "from . import feature\nfrom .feature import Dropout2d\nfrom .. import functional"),
        ("nn.__init__", "from .dropout import Dropout\nfrom thinned.nn.feature import Dropout2d"),
        ("kernels.cpu", "from thinned.kernels import _cpu\nfrom . import _cpu"),
        ("kernels.triton", "import triton\nimport triton.language as tl"),
        ("ops", "from thinned.kernels import triton"),
        ("lab.train", "import thinned\nfrom thinned import dropout\nfrom thinned.data import load"),
    ],
)
def test_the_walker_lets_the_rest_pass(module, text):
    assert faults(module, text) == []


def test_importing_the_package_brings_none_of_the_extras():
    """Whatever torch itself imports is not counted."""
    program = (
        "import sys, torch; before = set(sys.modules); import thinned; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    brought = set(done.stdout.split())
    assert "thinned" in brought
    assert brought.isdisjoint(HEAVY)


def test_what_works_on_whole_models_is_loaded_when_it_is_asked_for():
    program = (
        "import sys, thinned; early = set(sys.modules); assert set(thinned.__all__) <= set(dir(thinned)); "
        "[getattr(thinned, name) for name in thinned.__all__]; "
        "print(*(f'thinned.{name}' in early for name in ('_audit', '_predict', 'batchwise', 'optim')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False"] * 4


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="module 'thinned' has no attribute 'droput'"):
        thinned.droput  # noqa: B018
