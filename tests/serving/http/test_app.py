"""What the service answers and refuses over HTTP, asked on a real port of a real model."""

import json
import socket
from dataclasses import replace
from datetime import UTC, datetime
from threading import Event
from typing import Any

import httpx
import pytest

from serving import app, scoring
from serving.answers import Answer, Question
from serving.arms import STEADY
from serving.messages import Request
from serving.routes import Route
from tests.servers import until
from tests.serving.http.conftest import Running, order, running
from tests.serving.http.small_replica import SmallReplica, Told

TOKEN = "right-token"
OPEN = {"/livez", "/readyz", "/ping", "/v2/health/live", "/v2/health/ready"}


def scores_of(replica: SmallReplica, *rows: dict[str, Any]) -> list[float]:
    """Ask the replica itself, without HTTP."""
    read = [{**row, "ordered_at": datetime.fromisoformat(row["ordered_at"])} for row in rows]
    asked = [Question(str(number), row, "", datetime.now(UTC)) for number, row in enumerate(read)]
    return [one.score for one in replica.answer(asked)]


def test_one_row_gets_its_score_with_where_it_is_from(service: Running, replica: SmallReplica) -> None:
    response = service.client.post("/predict", json=order(), headers={"X-Request-Id": "my-id"})
    answer = response.json()
    assert response.status_code == 200
    assert response.headers["x-request-id"] == "my-id"
    assert answer.pop("id").startswith("my-id.")
    assert answer == {"score": scores_of(replica, order())[0], "version": 1, "release": 1}


def test_several_rows_are_answered_in_order(service: Running, replica: SmallReplica) -> None:
    rows = [order(number, channel="web" if number % 2 else "app") for number in range(20)]
    predictions = service.client.post("/predict", json={"rows": rows}).json()["predictions"]
    assert [one["score"] for one in predictions] == scores_of(replica, *rows)
    assert len({one["id"] for one in predictions}) == 20
    assert [one["id"].rpartition("/")[2] for one in predictions] == [str(number) for number in range(20)]


def test_the_same_request_id_twice_gives_two_prediction_ids(service: Running) -> None:
    ids = [service.client.post("/predict", json=order(), headers={"X-Request-Id": "a"}).json()["id"] for _ in "ab"]
    assert len(set(ids)) == 2


@pytest.mark.parametrize("insane", ["a b", "", "x" * 65, 'a"b', "../a", "a/1"])
def test_an_insane_request_id_is_replaced(service: Running, insane: str) -> None:
    response = service.client.post("/predict", json=order(), headers={"X-Request-Id": insane})
    assert response.headers["x-request-id"] != insane
    assert response.json()["id"].startswith(response.headers["x-request-id"])


def test_a_broken_contract_names_every_row_and_field(service: Running) -> None:
    rows = [order(), order(price=-1, shop=None), order(colour="red")]
    response = service.client.post("/predict", json={"rows": rows})
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["errors"] == [
        {"row": 1, "field": "price", "given": "-1", "expected": "a number from 0"},
        {"row": 1, "field": "shop", "given": "null", "expected": "a text of at most 4000 characters"},
        {"row": 2, "field": "colour", "given": '"red"', "expected": "no such field"},
    ]


def test_a_suggestion_ends_with_its_question_mark(service: Running) -> None:
    detail = service.client.post("/predict", json={"rows": [order(prize=3)]}).json()["detail"]
    assert detail == "row 0: `prize` is 3, expected no such field; did you mean `price`?"


