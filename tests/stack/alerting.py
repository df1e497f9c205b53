"""The real Alertmanager as compose.yaml starts it, and somebody on loopback whom it tells of alerts."""

from __future__ import annotations

import http.client
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from tests.http_server import Request, serving
from tests.stack.compose.reading import REPOSITORY, command_line
from tests.stack.conftest import PATIENCE_SECONDS, free_port, get, running, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from tests.stack.conftest import Programs

CONFIGURATION = REPOSITORY / "alertmanager" / "alertmanager.yml"


@dataclass(frozen=True, kw_only=True)
class Alertmanager:
    """A running Alertmanager, spoken to through its HTTP API."""

    port: int

    def send(self, labels: Mapping[str, str], *, until: datetime | None = None) -> None:
        """Sends one alert as Prometheus does: it fires until it is said when it ended."""
        alert: dict[str, Any] = {"labels": dict(labels), "annotations": {"summary": "A summary."}}
        if until is not None:
            alert["endsAt"] = until.isoformat()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/api/v2/alerts", json.dumps([alert]), headers)
            answer = connection.getresponse()
            assert answer.status == http.HTTPStatus.OK, answer.read()
        finally:
            connection.close()

    def alerts(self) -> dict[str, dict[str, Any]]:
        """What it knows of, by the name of the alert: there must be one of each."""
        status, body = get(self.port, "/api/v2/alerts")
        assert status == http.HTTPStatus.OK, body
        known = json.loads(body)
        found = {alert["labels"]["alertname"]: alert for alert in known}
        assert len(found) == len(known)
        return found


@dataclass(frozen=True, kw_only=True)
class Operator:
    """Who is told of alerts: keeps the messages in their order."""

    url: str
    messages: list[dict[str, Any]] = field(default_factory=list)

    def told(self) -> list[tuple[str, str]]:
        """Name and state of each alert in the messages, in their order."""
        return [(alert["labels"]["alertname"], alert["status"]) for one in self.messages for alert in one["alerts"]]

    def wait_for(self, name: str, state: str = "firing") -> dict[str, Any]:
        """The first message that says so of an alert."""

        def said() -> dict[str, Any] | None:
            return next(
                (
                    message
                    for message in self.messages
                    for alert in message["alerts"]
                    if (alert["labels"]["alertname"], alert["status"]) == (name, state)
                ),
                None,
            )

        return wait_for(said, what=f"{name} to be told of as {state}")


@contextmanager
def listening_operator() -> Iterator[Operator]:
    def take(request: Request) -> None:
        operator.messages.append(json.loads(request.body()))
        request.send_response(http.HTTPStatus.OK)
        request.send_header("Content-Length", "0")
        request.end_headers()

    with serving(take) as port:
        operator = Operator(url=f"http://127.0.0.1:{port}/alerts")
        yield operator


def with_a_way_to_reach(operator: Operator, folder: Path) -> Path:
    """The shipped configuration, whose receiver is given a secret address in a file, and which does not wait long."""
    (secret := folder / "operator-url").write_text(operator.url)
    said: Any = yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))
    said["route"] |= {"group_wait": "1s", "group_interval": "1s"}
    (receiver,) = said["receivers"]
    receiver["webhook_configs"] = [{"url_file": str(secret), "send_resolved": True}]
    (file := folder / "alertmanager.yml").write_text(yaml.safe_dump(said))
    return file


@contextmanager
def running_alertmanager(
    programs: Programs, folder: Path, *, config: Path | None = None, port: int | None = None
) -> Iterator[Alertmanager]:
    """Runs it with the command line of its service, and another configuration if one is given."""
    port = port or free_port()
    argv: list[str | Path] = [
        programs.alertmanager,
        *command_line("alertmanager", folder, config=config),
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with running(argv, log=folder / "alertmanager.log", ready=(port, "/-/ready"), environment={}):
        yield Alertmanager(port=port)
