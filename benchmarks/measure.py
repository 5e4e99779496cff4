"""Timing contenders against each other on a machine that others use as well.

Contenders take turns, many times over; a ratio is formed within each turn and the median over the turns is reported.
So a slow spell of the machine hits all contenders of a turn alike, and does not show in the ratio.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

TURNS = 11
TURN_SECONDS = 0.03  # time for one contender in one turn, at least


@dataclass
class Timings:
    """Seconds for one call, for each contender and turn."""

    turns: dict[str, list[float]] = field(default_factory=dict)

    def median(self, name: str) -> float:
        return statistics.median(self.turns[name])

    def quantiles(self, name: str) -> tuple[float, float]:
        """The 20 % and 80 % quantiles."""
        cuts = statistics.quantiles(self.turns[name], n=5, method="inclusive")
        return cuts[0], cuts[3]

    def ratio(self, over: str, under: str) -> float:
        """Median over the turns of time(over) / time(under)."""
        pairs = zip(self.turns[over], self.turns[under], strict=True)
        return statistics.median(a / b for a, b in pairs)


def _calls_for(run: Callable[[], object], sync: Callable[[], object]) -> int:
    run()  # warm up: compile, fault pages in, wake threads
    sync()
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < TURN_SECONDS:
        run()
        sync()
        calls += 1
    return calls


def interleave(
    contenders: Mapping[str, Callable[[], object]],
    turns: int = TURNS,
    sync: Callable[[], object] | None = None,
) -> Timings:
    """Time the contenders in turns.

    A turn runs a contender once untimed, because its predecessor has filled the cache with its own data, and then for
    at least `TURN_SECONDS`; its result is the mean over those calls. `sync` waits for a device to finish.
    """
    sync = sync or (lambda: None)
    calls = {name: _calls_for(run, sync) for name, run in contenders.items()}
    result = Timings({name: [] for name in contenders})
    for _ in range(turns):
        for name, run in contenders.items():
            run()
            sync()
            start = time.perf_counter()
            for _ in range(calls[name]):
                run()
            sync()
            result.turns[name].append((time.perf_counter() - start) / calls[name])
    return result
