"""Makes a failing scenario smaller: leaves out events as long as it goes on failing.

Zeller and Hildebrandt's ddmin (2002), on the events' numbers.
"""

from simulation.run import Run
from simulation.scenario import Scenario

RUNS_MAX = 400


def shrunk(scenario: Scenario) -> Scenario:
    """The smallest that was found; every run of it ends in some violation, as the whole does."""
    runs = 0

    def fails(candidate: Scenario) -> bool:
        nonlocal runs
        runs += 1
        return Run(candidate).result().violation is not None

    size = max(len(scenario.events) // 2, 1)
    while runs < RUNS_MAX:
        smaller = None
        numbers = [number for number, _ in scenario.events]
        for start in range(0, len(numbers), size):
            kept = {*numbers[:start], *numbers[start + size :]}
            candidate = scenario.keeping(kept)
            if fails(candidate):
                smaller = candidate
                break
            if runs >= RUNS_MAX:
                return scenario
        if smaller is not None:
            scenario = smaller
            size = max(min(size, len(scenario.events) // 2), 1)
        elif size > 1:
            size = size // 2
        else:
            return scenario
    return scenario