@pytest.mark.parametrize(
    ("status", "reason", "path", "changes"),
    [
        (400, "malformed", "/predict", {"content": b"{"}),
        (400, "malformed", "/predict", {"json": {"rows": []}}),
        (422, "rows", "/predict", {"json": {"rows": [order()] * 51}}),
        (413, "size", "/predict", {"content": b" " * 1_000_001}),
        (413, "size", "/predict", {"content": (b" " * 100_000 for _ in range(11))}),
        (415, "media-type", "/predict", {"content": b"{}", "headers": {"Content-Type": "text/plain"}}),
        (415, "media-type", "/predict", {"content": b"{}", "headers": {"Content-Type": ""}}),
        (415, "encoding", "/predict", {"content": b"x", "headers": {"Content-Encoding": "gzip"}}),
        (404, "path", "/predict/", {"json": order()}),
        (404, "path", "/v2/models/other/infer", {"json": {}}),
        (404, "version", "/v2/models/shop-returns/versions/7/infer", {"json": {}}),
        (405, "method", "/version", {"json": {}}),
    ],
)
def test_what_cannot_be_answered_is_refused_with_its_reason(
    service: Running, status: int, reason: str, path: str, changes: dict[str, Any]
) -> None:
    headers = {"Content-Type": "application/json", **changes.pop("headers", {})}
    response = service.client.post(path, headers=headers, **changes)
    assert (response.status_code, response.json()["reason"]) == (status, reason)
    assert response.headers["content-type"] == "application/problem+json"


def test_a_missing_field_is_told_as_nothing(service: Running) -> None:
    row = order()
    del row["price"]
    errors = service.client.post("/predict", json=row).json()["errors"]
    assert errors == [{"row": 0, "field": "price", "given": "nothing", "expected": "a number from 0"}]


@pytest.fixture(scope="module")
def guarded(replica: SmallReplica) -> Any:
    """A service with a token."""
    with running(replica, Told(tokens=("other-token", TOKEN))) as one:
        yield one


def ask(service: Running, route: Route, **headers: str) -> httpx.Response:
    return service.client.request(route.method, route.template.replace("{version}", "1"), headers=headers)


