"""The receiver of Alertmanager's notifications."""

import json
import urllib.error
import urllib.request

import pytest

from otel_llm_usage import ConfigurationError
from otel_llm_usage.notifications import Receiver

MESSAGE = {
    "receiver": "webhook",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "LLMBudgetExceeded", "severity": "critical", "budget": "team"},
            "annotations": {"summary": "all is spent", "top_spenders": "researcher $52.00 "},
        },
        {"status": "resolved", "labels": {"alertname": "LLMMeterDown"}, "annotations": {}},
    ],
}


def post(url, body, **headers):
    request = urllib.request.Request(url, data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.status


def test_each_alert_is_told_in_words_as_it_arrives():
    told = []
    with Receiver().start(told.append) as receiver:
        assert post(receiver.url, json.dumps(MESSAGE).encode()) == 200
        assert receiver.received == told
    firing, resolved = map(str, told)
    assert firing.split("  ")[1:] == [
        "CRITICAL",
        "LLMBudgetExceeded",
        "all is spent",
        "Top: researcher $52.00",
    ]
    assert resolved.split("  ")[1:] == ["RESOLVED", "LLMMeterDown"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"7", b'{"alerts": 7}', b'{"alerts": [7]}', b'{"other": 1}']
)
def test_what_is_no_message_is_refused(body):
    with Receiver().start() as receiver:
        with pytest.raises(urllib.error.HTTPError, match="400"):
            post(receiver.url, body)
        assert receiver.received == []
        assert post(receiver.url, json.dumps(MESSAGE).encode()) == 200


def test_a_port_that_is_taken_is_an_error_that_says_so():
    with Receiver().start() as receiver:
        port = int(receiver.url.rsplit(":", 1)[1].split("/")[0])
        with pytest.raises(ConfigurationError, match="notifications can't be received"):
            Receiver(port=port)
