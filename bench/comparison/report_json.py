"""Everything that a run has found, for programs; units are the last word of a name."""

import importlib.metadata
import os
from dataclasses import asdict
from pathlib import Path
from typing import Final

import psutil

from bench.comparison.figure import Figure, Results, Spread
from bench.comparison.setting import Setting
from bench.comparison.targets import TARGETS, Judged, judge
from bench.report import Json, machine

FORMAT_VERSION: Final = 1
PACKAGES: Final = ("lmdb", "trio", "hypercorn", "quart-trio", "httptools", "fastapi", "uvicorn")
MORE_PACKAGES: Final = ("uvloop", "asyncpg")


def comparison_json(results: Results, setting: Setting) -> Json:
    """All figures with their repetitions, all ratios, and what they were measured on."""
    return {
        "format": FORMAT_VERSION,
        "bench": "compare",
        "machine": surroundings(setting),
        "parameters": parameters(setting),
        "targets": [_judged(judge(target, results.figures)) for target in TARGETS],
        "figures": [_figure(figure) for figure in results.figures.values()],
        "not_measured": results.skipped,
        "read_back": results.checked,
        "wrong_credits": results.wrong,
    }


def surroundings(setting: Setting) -> Json:
    """Machine, disk and versions."""
    return {
        **machine(),
        "processor": _processor(),
        "memory_bytes": psutil.virtual_memory().total,
        "file_system": file_system(setting.folder),
        "pinned": setting.pinned,
        "packages": {name: _version(name) for name in (*PACKAGES, *MORE_PACKAGES)},
    }


def parameters(setting: Setting) -> Json:
    """As they were chosen, but for where the run had its files."""
    chosen = asdict(setting)
    del chosen["folder"], chosen["cores"]
    chosen["wrk"] = setting.wrk is not None
    return {
        name: sorted(value) if isinstance(value, frozenset) else value
        for name, value in chosen.items()
    }


def file_system(folder: Path) -> str:
    """What kind of file system the folder is on: on one in memory an fsync costs nothing."""
    mounts = psutil.disk_partitions(all=True)
    above = [mount for mount in mounts if folder.is_relative_to(mount.mountpoint)]
    nearest = max(above, key=lambda mount: len(mount.mountpoint), default=None)
    return "unknown" if nearest is None else str(nearest.fstype)


def _judged(judged: Judged) -> Json:
    target = judged.target
    return {
        "what": target.what,
        "figure": list(target.figure),
        "against": None if target.against is None else list(target.against),
        "bound": target.bound.name.lower(),
        "target": target.value,
        "reached": None if judged.reached is None else _spread(judged.reached),
        "verdict": judged.verdict.value,
    }


def _figure(figure: Figure) -> Json:
    return {
        "peer": figure.name.peer,
        "what": figure.name.what,
        "unit": figure.unit,
        **_spread(figure.spread),
        "errors": figure.errors,
        "first_error": figure.first_error,
        "flags": list(figure.flags),
        "generator": figure.generator,
        "pinned": figure.pinned,
        "repetitions": [asdict(sample) for sample in figure.samples],
    }


def _spread(spread: Spread) -> Json:
    return asdict(spread)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, os.uname().machine)