def test_every_route_but_liveness_and_readiness_asks_for_a_token(guarded: Running) -> None:
    assert {one.template for one in guarded.app.routes if one.is_open} == OPEN
    wrong = [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": TOKEN}]
    for route in guarded.app.routes:
        answers = {ask(guarded, route, **headers).status_code for headers in wrong}
        assert answers == ({200} if route.is_open else {401}), route.template
        assert ask(guarded, route, Authorization=f"Bearer {TOKEN}").status_code not in {401, 403, 404, 405}


def test_unknown_paths_and_methods_ask_for_a_token_too(guarded: Running) -> None:
    for method, path in (("GET", "/nothing"), ("PUT", "/predict"), ("DELETE", "/metrics"), ("GET", "/v2/models/x")):
        assert guarded.client.request(method, path).status_code == 401
    assert guarded.client.get("/nothing").headers["www-authenticate"].startswith("Bearer")


def test_documentation_is_absent_in_prod(replica: SmallReplica, service: Running) -> None:
    with running(replica, Told(environment="prod")) as prod:
        for path in ("/docs", "/openapi.json"):
            assert prod.client.get(path).status_code == 404
            assert service.client.get(path).status_code == 200
        assert {one.template for one in service.app.routes} - {one.template for one in prod.app.routes} == {
            "/docs",
            "/openapi.json",
        }


def test_without_tokens_a_foreign_page_cannot_ask(service: Running) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        assert service.client.get("/version", headers=headers).status_code == 403
    assert service.client.get("/version", headers={"Origin": "http://localhost:3000"}).status_code == 200


def test_a_caller_that_asks_too_often_is_told_when_to_come_back(replica: SmallReplica) -> None:
    with running(replica, Told(rate=2)) as slow:
        responses = [slow.client.get("/version") for _ in range(5)]
        assert [one.status_code for one in responses][-1] == 429
        assert int(responses[-1].headers["retry-after"]) >= 1
        assert slow.client.get("/readyz").status_code == 200


class Failing:
    """A real replica whose answers are changed on their way."""

    def __init__(self, replica: SmallReplica, change: Any) -> None:
        self.ws, self.is_ready, self.report = replica.ws, True, replica.report
        self.trouble, self.followed = replica.trouble, replica.followed
        self._replica, self._change, self.rows_unanswered, self.rows_given = replica, change, 0, 0

    def lane(self, key: str) -> int:
        return STEADY

    def answer(self, questions: Any, lane: int = STEADY) -> list[Answer]:
        return self._change(self._replica.answer(questions))

    def given(self, answers: Any) -> None:
        self.rows_given += len(answers)

    def unanswered(self, rows: int, lane: int = STEADY) -> None:
        self.rows_unanswered += rows


def test_a_replica_that_raises_is_told_without_its_words(replica: SmallReplica) -> None:
    def explode(answers: Any) -> None:
        raise RuntimeError(f"secret {answers[0].question.row['shop']}")

    with running(Failing(replica, explode)) as failing:
        response = failing.client.post("/predict", json=order(shop="secret-shop"))
        assert (response.status_code, response.json()["reason"]) == (500, "scoring")
        assert "secret" not in response.text
        until(5, lambda: "RuntimeError" in failing.lines.getvalue())
        assert "secret" not in failing.lines.getvalue()


def test_a_row_without_a_score_is_an_error_of_the_service(replica: SmallReplica) -> None:
    def spoil(answers: Any) -> list[Answer]:
        return [replace(one, score=None, error="not finite") for one in answers]

    with running(Failing(replica, spoil)) as failing:
        response = failing.client.post("/predict", json=order())
        assert (response.status_code, response.json()["reason"]) == (500, "no-score")
        text = failing.client.get("/metrics").text
        assert 'perennial_serving_errors_total{arm="champion",version="1"} 1.0' in text
        assert failing.app._replica.rows_given == 0


def test_a_row_that_no_version_has_a_score_for_is_the_caller_s_to_mend(replica: SmallReplica) -> None:
    def spoil(answers: Any) -> list[Answer]:
        return [*answers[:1], *(replace(one, score=None, error="30 February", of_row=True) for one in answers[1:])]

    with running(Failing(replica, spoil)) as failing:
        response = failing.client.post("/predict", json={"rows": [order(1), order(2)]})
        assert (response.status_code, response.json()["reason"]) == (422, "unscorable")
        assert "row 1" in response.json()["detail"]
        assert failing.app._replica.rows_given == 0, "the row with a score was refused with the other"


def test_an_answer_that_takes_too_long_is_a_timeout_and_others_are_overload(replica: SmallReplica) -> None:
    going = Event()

    def wait(answers: Any) -> Any:
        going.wait(10)
        return answers

    hanging = Failing(replica, wait)
    with running(hanging) as slow:
        assert slow.client.get("/readyz").status_code == 200
        response = slow.client.post("/predict", json=order(), timeout=10)
        assert (response.status_code, response.json()["reason"]) == (504, "timeout")
        assert hanging.rows_unanswered == 1
        until(5, lambda: slow.client.get("/readyz").json().get("reason") == "late")
        assert response.headers["retry-after"] == "1"
        going.set()
        until(5, lambda: slow.client.post("/predict", json=order()).status_code == 200)
        assert slow.client.get("/readyz").status_code == 200
        assert hanging.rows_given == 1, "nobody got the late one"


def test_a_scoring_thread_that_does_not_come_back_is_no_life(
    replica: SmallReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "STUCK", 0.1)
    going, given_up = Event(), Event()
    with running(Failing(replica, lambda answers: going.wait(30) and answers)) as hung:
        hung.app._give_up, hung.app._scoring.timeout = given_up.set, 0.01
        assert hung.client.get("/livez").status_code == 200
        assert hung.client.post("/predict", json=order(), timeout=10).status_code == 504
        until(10, lambda: hung.client.get("/livez").status_code == 503)
        assert given_up.wait(10)
        until(5, lambda: '"event":"stuck"' in hung.lines.getvalue())
        going.set()


def test_it_is_not_ready_before_a_version_is_loaded(replica: SmallReplica) -> None:
    waiting = Failing(replica, lambda answers: answers)
    waiting.is_ready = False
    with running(waiting) as early:
        assert early.client.get("/livez").status_code == 200
        for path in ("/readyz", "/ping", "/v2/health/ready", "/v2/models/shop-returns/ready"):
            assert early.client.get(path).status_code == 503
        assert early.client.post("/predict", json=order()).headers["retry-after"] == "1"
        waiting.is_ready = True
        assert early.client.get("/readyz").status_code == 200


def test_draining_it_is_not_ready_but_answers_and_closes(replica: SmallReplica) -> None:
    with running(replica) as ending:
        ending.app.drain()
        assert ending.client.get("/readyz").json()["reason"] == "draining"
        response = ending.client.post("/predict", json=order())
        assert (response.status_code, response.headers["connection"]) == (200, "close")


def test_the_log_tells_of_each_request_and_never_a_value(replica: SmallReplica) -> None:
    with running(replica, Told(tokens=(TOKEN,)), Authorization=f"Bearer {TOKEN}") as logged:
        logged.client.post("/predict?secret-query=1", json=order(shop="secret-shop"), headers={"X-Request-Id": "a1"})
        logged.client.post("/predict", json=order(shop="secret-shop", price="secret-price"))
        logged.client.get("/secret-path")
        until(5, lambda: logged.lines.getvalue().count('"request"') == 3)
        text = logged.lines.getvalue()
    lines = [json.loads(line) for line in text.splitlines()]
    first, second, third = (one for one in lines if one["event"] == "request")
    assert (first["route"], first["status"], first["rows"], first["version"]) == ("/predict", 200, 1, "1")
    assert first["request_id"].startswith("a1.")
    assert (second["status"], second["reason"], third["route"]) == (422, "invalid", "none")
    assert "secret" not in text
    assert TOKEN not in text


def test_metrics_count_what_happened(replica: SmallReplica) -> None:
    with running(replica) as counted:
        counted.client.post("/predict", json={"rows": [order(1, channel="carrier-pigeon"), order(2)]})
        counted.client.post("/predict", json=order(price=-1))
        counted.client.get("/made-up-path")
        text = until(5, lambda: "perennial_serving_release 1.0" in (t := counted.client.get("/metrics").text) and t)
    for line in (
        'perennial_serving_requests_total{route="/predict",status="200"} 1.0',
        'perennial_serving_requests_total{route="none",status="404"} 1.0',
        'perennial_serving_refused_total{reason="invalid"} 1.0',
        'perennial_serving_unknown_categories_total{column="channel"} 1.0',
        'perennial_serving_rows_total{arm="champion",version="1"} 2.0',
        'perennial_serving_score_count{version="1"} 2.0',
        'perennial_serving_request_seconds_count{route="/predict",version="1"} 1.0',
        "perennial_serving_ready 1.0",
    ):
        assert line in text
    assert "carrier-pigeon" not in text
    assert "made-up-path" not in text


def test_gauges_go_on_after_one_that_could_not_be_read(replica: SmallReplica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "EVERY", 0.01)
    troubles = [RuntimeError("once")]

    def report() -> Any:
        if troubles:
            raise troubles.pop()
        return replica.report()

    unlucky = Failing(replica, lambda answers: answers)
    unlucky.report = report  # type: ignore[method-assign]
    with running(unlucky) as one:
        until(5, lambda: "perennial_serving_release 1.0" in one.client.get("/metrics").text)
        assert "perennial_serving_journal_age_seconds 0.25" in one.client.get("/metrics").text
        until(5, lambda: '"event":"gauges.failed"' in one.lines.getvalue())


def test_version_says_release_model_and_rollout(service: Running, replica: SmallReplica) -> None:
    told = service.client.get("/version").json()
    assert (told["use_case"], told["release"], told["version"]) == ("shop-returns", 1, 1)
    assert (told["model"], told["rollout"], told["trouble"]) == (replica.model, None, None)


def test_version_says_why_the_journal_is_not_followed(replica: SmallReplica) -> None:
    lost = Failing(replica, lambda answers: answers)
    lost.trouble = "BrokenJournal: gone"
    with running(lost) as one:
        assert one.client.get("/version").json()["trouble"] == lost.trouble


def test_bytes_that_are_no_http_do_no_harm(service: Running) -> None:
    for garbage in (b"\x16\x03\x01\x02", b"GET\r\n\r\n", b"POST /predict HTTP/1.1\r\nContent-Length: x\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", service.port), timeout=5) as raw:
            raw.sendall(garbage)
            assert raw.recv(1000).startswith(b"HTTP/1.1 400")
    assert service.client.get("/readyz").status_code == 200


def test_a_request_without_anything_special_has_an_own_id() -> None:
    scope = {"method": "GET", "path": "/", "headers": [], "client": None}
    assert len({Request.of(scope).id for _ in range(100)}) == 100
