"""Celery's prefork workers, under `run` and without a line in the program."""

import subprocess

from .kit import BIN, billed, environment, eventually, free_port, get, running, sums

TASKS = """
import openai
from celery import Celery

app = Celery("tasks", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"
    },
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
)

@app.task
def work():
    openai.OpenAI().chat.completions.create(
        model="gpt-4.1", messages=[{"role": "user", "content": "hello"}]
    )

if __name__ == "__main__":
    for _ in range(9):
        work.delay()
"""


def test_the_sum_of_children_that_are_replaced_is_what_was_billed(llm_standin, tmp_path):
    for folder in ("queue", "control"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tasks.py").write_text(TASKS)
    env = environment(llm_standin, tmp_path)
    port = free_port()
    celery = ["celery", "-A", "tasks", "worker", "-c", "2", "--max-tasks-per-child", "2"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "WARNING"]
    command = ["otel-llm-usage", "run", "--metrics-port", str(port), "--", *celery, *quiet]
    subprocess.run([BIN / "python", "tasks.py"], cwd=tmp_path, env=env, check=True, timeout=240)
    with running(command, tmp_path, env):
        eventually(lambda: len(llm_standin.ledger) == 9)
        # the last answer is on its way still
        eventually(lambda: sums(get(port, "/metrics")) == billed(llm_standin.ledger))
        assert len(llm_standin.ledger) == 9
