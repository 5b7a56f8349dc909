"""What is pushed at the end of a process: all that it has counted, also of a short one."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2

from .kit import CALL, environment, run

SCRIPT = (
    CALL
    + """
import multiprocessing, os, sys
from otel_llm_usage import instrument

def worker(times):
    instrument()
    call(times)

def stream():
    # left open: it ends with the process
    kept.append(iter(openai.OpenAI().chat.completions.create(
        model="gpt-4.1", messages=[{"role": "user", "content": "hello"}], stream=True
    )))
    list(kept[0])

kept = []

if __name__ == "__main__":
    instrument()
    call(2)
"""
)
ENDS = {
    "a script": "",
    "a script that fails": "    sys.excepthook = lambda *_: None\n    raise SystemExit(0)\n",
    "children": """
    for method, function in (("fork", call), ("spawn", worker)):
        child = multiprocessing.get_context(method).Process(target=function, args=(3,))
        child.start()
        child.join()
        assert child.exitcode == 0
    pid = os.fork()
    if pid == 0:
        call(1)
        sys.exit()
    assert os.waitpid(pid, 0)[1] == 0
""",
}


class Receiver:
    """Takes what is pushed over HTTP; keeps the last total of each process and type."""

    def __init__(self) -> None:
        self.latest: dict[tuple[str, str], int] = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.take(self.path, self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def take(self, path: str, body: bytes) -> None:
        if path != "/v1/metrics":
            return
        pushed = metrics_service_pb2.ExportMetricsServiceRequest.FromString(body)
        for resource in pushed.resource_metrics:
            attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == "llm.tokens":
                        for point in metric.sum.data_points:
                            kind = {a.key: a.value.string_value for a in point.attributes}["type"]
                            self.latest[attributes["service.instance.id"], kind] = int(
                                point.as_double or point.as_int
                            )

    def tokens(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for (_, kind), count in self.latest.items():
            total[kind] += count
        return dict(+total)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever, args=(0.05,))
    thread.start()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()
    thread.join()


@pytest.mark.parametrize("end", ENDS)
def test_every_process_pushes_all_that_it_counted_when_it_ends(
    end, receiver, llm_standin, tmp_path
):
    env = environment(
        llm_standin,
        tmp_path,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{receiver.server.server_port}",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_TRACES_EXPORTER="none",
        OTEL_METRIC_EXPORT_INTERVAL="600000",
    )
    run(SCRIPT + ENDS[end], tmp_path, env)
    assert receiver.tokens() == llm_standin.ledger.usage()
    assert len({process for process, _ in receiver.latest}) == (4 if end == "children" else 1)


def test_the_log_is_silent_at_the_end_of_a_program_that_made_no_call(llm_standin, tmp_path):
    script = "import json, otel_llm_usage\notel_llm_usage.instrument()\nprint(json.dumps(1))\n"
    assert json.loads(run(script, tmp_path, environment(llm_standin, tmp_path))) == 1
