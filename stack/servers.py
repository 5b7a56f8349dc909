"""Prometheus and Alertmanager on loopback, with the configuration that this repository ships.

Only addresses and waiting times are changed: what fires here fires in production.
"""

import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
_READY = 60.0
"""Seconds that a server may take to start."""


class NotInstalledError(Exception):
    """A program that is needed is not installed."""


def program(*names: str) -> str:
    """Where the first of these programs is."""
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    raise NotInstalledError(
        f"{names[0]} is not installed: apt-get install prometheus prometheus-alertmanager"
    )


class Servers:
    """A Prometheus and an Alertmanager of our own; leaving the block stops them."""

    def __init__(
        self,
        *,
        target: str,
        webhook: str,
        receivers: Sequence[str] = ("webhook",),
        change: Callable[[dict[str, Any]], None] = lambda alertmanager: None,
    ) -> None:
        """`target`: the application's `host:port`. `webhook`: where notifications go.

        `receivers`: who is told, as if the lines in the routes had been taken in. `change` may
        change Alertmanager's configuration further.
        """
        self._prometheus_program = program("prometheus")
        self._alertmanager_program = program("prometheus-alertmanager", "alertmanager")
        self._target = target
        self._webhook = webhook
        self._receivers = receivers
        self._change = change
        self._stack = ExitStack()
        self.prometheus = self.alertmanager = ""
        """Their URLs."""

    def __enter__(self) -> "Servers":
        with self._stack as stack:
            self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            prometheus, alertmanager = _free_port(), _free_port()
            self.prometheus = f"http://127.0.0.1:{prometheus}"
            self.alertmanager = f"http://127.0.0.1:{alertmanager}"
            self._write("alertmanager.yml", self._alertmanager_config())
            self._write("prometheus.yml", self._prometheus_config(alertmanager))
            self._start(
                self._alertmanager_program,
                f"--config.file={self._directory / 'alertmanager.yml'}",
                f"--storage.path={self._directory / 'alertmanager'}",
                f"--web.listen-address=127.0.0.1:{alertmanager}",
                "--cluster.listen-address=",
            )
            self._start(
                self._prometheus_program,
                f"--config.file={self._directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={self._directory / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{prometheus}",
                "--enable-feature=exemplar-storage",
            )
            for url in (self.alertmanager, self.prometheus):
                _wait(url, self._log)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What Prometheus says now: the series with `metric` and `value`."""
        asked = urllib.parse.urlencode({"query": expression})
        answer = get(f"{self.prometheus}/api/v1/query?{asked}")
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that Alertmanager knows, also the inhibited ones."""
        alerts: list[dict[str, Any]] = get(f"{self.alertmanager}/api/v2/alerts")
        return alerts

    def _prometheus_config(self, alertmanager: int) -> dict[str, Any]:
        config: dict[str, Any] = yaml.safe_load(
            (ROOT / "prometheus" / "prometheus.yml").read_text()
        )
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(ROOT / "prometheus" / name) for name in config["rule_files"]]
        config["alerting"]["alertmanagers"] = [_static(f"127.0.0.1:{alertmanager}")]
        jobs = {job["job_name"]: job for job in config["scrape_configs"]}
        config["scrape_configs"] = [jobs["llm-usage"] | _static(self._target)]
        return config

    def _alertmanager_config(self) -> dict[str, Any]:
        config: dict[str, Any] = yaml.safe_load(
            (ROOT / "alertmanager" / "alertmanager.yml").read_text()
        )
        config["templates"] = [str(ROOT / "alertmanager" / name) for name in config["templates"]]
        for receiver in config["receivers"]:
            for webhook in receiver.get("webhook_configs", ()):
                webhook["url"] = self._webhook
        for route in (config["route"], *config["route"]["routes"]):
            # what is critical goes out at once; the rest waits until it can be inhibited by it
            at_once = route.get("group_wait") == "0s"
            route |= {"group_wait": "0s" if at_once else "1s", "group_interval": "1s"}
        for route in config["route"]["routes"]:
            told = [{"receiver": name, "continue": True} for name in self._receivers]
            told[-1]["continue"] = False
            route["routes"] = told
        self._change(config)
        return config

    def _write(self, name: str, config: Mapping[str, Any]) -> None:
        (self._directory / name).write_text(yaml.safe_dump(dict(config), sort_keys=False))

    def _start(self, *command: str) -> None:
        log = self._stack.enter_context((self._directory / "log").open("ab"))
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        self._stack.callback(_stop, process)

    def _log(self) -> str:
        return (self._directory / "log").read_text(errors="replace")[-4000:]


def get(url: str) -> Any:
    """The JSON at a URL."""
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.load(response)


def until(there: Callable[[], Any], seconds: float, what: str) -> Any:
    """Wait until `there` gives something; `TimeoutError` says what did not come."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        found = there()
        if found:
            return found
        time.sleep(0.1)
    raise TimeoutError(f"{what}: it did not come within {seconds:.0f} s")


def _wait(url: str, log: Callable[[], str]) -> None:
    def ready() -> bool:
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=2) as response:
                return bool(response.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    try:
        until(ready, _READY, f"{url} is ready")
    except TimeoutError as error:
        raise TimeoutError(f"{error}\n{log()}") from None


def _static(target: str) -> dict[str, Any]:
    return {"static_configs": [{"targets": [target]}]}


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
