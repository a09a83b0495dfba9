"""Values told together leave what they leave told one by one."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from serving.gathering import Gathered

BUCKETS = (0.1, 0.5, 1.0)


@pytest.mark.parametrize("values", [[0.05], [0.1, 0.100001, 0.5, 0.75, 1.0, 7.0], [3.0] * 5, []])
def test_a_flush_tells_what_single_observations_would(values: list[float]) -> None:
    texts = []
    for is_together in (True, False):
        registry, gathered = CollectorRegistry(), Gathered()
        seconds = Histogram("seconds", "s", ("route",), buckets=BUCKETS, registry=registry).labels("r")
        rows = Counter("rows", "r", ("version",), registry=registry).labels("1")
        for one in values:
            if is_together:
                gathered.observe(seconds, one)
                gathered.count(rows)
            else:
                seconds.observe(one)
                rows.inc()
        gathered.flush()
        gathered.flush()
        lines = generate_latest(registry).decode().splitlines()
        texts.append([one for one in lines if "_created" not in one])
    assert texts[0] == texts[1]
