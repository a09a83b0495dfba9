"""What `perennial status` tells of findings."""

import pytest

from cli.findings import finding_lines
from perennial.records import Finding, Level, Measured

DRIFT = {"price": 0.25, "weather_wind_speed": 1.5, "shop": 0.3, "origin_trailing_delay_rate": 0.5, "carrier": 0.4}


def finding(category: str, subject: str) -> Finding:
    summary = f"`{subject}` has drifted: population stability index {DRIFT.get(subject)}, limit 0.2."
    return Finding(level=Level.WARNING, category=category, subject=subject, summary=summary, detail="", resolution="")


def lines(*findings: Finding) -> list[str]:
    return [one.plain for one in finding_lines(Measured.model_construct(findings=findings, drift=DRIFT))]


@pytest.mark.parametrize(
    ("features", "told"),
    [
        (["price"], "price 0.25"),
        (["price", "shop"], "shop 0.30, price 0.25"),
        (list(DRIFT), "weather_wind_speed 1.50 and 4 more"),
    ],
)
def test_drifted_features_share_a_line_the_most_drifted_first(features: list[str], told: str) -> None:
    (line,) = lines(*(finding("feature-drift", name) for name in features))
    assert line == f"feature-drift: {told}"
    assert len(line) <= 66


def test_other_findings_are_told_one_by_one() -> None:
    other = finding("score-drift", "score")
    assert lines(finding("feature-drift", "price"), other) == [
        f"score-drift: {other.summary}",
        "feature-drift: price 0.25",
    ]


def test_without_findings_there_is_nothing_to_tell() -> None:
    assert lines() == []
