"""What people read in the Prefect UI, made from records alone."""

from perennial.records import (
    Accepted,
    Answer,
    Entry,
    Finding,
    Interval,
    Judged,
    Level,
    Measured,
    Registered,
    Verdict,
)
from perennial.settings import Settings
from perennial.storage_trouble import StoreAway
from tasks.artifacts import (
    delivery_report,
    drift_rows,
    failure_report,
    gate_report,
    journal_report,
    markdown_table,
    measurement_report,
)
from tests.builders import moment

DIGEST = "0" * 64
MAY = moment("2024-05-01")


def accepted(**changes: object) -> Accepted:
    values = {
        "source": "orders",
        "period": "2024-01",
        "revision": 1,
        "digest": DIGEST,
        "contract": DIGEST,
        "rows": 1200,
        "accepted": 1200,
        "quarantined": 0,
        "reasons": {},
        "partition": "2024-01.r1",
        "table_version": 0,
    }
    return Accepted.model_validate(values | changes)


def judged(verdict: Verdict, against_version: int | None = 3) -> Judged:
    return Judged(model=DIGEST, version=4, against=DIGEST, against_version=against_version, verdict=verdict)


def measured(**changes: object) -> Measured:
    values = {
        "period": "2024-01",
        "release": 1,
        "version": 1,
        "rows": 1000,
        "labels": 800,
        "performance": {"roc_auc": Interval(value=0.7, low=0.6, high=0.8, rows=800)},
        "reference": {"roc_auc": Interval(value=None, rows=0)},
        "drift": {"price": 0.05, "score": 0.3, "shop": None},
        "findings": (),
        "report": None,
    }
    return Measured.model_validate(values | changes)


def test_a_delivery_without_bad_rows_says_so() -> None:
    report = delivery_report([accepted()])
    assert "| orders | 2024-01 | 1 | 1,200 | 1,200 | 0 |" in report
    assert "Every row keeps its contract." in report


def test_reasons_of_quarantine_come_with_their_counts_largest_first() -> None:
    report = delivery_report([accepted(accepted=1190, quarantined=10, reasons={"price: null": 2, "shop: unknown": 8})])
    assert report.index("| orders | shop: unknown | 8 |") < report.index("| orders | price: null | 2 |")


def test_the_verdict_comes_before_its_reasons_and_numbers() -> None:
    verdict = Verdict(answer=Answer.FAIL, reasons=("It is worse.",), numbers={"gain": -0.1, "floor": None})
    report = gate_report(judged(verdict))
    assert report.startswith("## ❌ FAIL: version 4 against version 3")
    assert report.index("- It is worse.") < report.index("| gain | -0.1 |")
    assert "| floor | unknown |" in report


def test_a_first_model_is_judged_against_the_baseline() -> None:
    assert "against the baseline" in gate_report(judged(Verdict(answer=Answer.PASS, reasons=()), against_version=None))


def test_findings_come_before_performance() -> None:
    finding = Finding(
        level=Level.ALERT, category="score-drift", summary="The score drifted.", detail="", resolution="Look at it."
    )
    report = measurement_report(measured(findings=(finding,)))
    assert report.index("score-drift") < report.index("| roc_auc | 0.7 [0.6, 0.8] | unknown |")
    assert "800 of 1,000 rows have a label by now." in report


def test_undefined_drift_is_shown_on_top_and_never_as_a_number() -> None:
    assert drift_rows(measured()) == [
        {"feature": "shop", "psi": "unknown"},
        {"feature": "score", "psi": "0.3"},
        {"feature": "price", "psi": "0.05"},
    ]


def test_a_bar_in_a_value_does_not_break_the_table() -> None:
    assert markdown_table(["a"], [["x|y\nz"]]).splitlines()[-1] == "| x\\|y z |"


def test_an_error_keeps_its_own_text_and_says_whether_trying_again_helps() -> None:
    assert failure_report(StoreAway("It is away.")) == "## ❌ StoreAway\n\nIt is away.\n\nTrying again may help."


def test_the_journal_of_a_run_has_numbers_and_links() -> None:
    settings = Settings(environment="prod", storage_root="s3://prod", mlflow_tracking_uri="https://mlflow:5000")
    verdict = Verdict(answer=Answer.PASS, reasons=("better",))
    records = [
        Registered(model=DIGEST, version=4, run="run-4"),
        judged(verdict),
        measured(report="reports/shop/2024-01.r1.html"),
        accepted(),
    ]
    entries = [Entry(seq=number, previous="", at=MAY, record=one) for number, one in enumerate(records, 7)]
    report = journal_report(entries, settings, "shop")
    link = "[version 4](https://mlflow:5000/#/models/shop/versions/4) in MLflow"
    assert f"| 7 | model.registered | {link}, [run `run-4`](https://mlflow:5000/#/runs/run-4) |" in report
    assert f"| 8 | model.judged | {link} |" in report
    place = "s3://prod/reports/shop/2024-01.r1.html"
    assert f"| 9 | monitoring.measured | [Evidently report]({place}), `{place}` |" in report
    assert "| 10 | delivery.accepted |  |" in report


def test_without_a_server_that_shows_it_nothing_links_to_one() -> None:
    settings = Settings(environment="dev", storage_root="/home/me/storage of mine", mlflow_tracking_uri="")
    records = [Registered(model=DIGEST, version=4, run="run-4"), measured(report="reports/shop/2024-01.r1.html")]
    entries = [Entry(seq=number, previous="", at=MAY, record=one) for number, one in enumerate(records, 7)]
    report = journal_report(entries, settings, "shop")
    assert "| 7 | model.registered | version 4 in MLflow, run `run-4` |" in report
    place = "/home/me/storage of mine/reports/shop/2024-01.r1.html"
    assert f"[Evidently report](file://{place.replace(' ', '%20')}), `{place}` |" in report
