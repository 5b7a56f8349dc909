"""An application that spends exactly what it is told to, through a real SDK and a stand-in provider."""

from decimal import Decimal

import openai

from otel_llm_usage import agent
from otel_llm_usage.standin import StandIn

MODEL = "gpt-4.1"
_OUTPUT_RATE = Decimal(8) / 10**6
"""US dollars for one token of the model's output."""


class Spender:
    """Agents that spend."""

    def __init__(self, standin: StandIn) -> None:
        self._standin = standin
        self._client = openai.OpenAI(base_url=f"{standin.url}/v1", api_key="standin")

    def spend(self, who: str, dollars: Decimal | str | int) -> None:
        """One call by this agent that costs exactly so much."""
        tokens = Decimal(dollars) / _OUTPUT_RATE
        if tokens != int(tokens):
            raise ValueError(f"${dollars} are no whole number of tokens")
        self._standin.script(usage={"input": 0, "output": int(tokens)})
        with agent(who):
            self._client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "What is the plan for today?"}]
            )

    def close(self) -> None:
        """Close the client."""
        self._client.close()
