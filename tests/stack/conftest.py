"""The servers of this repository's stack, as Debian ships them."""

import shutil

import pytest

PROGRAMS = ("prometheus", "promtool", "prometheus-alertmanager", "amtool")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if not missing:
        return
    why = (
        f"not installed: {', '.join(missing)} (apt-get install prometheus prometheus-alertmanager)"
    )
    for item in items:
        if "servers" in item.keywords:
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture
def served(llm_standin) -> dict[str, set[str]]:
    """Every metric that a live `/metrics` serves, with its labels, after a bit of everything."""
    import urllib.request

    import openai
    from prometheus_client.parser import text_string_to_metric_families

    from otel_llm_usage import Budget, guard, instrument

    runtime = instrument(metrics_port=0, otlp=False, budgets=[Budget(name="team", limit_usd=50)])
    ask = {"messages": [{"role": "user", "content": "hello"}]}
    with openai.OpenAI() as client:
        client.chat.completions.create(model="gpt-4.1", **ask)
        client.chat.completions.create(model="acme-1", **ask)
        llm_standin.script(wire_usage={})
        client.chat.completions.create(model="gpt-4.1", **ask)
        llm_standin.script(text="word " * 40, pieces=8, pace=0.01, times=2)
        stream = client.chat.completions.create(model="gpt-4.1", stream=True, **ask)
        next(stream)
        stream.close()
    guard.count("a test")
    with urllib.request.urlopen(runtime.server.url, timeout=60) as answer:
        text = answer.read().decode()
    guard.reset()  # that one was no fault
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found
