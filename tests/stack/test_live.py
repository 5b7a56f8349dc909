"""The chain with the real servers: from a call of the SDK to a notification."""

import base64
import json
import socketserver
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from otel_llm_usage import Budget, instrument, uninstrument
from otel_llm_usage.notifications import Receiver
from otel_llm_usage.standin import StandIn
from stack.servers import Servers, get, until
from stack.workload import Spender

pytestmark = pytest.mark.servers

PATIENCE = 90
"""Seconds for what takes two: the machine may be busy."""


POSTED: list[dict] = []
LETTERS: list[str] = []
LOGINS: list[str] = []
"""What Slack and the mail server got."""


class Slack(BaseHTTPRequestHandler):
    """Slack's incoming webhook."""

    def do_POST(self):
        POSTED.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format, *args):
        """Quiet."""


class Mail(socketserver.StreamRequestHandler):
    """As much of a mail server as one message needs, with its login."""

    def handle(self):
        self._say("220 mail.example.com")
        for line in self.rfile:
            verb, _, rest = line.decode().strip().partition(" ")
            if verb in ("EHLO", "HELO"):
                self._say("250-mail.example.com", "250 AUTH PLAIN")
            elif verb == "AUTH":
                LOGINS.append(base64.b64decode(rest.removeprefix("PLAIN ")).decode())
                self._say("235 welcome")
            elif verb == "DATA":
                self._say("354 go on")
                letter = []
                while (part := self.rfile.readline()) not in (b".\r\n", b""):
                    letter.append(part.decode())
                LETTERS.append("".join(letter))
                self._say("250 taken")
            else:
                self._say("221 bye" if verb == "QUIT" else "250 well")

    def _say(self, *lines):
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


class Chain:
    """An application with a budget of $50 a month, watched by the real servers."""

    def __init__(self, runtime, receiver, servers, spender):
        self.runtime, self.receiver, self.servers = runtime, receiver, servers
        self.spend = spender.spend

    def next_period(self):
        """For the budgets a month has passed."""
        for account in self.runtime._spending._accounts:
            account._clock = lambda: time.time() + 32 * 86400

    def notification(self, status, alert):
        """The notification, when it is there."""

        def find():
            found = (one for one in self.receiver.received if one.alert == alert)
            return next((one for one in found if one.status == status), None)

        return until(find, PATIENCE, f"{status} {alert}")

    def just_recorded(self):
        """Whether Prometheus has made its recordings of who spends, moments ago."""
        groups = get(f"{self.servers.prometheus}/api/v1/rules")["data"]["groups"]
        (last,) = (one["lastEvaluation"] for one in groups if one["name"] == "llm_spend")
        return datetime.now(UTC) - datetime.fromisoformat(last) < timedelta(seconds=10)

    def states(self):
        """Each alert that Alertmanager knows, and whether another one inhibits it."""
        return {
            alert["labels"]["alertname"]: bool(alert["status"]["inhibitedBy"])
            for alert in self.servers.alerts()
        }


@pytest.fixture
def chain(tmp_path) -> Iterator[Chain]:
    (tmp_path / "slack_url").write_text("")
    (tmp_path / "password").write_text("hunter2")  # a line end would be part of it
    with (
        StandIn() as standin,
        Receiver().start() as receiver,
        ThreadingHTTPServer(("127.0.0.1", 0), Slack) as slack,
        socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail) as mail,
    ):
        for server in (slack, mail):
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
        for taken in (POSTED, LETTERS, LOGINS):
            taken.clear()
        slack_url = f"http://127.0.0.1:{slack.server_address[1]}/services/secret"
        (tmp_path / "slack_url").write_text(slack_url)

        def change(config):
            config["global"] |= {
                "smtp_smarthost": f"127.0.0.1:{mail.server_address[1]}",
                "smtp_require_tls": False,
                "smtp_auth_password_file": str(tmp_path / "password"),
            }
            by_name = {one["name"]: one for one in config["receivers"]}
            by_name["slack"]["slack_configs"][0]["api_url_file"] = str(tmp_path / "slack_url")

        runtime = instrument(
            otlp=False,
            metrics_port=0,
            budgets=[Budget(name="team-month", limit_usd=50, match={"agent": "researcher"})],
        )
        target = f"127.0.0.1:{runtime.server.port}"
        spender = Spender(standin)
        with Servers(
            target=target,
            webhook=receiver.url,
            receivers=("slack", "email", "webhook"),
            change=change,
        ) as servers:
            until(lambda: servers.query("llm_budget_limit_usd"), PATIENCE, "the first scrape")
            yield Chain(runtime, receiver, servers, spender)
        spender.close()
        uninstrument()
        slack.shutdown()
        mail.shutdown()


