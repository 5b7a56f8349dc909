"""A ledger of calls to the stand-in, which tells an administrator what it has billed."""

import datetime
from collections.abc import Iterator
from pathlib import Path

import anthropic
import openai
import pytest

from otel_llm_usage import instrument
from otel_llm_usage.ledger import Ledger
from otel_llm_usage.reconciling import api, reconcile
from otel_llm_usage.standin import StandIn, billing

DAY = datetime.timedelta(days=1)
HELLO = [{"role": "user", "content": "hello"}]


class Books:
    """The ledger, the provider, and calls that are in both."""

    def __init__(self, place: Path, standin: StandIn) -> None:
        self.standin = standin
        self.runtime = instrument(ledger=str(place), otlp=False)
        self.ledger = self.runtime.ledger
        assert isinstance(self.ledger, Ledger)
        self.today = datetime.datetime.now(datetime.UTC).date()

    def chat(self, model: str = "gpt-4.1-mini", times: int = 1) -> None:
        with openai.OpenAI() as client:
            for _ in range(times):
                client.chat.completions.create(model=model, messages=HELLO)

    def message(self, model: str = "claude-haiku-4-5", times: int = 1) -> None:
        with anthropic.Anthropic() as client:
            for _ in range(times):
                client.messages.create(model=model, max_tokens=99, messages=HELLO)

    def bills(self, change):
        """Have the provider's books hold what `change` makes of its bills."""
        bills = list(self.standin.ledger)
        self.standin.ledger.clear()
        for bill in change(bills):
            self.standin.ledger.add(bill)

    def reconcile(self, provider: str = "openai", **more):
        """All days around now, when they are settled."""
        self.runtime.flush()
        asked = {
            "since": self.today - 2 * DAY,
            "until": self.today + 2 * DAY,
            "admin_key": billing.ADMIN_KEY,
            "base_url": f"{self.standin.url}/v1" if provider == "openai" else self.standin.url,
            "now": datetime.datetime.now(datetime.UTC) + 9 * DAY,
        }
        return reconcile(self.ledger, provider, **asked | more)


@pytest.fixture
def books(tmp_path: Path, llm_standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Books]:
    monkeypatch.setattr(api, "PAUSE", 0.001)
    made = Books(tmp_path / "usage.db", llm_standin)
    yield made
    made.runtime.close()
