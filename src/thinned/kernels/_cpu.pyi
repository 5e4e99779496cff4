from collections.abc import Sequence

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
    threads: int,
    path: int,
    fresh: bool,
    /,
) -> None: ...
def available_paths() -> list[int]: ...
