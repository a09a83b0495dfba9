"""What people are told, as a local webhook and a local mail server received it from a real Prefect server."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from uuid import uuid4

import pytest

from blocks.documents import read_settings
from deployments.apply import apply, changes
from deployments.notifications import EMAIL, SLACK, InvalidAddress, notification_blocks
from deployments.server import server_of
from tests.servers import Server, running_server, until

SECRET = "T000-B000-canary"


class Received:
    """Texts that arrived, by the way they came."""

    def __init__(self) -> None:
        self.posts: list[str] = []
        self.mails: list[str] = []
        self.is_revoked = False
        """Whether the webhook's address leads nowhere any more."""

    def saying(self, *words: str) -> tuple[list[str], list[str]] | None:
        """Return what arrived by both ways with all these words; `None` until both have one."""
        found = [[one for one in way if all(word in one for word in words)] for way in (self.posts, self.mails)]
        return (found[0], found[1]) if all(found) else None


@contextmanager
def receiver(received: Received) -> Iterator[tuple[int, int]]:
    """Listen for webhooks and for mail; yields both ports."""

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == f"/services/{SECRET}"
            told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not received.is_revoked:
                assert list(told) == ["text"]
                received.posts.append(told["text"])
            self.send_response(404 if received.is_revoked else 200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    class Mail(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 test\r\n")
            while command := self.rfile.readline():
                word = command.split()[0].upper()
                if word == b"DATA":
                    self.wfile.write(b"354 go\r\n")
                    lines = iter(self.rfile.readline, b".\r\n")
                    mail = message_from_bytes(b"".join(lines), policy=policy.default)
                    part = mail.get_body(("plain", "html"))
                    assert part
                    received.mails.append(f"{mail['subject']}\n{part.get_content()}")
                self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")

    servers = [HTTPServer(("127.0.0.1", 0), Webhook), socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail)]
    for one in servers:
        threading.Thread(target=one.serve_forever, daemon=True).start()
    try:
        yield servers[0].server_address[1], servers[1].server_address[1]
    finally:
        for one in servers:
            one.shutdown()
            one.server_close()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Received]]:
    received = Received()
    with receiver(received) as (web, mail), running_server(tmp_path_factory.mktemp("notified")) as server:
        people = "user=ml&from=ml@example.org&to=team@example.org&mode=insecure"
        given = {
            SLACK: f"http://127.0.0.1:{web}/services/{SECRET}",
            EMAIL: f"mailto://127.0.0.1:{mail}?smtp=127.0.0.1&{people}",
        }
        settings = read_settings("dev").model_copy(update={"prefect_api_url": server.url})
        settings = settings.model_copy(update={"notifications": tuple(notification_blocks("dev", given))})
        with pytest.MonkeyPatch.context() as patch, server_of(settings) as client:
            for name, address in given.items():
                patch.setenv(name, address)
            apply(client, settings, lambda change: None)
            assert changes(client, settings) == []
        yield server, received


def event(server: Server, name: str, payload: dict[str, Any], **labels: str) -> None:
    """Post an event of a use case of `dev`, of this moment; `labels` are more of `perennial.*`.

    One of the past would open a window that is over already, which the server forgets: the same again would be told.
    """
    resource = {
        "prefect.resource.id": "perennial.use-case.shop-returns",
        "prefect.resource.name": "shop-returns",
        "perennial.environment": "dev",
        **{f"perennial.{label}": value for label, value in labels.items()},
    }
    body = {"event": name, "resource": resource, "payload": payload, "id": str(uuid4())}
    server.ask("/events", [{**body, "occurred": datetime.now(UTC).isoformat()}])


def test_a_refused_delivery_is_told_to_people_in_its_own_words(told: tuple[Server, Received]) -> None:
    server, received = told
    event(server, "perennial.delivery.refused", {"reason": "`distance` is negative in 214 rows."})
    posts, mails = until(60, lambda: received.saying("a delivery was refused (dev)", "negative in 214 rows"))
    assert posts == ["*a delivery was refused (dev)*\n`distance` is negative in 214 rows."]
    assert mails[0].startswith("a delivery was refused (dev)")


def test_deliveries_of_other_sources_and_periods_that_are_refused_in_the_same_hour_are_told_once_each(
    told: tuple[Server, Received],
) -> None:
    server, received = told
    for source, period in (("orders", "2024-01"), ("shops", "2024-01"), ("orders", "2024-02")):
        reason = {"reason": f"`{source}` of {period} has too few rows."}
        for _ in range(2):
            event(server, "perennial.delivery.refused", reason, source=source, period=period)
            until(60, lambda words=reason["reason"]: received.saying("a delivery was refused (dev)", words))  # type: ignore[misc]
    event(server, "perennial.model.released", {"version": "v7", "reason": "It passed."})
    until(60, lambda: received.saying("a model was released (dev)", "version v7 serves"))
    assert sum("has too few rows" in one for one in received.posts) == 3


def test_a_failed_run_is_told_with_its_name_and_its_error(told: tuple[Server, Received]) -> None:
    server, received = told
    deployment = server.ask("/deployments/name/train/dev")
    body = {"parameters": {"use_case": "shop-returns"}, "name": "train shop-returns 2024-01"}
    run = server.ask(f"/deployments/{deployment['id']}/create_flow_run", body)
    failed = {"state": {"type": "FAILED", "message": "LeakageFound: the features know it."}, "force": True}
    server.ask(f"/flow_runs/{run['id']}/set_state", failed)
    until(60, lambda: received.saying("a run failed or crashed (dev)", "train shop-returns 2024-01", "LeakageFound"))


def test_an_automation_that_cannot_act_is_told_with_the_reason(told: tuple[Server, Received]) -> None:
    server, received = told
    event(server, "perennial.drift.detected", {"period": 5, "as_of": "2024-04-01T00:00:00Z", "summary": "It drifted."})
    until(60, lambda: received.saying("an automation could not act (dev)", "retrain on drift (dev)", "period"))


def test_a_webhook_that_leads_nowhere_is_told_by_mail_and_its_address_by_nothing(told: tuple[Server, Received]) -> None:
    server, received = told
    received.is_revoked = True
    event(server, "perennial.answers.lost", {"rows": 2, "reason": "A replica died."})
    until(60, lambda: [one for one in received.mails if "could not act" in one and "answers were lost (dev)" in one])
    received.is_revoked = False
    failed = {"filter": {"event": {"name": ["prefect.automation.action.failed"]}, "occurred": {}}}
    assert SECRET not in json.dumps(server.ask("/events/filter", failed))
    log = (server.home / "server.log").read_text()
    assert SECRET not in log and "consume_loop" not in log


def test_no_address_is_told_to_who_may_look_at_blocks(told: tuple[Server, Received]) -> None:
    server, _ = told
    documents = json.dumps(server.ask("/block_documents/filter", {}))
    assert "slack-dev" in documents and "email-dev" in documents
    assert SECRET not in documents and "team@example.org" not in documents


def test_only_what_has_an_address_becomes_a_block() -> None:
    assert notification_blocks("dev", {}) == {}
    assert list(notification_blocks("prod", {SLACK: "http://x"})) == ["slack-webhook/slack-prod"]
    with pytest.raises(InvalidAddress, match="holds no address") as refused:
        notification_blocks("prod", {SLACK: f"hooks.slack.com/{SECRET}"})
    assert SECRET not in str(refused.value)
