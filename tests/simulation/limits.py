"""The ledger's own sizes, made small, so that a run of a hundred credits meets every seam."""

from collections.abc import Iterator
from contextlib import contextmanager

from simulation.scenario import World

import ledger_actors.accounts
import ledger_actors.forgetting
import ledger_actors.recovery
import persistence.log_store
import persistence.snapshotter


@contextmanager
def in_force(world: World) -> Iterator[None]:
    """Within the block, the ledger reads, forgets, folds and cuts in steps as the world says."""
    sizes = [
        (ledger_actors.recovery, "ENTRIES_PER_READ", world.entries_per_read),
        (ledger_actors.forgetting, "ENTRIES_PER_STEP_MIN", world.entries_per_forgetting),
        (ledger_actors.forgetting, "ENTRIES_PER_SYNC", world.entries_per_forgetting),
        (ledger_actors.accounts, "LOOKED_UP_TOGETHER_MIN", world.looked_up_together),
        (ledger_actors.accounts, "LEARNING_LOOK_UPS", world.look_ups_before_learning),
        (ledger_actors.accounts, "LEARNED_MAX", world.learned),
        (persistence.snapshotter, "ENTRIES_PER_TRANSACTION", world.entries_per_fold),
        (persistence.log_store, "CUT_PER_COMMIT", world.cut_per_commit),
        (persistence.log_store, "CUT_PER_CALL", world.cut_per_call),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in sizes]
    for module, name, size in sizes:
        setattr(module, name, size)
    try:
        yield
    finally:
        for module, name, size in before:
            setattr(module, name, size)
