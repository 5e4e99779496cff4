from collections.abc import Sequence

from thinned.kernels.steps import AdamStep, SgdStep

def dropout(
    x: int,
    y: int,
    start: int,
    n: int,
    dtype: int,
    seed: int,
    stream: int,
    threshold: int,
    bits: int,
    scale: float,
    shift: float,
    fill: float,
    threads: int,
    path: int,
    fresh: bool,
    /,
) -> None: ...
def dropout_strided(
    x: int,
    y: int,
    shape: Sequence[int],
    x_strides: Sequence[int],
    y_strides: Sequence[int],
    mask_strides: Sequence[int],
    start: int,
    dtype: int,
    seed: int,
    stream: int,
    threshold: int,
    bits: int,
    scale: float,
    shift: float,
    fill: float,
    threads: int,
    path: int,
    fresh: bool,
    /,
) -> None: ...
def dropout_each(
    x: int,
    y: int,
    start: int,
    n: int,
    count: int,
    seeds: int,
    dtype: int,
    stream: int,
    threshold: int,
    bits: int,
    scale: float,
    threads: int,
    path: int,
    /,
) -> None: ...
def gaussian(
    x: int,
    y: int,
    start: int,
    n: int,
    dtype: int,
    seed: int,
    stream: int,
    deviation: float,
    noise: int,
    threads: int,
    path: int,
    /,
) -> None: ...
def available_paths() -> list[int]: ...

Place = tuple[int, int, int, int, int]  # addresses of rows and columns, length of a row, numbers of rows and columns

# Of what is done at once: dtype, addresses, place, numbers of the step.
BlockJob = tuple[int, int, int, Place]
SgdJob = tuple[int, int, int, int, Place, SgdStep]
AdamJob = tuple[int, int, tuple[int, int, int], int, Place, AdamStep]

def gather(jobs: list[BlockJob], threads: int, path: int, /) -> None: ...
def scatter_add(jobs: list[BlockJob], threads: int, path: int, /) -> None: ...
def sgd(jobs: list[SgdJob], threads: int, path: int, /) -> None: ...
def adam(jobs: list[AdamJob], threads: int, path: int, /) -> None: ...
def ask_for_huge_pages(address: int, bytes: int, /) -> None: ...
def site_seeds(seed: int, step: int, sites: Sequence[int], /) -> list[int]: ...
def units(kept: int, n: int, k: int, groups: int, seed: int, stream: int, slices: bool, /) -> None: ...

SEGMENT_BLOCK: int

def count_segments(
    lengths: int,
    out: int,
    starts: int,
    length_size: int,
    count: int,
    items: int,
    start: int,
    seed: int,
    stream: int,
    threshold: int,
    bits: int,
    threads: int,
    path: int,
    /,
) -> int: ...
def replace_segments(
    values: int,
    lengths: int,
    starts: int,
    out: int,
    total: int,
    id: int,
    size: int,
    length_size: int,
    count: int,
    items: int,
    start: int,
    seed: int,
    stream: int,
    threshold: int,
    bits: int,
    threads: int,
    path: int,
    /,
) -> None: ...
def replace_items(
    x: int,
    y: int,
    n: int,
    id: int,
    size: int,
    start: int,
    seed: int,
    stream: int,
    threshold: int,
    bits: int,
    threads: int,
    path: int,
    /,
) -> None: ...
