"""What the tests of the examples share: the example as its user runs it, and as a service."""

import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def run_example(tmp_path):
    """Run `python -m examples.NAME`, without any key, and give what it prints."""

    def run(name, *arguments):
        hidden = ("OTEL_", "GEMINI_", "GOOGLE_", "OPENAI_", "ANTHROPIC_")
        env = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
        env |= {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error::ResourceWarning"}
        done = subprocess.run(
            [sys.executable, "-m", f"examples.{name}", *arguments],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    return run


@pytest.fixture
def documented():
    """What the page of the examples shows of what one prints."""

    def shown(name):
        section = (ROOT / "docs" / "examples.md").read_text().partition(f"`{name}.py`\n")[2]
        return re.search(r"```\n(.*?)```", section, re.DOTALL)[1]

    return shown


@pytest.fixture
def served():
    """Serve an ASGI application in a block; gives where it is."""

    @contextmanager
    def serving(app):
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
        thread = threading.Thread(target=server.run)
        thread.start()
        end = time.monotonic() + 60
        while not server.started and time.monotonic() < end:
            time.sleep(0.01)
        try:
            port = server.servers[0].sockets[0].getsockname()[1]
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join()

    return serving
