"""Metrics in the text format of Prometheus, read out of the parts of the server when asked for.

Nothing here is touched by a credit: the parts keep plain numbers of their own (`statistics()`), and
a source makes metrics of them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

import trio
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder

from ledger_actors.histogram import HistogramStatistics

PREFIX: Final = "bitburst_"


class Source(Protocol):
    """Something that has metrics."""

    def collect(self) -> Iterable[Metric]:
        """All of them, as they are now."""
        ...


class Metrics:
    """Everything that `/metrics` shows: the process, the interpreter, and what is added."""

    def __init__(self) -> None:
        self._sources: list[Source] = [
            ProcessCollector(registry=None),
            PlatformCollector(registry=None),
            GCCollector(registry=CollectorRegistry()),
        ]

    def add(self, source: Source) -> None:
        self._sources.append(source)

    async def exposition(self, accept: str) -> tuple[bytes, str]:
        """The text, and its content type: OpenMetrics where that is accepted.

        What is read is of one moment. It is encoded on a thread: that takes milliseconds.
        """
        read = _Read([family for source in self._sources for family in source.collect()])
        encode, content_type = choose_encoder(accept)
        return await trio.to_thread.run_sync(encode, read), content_type


class _Read:
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def counter(
    name: str, explained: str, value: float | Mapping[str, float], label: str = ""
) -> Metric:
    """A counter; by label value, where there is a label.

    Args:
        name: without prefix, and without `_total`.
    """
    if isinstance(value, Mapping):
        by_label = CounterMetricFamily(PREFIX + name, explained, labels=[label])
        for labelled, count in value.items():
            by_label.add_metric([labelled], count)
        return by_label
    return CounterMetricFamily(PREFIX + name, explained, value=value)


def gauge(
    name: str, explained: str, value: float | Mapping[str, float] | None, label: str = ""
) -> Metric:
    """A gauge; by label value, where there is a label; without any, where it is not known yet."""
    if value is None:
        return GaugeMetricFamily(PREFIX + name, explained, labels=[])
    if isinstance(value, Mapping):
        by_label = GaugeMetricFamily(PREFIX + name, explained, labels=[label])
        for labelled, count in value.items():
            by_label.add_metric([labelled], count)
        return by_label
    return GaugeMetricFamily(PREFIX + name, explained, value=value)


def histogram(name: str, explained: str, statistics: HistogramStatistics) -> Metric:
    """One histogram."""
    return histograms(name, explained, (), [((), statistics)])


def histograms(
    name: str,
    explained: str,
    labels: Sequence[str],
    statistics: Iterable[tuple[Sequence[str], HistogramStatistics]],
) -> Metric:
    """One for each of the label values that are given."""
    family = HistogramMetricFamily(PREFIX + name, explained, labels=labels)
    for values, one in statistics:
        family.add_metric(values, [*_cumulative(one)], one.total)
    return family


def _cumulative(statistics: HistogramStatistics) -> Iterator[tuple[str, float]]:
    below = 0
    for bound, count in zip(statistics.bounds, statistics.counts, strict=False):
        below += count
        yield f"{bound:g}", below
    yield "+Inf", below + statistics.counts[-1]