def test_a_budget_from_its_first_dollar_to_its_next_period(chain):
    # Who spends is recorded once a minute, and told as recorded. Right after a recording of nothing
    # there is a minute in which the counters themselves are told, to the cent.
    until(chain.just_recorded, PATIENCE, "the recordings")
    chain.spend("critic", 100)  # somebody else's money
    chain.spend("researcher", "39.99")
    time.sleep(5)
    assert chain.receiver.received == []

    chain.spend("researcher", "0.01")
    warning = chain.notification("firing", "LLMBudget80Percent")
    assert warning.labels["severity"] == "warning"
    assert warning.annotations["summary"] == "Budget team-month (month): 80% is spent"
    assert "$40.00 of $50.00 are spent" in warning.annotations["description"]
    assert warning.annotations["top_spenders"].split() == [
        "critic",
        "$100.00",
        "researcher",
        "$40.00",
    ]

    chain.spend("researcher", 12)
    critical = chain.notification("firing", "LLMBudgetExceeded")
    assert "$52.00 of $50.00 are spent" in critical.annotations["description"]
    until(lambda: chain.states().get("LLMBudget80Percent"), PATIENCE, "the inhibition")
    assert chain.states()["LLMBudgetExceeded"] is False

    chain.next_period()
    resolved = chain.notification("resolved", "LLMBudgetExceeded")
    assert "$52.00 of $50.00" in resolved.annotations["description"]
    chain.notification("resolved", "LLMBudget80Percent")
    firing = {one.alert for one in chain.receiver.received if one.status == "firing"}
    assert firing == {"LLMBudget80Percent", "LLMBudgetExceeded"}
    (status,) = chain.runtime.budgets()
    assert status.spent_usd == 0

    _slack_and_mail_say_the_same()


def _slack_and_mail_say_the_same():
    until(lambda: len(POSTED) >= 3 and len(LETTERS) >= 3, PATIENCE, "Slack and e-mail")
    messages = [message["attachments"][0] for message in POSTED]
    titles = [message["title"] for message in messages]
    assert "[WARNING] Budget team-month (month): 80% is spent" in titles
    assert "[CRITICAL] Budget team-month (month): 104% is spent" in titles
    assert any(title.startswith("[RESOLVED] Budget team-month") for title in titles)
    critical = messages[titles.index("[CRITICAL] Budget team-month (month): 104% is spent")]
    assert critical["color"] == "danger"
    letter = next(one for one in LETTERS if "Subject: [CRITICAL]" in one)
    for told in (critical["text"], letter.replace("=\r\n", "")):
        assert "$52.00 of $50.00 are spent" in told
        assert "researcher $52.00" in told
        assert "docs/runbooks/LLMBudgetExceeded.md" in told
    assert LOGINS[0].split("\0")[2] == "hunter2"


def test_a_first_charge_of_50_dollars_on_a_new_agent_is_told_to_the_cent(chain):
    chain.spend("researcher", 50)
    critical = chain.notification("firing", "LLMBudgetExceeded")
    assert "$50.00 of $50.00 are spent" in critical.annotations["description"]
    assert critical.annotations["top_spenders"].split() == ["researcher", "$50.00"]
    seen = chain.servers.query('sum(increase(llm_cost_total{agent="researcher"}[1h]))')
    assert [Decimal(one["value"][1]) for one in seen] in ([], [0])  # what others would have told

    def exact():
        found = chain.servers.query(
            'sum(sum_over_time(model_agent_provider:llm_cost_usd:delta1m{agent="researcher"}[1h]))'
        )
        return found and Decimal(found[0]["value"][1]) == 50

    until(exact, PATIENCE + 60, "the exact recording, which is made once a minute")
