"""Hunts one mutant: `python -m simulation.hunt NAME`. Says in JSON with which seed it is caught.

Nothing of the ledger may be imported before the patch is in place, so this is a process of its own.
"""

import json
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

from simulation.mutants import MUTANTS, Edit, Mutant


class Patches(MetaPathFinder):
    """Finds the modules that a mutant changes, before anyone else does."""

    def __init__(self, mutant: Mutant) -> None:
        self._edits: dict[str, list[Edit]] = {}
        for edit in mutant.edits:
            self._edits.setdefault(edit.module, []).append(edit)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        edits = self._edits.get(name)
        spec = PathFinder.find_spec(name, path)
        if edits is None or spec is None or spec.origin is None:
            return None
        spec.loader = PatchingLoader(name, spec.origin, edits)
        return spec


class PatchingLoader(SourceFileLoader):
    def __init__(self, name: str, path: str, edits: Sequence[Edit]) -> None:
        super().__init__(name, path)
        self._edits = edits

    def get_code(self, fullname: str):  # type: ignore[no-untyped-def]
        # Past the cache of compiled files, which knows nothing of the patch.
        return self.source_to_code(self.get_data(self.path), self.path)

    def get_data(self, path: str) -> bytes:
        source = super().get_data(path).decode()
        for edit in self._edits:
            if source.count(edit.old) != 1:
                raise ImportError(
                    f"{edit.module} has this {source.count(edit.old)} times: {edit.old}"
                )
            source = source.replace(edit.old, edit.new)
        return source.encode()


def hunt(first_seed: int, seeds_max: int) -> dict[str, object]:
    """Tries seed after seed until one ends in a violation."""
    from simulation.drawing import draw
    from simulation.run import Run

    for seed in range(first_seed, first_seed + seeds_max):
        result = Run(draw(seed)).result()
        if result.violation is not None:
            return {"seed": seed, "tried": seed - first_seed + 1, "violation": result.violation}
    return {"seed": None, "tried": seeds_max, "violation": None}


if __name__ == "__main__":
    name, first_seed, seeds_max = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    (sought,) = [mutant for mutant in MUTANTS if mutant.name == name]
    sys.meta_path.insert(0, Patches(sought))
    print(json.dumps(hunt(first_seed, seeds_max)))
