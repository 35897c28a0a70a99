"""Reads what `/metrics` shows."""

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from raw_http import send


def families(url: str) -> dict[str, Metric]:
    """All metrics of the server, by name; those of counters without `_total`."""
    text = send(url, b"GET", b"/metrics").body.decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def sample_names(url: str) -> set[str]:
    """The names that a query can use."""
    return {sample.name for family in families(url).values() for sample in family.samples}


def metric(url: str, name: str, **labels: str) -> float:
    """The sum of all samples with this name and these labels."""
    return sum(
        sample.value
        for family in families(url).values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
