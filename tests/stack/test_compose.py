"""`docker-compose.yml`: what can be known of it without Docker."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from otel_llm_usage.settings import load

ROOT = Path(__file__).parent.parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_mounted_file_is_there_and_everybody_may_read_it(name):
    for volume in SERVICES[name].get("volumes", ()):
        source, _, *mode = volume.split(":")
        if not source.startswith("."):
            assert source in COMPOSE["volumes"]
            continue
        assert mode == ["ro"], volume
        place = ROOT / source
        assert place.exists(), volume
        for file in [place, *place.rglob("*")]:
            if "secrets" not in file.parts:
                assert file.stat().st_mode & 0o004, file


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_on_loopback_alone(name):
    for port in SERVICES[name].get("ports", ()):
        assert port.startswith("127.0.0.1:"), port


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned_and_nobody_is_root(name):
    service = SERVICES[name]
    if "build" in service:
        lines = (ROOT / "Dockerfile").read_text().splitlines()
        assert any(re.fullmatch(r"ARG PYTHON_VERSION=\d+\.\d+-slim-\w+", line) for line in lines)
        assert any(re.fullmatch(r"USER [1-9]\d+", line) for line in lines)
    else:
        assert re.search(r":\$\{\w+:-v?\d+\.\d+\.\d+\}$", service["image"]), service["image"]
        assert int(service["user"]) > 0
    assert service["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "otel-collector"])
def test_each_service_says_whether_it_is_well(name):
    assert SERVICES[name]["healthcheck"]["test"]


def test_there_is_no_password_that_everybody_knows():
    password = SERVICES["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"]
    assert password.startswith("${GRAFANA_ADMIN_PASSWORD:?")
    for file in ("docker-compose.yml", "alertmanager/alertmanager.yml", "otel-collector.yaml"):
        said = re.findall(
            r"^\s*(?!#).*(?:password|token|secret|api_key): (\S+)", file, re.MULTILINE
        )
        assert said == []


def test_addresses_between_the_services_are_names_of_services():
    texts = [
        (ROOT / name).read_text()
        for name in ("prometheus/prometheus.yml", "alertmanager/alertmanager.yml")
    ]
    texts += [str(service.get("environment", "")) for service in SERVICES.values()]
    texts += [file.read_text() for file in (ROOT / "grafana" / "provisioning").rglob("*.yaml")]
    named = re.findall(
        r"\b([a-z][a-z-]+):(?:9464|9090|9093|9095|4317|4318|8888)\b", "\n".join(texts)
    )
    assert len(named) >= 6
    assert set(named) <= {*SERVICES, "localhost"}


def test_the_demo_reads_its_budgets():
    budgets = load({}, {}, ROOT / "stack" / "llm.toml").budgets
    assert {budget.name for budget in budgets} == {"demo-hour", "researcher-day"}


def test_a_compose_that_is_there_accepts_the_file():
    """Says nothing where there is none: Docker is not among what the tests can install."""
    command = shutil.which("docker-compose")
    if command is None:
        return
    version = subprocess.run([command, "version", "--short"], capture_output=True, text=True)
    if version.stdout.startswith("1."):
        return  # it knows neither `name:` nor today's schema
    done = subprocess.run(
        [command, "config", "-q"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": "/", "GRAFANA_ADMIN_PASSWORD": "x"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def accepted(config, receivers):
    """amtool takes the file, and sends each severity to exactly these receivers."""
    checked = subprocess.run(["amtool", "check-config", config], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for severity in ("critical", "warning"):
        routed = subprocess.run(
            [
                *("amtool", "config", "routes", "test", f"--config.file={config}"),
                *(f"--verify.receivers={receivers}", f"severity={severity}"),
            ],
            capture_output=True,
            text=True,
        )
        assert routed.returncode == 0, routed.stdout + routed.stderr


@pytest.mark.servers
def test_amtool_accepts_the_configuration_and_routes_by_severity():
    accepted(ROOT / "alertmanager" / "alertmanager.yml", "webhook")


@pytest.mark.servers
def test_the_lines_for_slack_and_mail_need_only_lose_their_mark(tmp_path):
    text = (ROOT / "alertmanager" / "alertmanager.yml").read_text()
    for marked in ("- {receiver:", "http_config:"):
        assert f"# {marked}" in text
        text = text.replace(f"# {marked}", marked)
    shutil.copytree(ROOT / "alertmanager" / "templates", tmp_path / "templates")
    (tmp_path / "alertmanager.yml").write_text(text)
    accepted(tmp_path / "alertmanager.yml", "slack,email,webhook")
