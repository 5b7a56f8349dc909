"""The rules: promtool's own tests, that these tests can fail, and that every name exists."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import promql_parser
import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
RULES = ROOT / "prometheus" / "rules" / "llm-usage.yml"
TESTS = sorted((ROOT / "prometheus" / "tests").glob("*.yml"))
DOCUMENT = yaml.safe_load(RULES.read_text())
ALL = [rule for group in DOCUMENT["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in ALL if "alert" in rule]
RECORDINGS = [rule for rule in ALL if "record" in rule]


def promtool(*arguments):
    return subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


@pytest.mark.servers
def test_promtool_accepts_the_rules_without_a_remark():
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.servers
def test_promtool_accepts_the_configuration():
    done = promtool("check", "config", ROOT / "prometheus" / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.servers
@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_promtool_proves_the_rules(file):
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


MUTANTS = [
    ("budget", ":ratio >= 0.8", ":ratio > 0.8"),
    ("budget", ":ratio >= 0.8", ":ratio >= 0.7999"),
    ("budget", ":ratio >= 0.9", ":ratio > 0.9"),
    ("budget", ":ratio >= 0.9", ":ratio >= 0.8999"),
    ("budget", ":ratio >= 1", ":ratio > 1"),
    ("budget", ":ratio >= 1", ":ratio >= 0.9999"),
    ("budget", "sum by (budget, period) (last_over_time(llm_budget_spent_usd", "max by (budget, period) (last_over_time(llm_budget_spent_usd"),
    ("budget", "max by (budget, period) (last_over_time(llm_budget_limit_usd", "sum by (budget, period) (last_over_time(llm_budget_limit_usd"),
    ("budget", "ratio1h > 14.4", "ratio1h > 13.9"),
    ("budget", "ratio1h > 14.4", "ratio1h > 20"),
    ("budget", "            and budget_period:llm_budget_burn:ratio5m > 14.4\n", ""),
    ("budget", "(increase(llm_budget_spent_usd[1h])) > 1", "(increase(llm_budget_spent_usd[1h])) > 0.1"),
    ("forecast", "            and budget_period:llm_budget_utilization:ratio < 1\n", ""),
    ("forecast", "(rate(llm_budget_spent_usd[1d]))", "(rate(llm_budget_spent_usd[7d]))"),
    ("forecast", "(rate(llm_budget_spent_usd[6h]))", "(rate(llm_budget_spent_usd[1d]))"),
    ("budget", "            and budget_period:llm_budget_period_seconds:max > 20 * 3600\n        for: 2m", "        for: 2m"),
    ("spend", "llm_cost_total[2h] offset 1m", "llm_cost_total[5m] offset 1m"),
    ("spend", "llm_cost_total[2h] offset 1m", "llm_cost_total[2h] offset 2m"),
    ("spend", "            or\n              last_over_time(llm_cost_total[1m])\n", ""),
    ("scrape", "(last_over_time(llm_cost_total[1m]) -", "(llm_cost_total -"),
    ("scrape", "or\n              last_over_time(llm_cost_total[1m])", "or\n              llm_cost_total"),
    ("budget", "(last_over_time(llm_budget_utilization_ratio[5m]))", "(llm_budget_utilization_ratio)"),
    ("spend", "offset 1m)) >= 0\n            or\n              last_over_time(llm_cost_total", "offset 1m))\n            or\n              last_over_time(llm_cost_total"),
    ("measurement", "            or\n              last_over_time(llm_unpriced_requests_total[1m])\n", ""),
    ("measurement", "            > 0.01", "            > 0.03"),
    ("measurement", "            > 0.01", "            > 0.005"),
    ("measurement", "where:llm_instrumentation_errors:delta1m[1h])) > 0", "where:llm_instrumentation_errors:delta1m[1h])) > 2"),
    ("measurement", " or absent(up{job=\"llm-usage\"})", ""),
    ("measurement", "up{job=\"llm-usage\"} == 0 or ", ""),
    ("measurement", "        for: 2m\n        labels: {severity: critical}\n        annotations:\n          summary: 'Not", "        labels: {severity: critical}\n        annotations:\n          summary: 'Not"),
    ("measurement", "absent(llm_build_info)", "absent(llm_build_information)"),
]  # fmt: skip


@pytest.mark.servers
@pytest.mark.parametrize(("test", "right", "wrong"), MUTANTS)
def test_a_changed_rule_makes_a_test_fail(tmp_path, test, right, wrong):
    text = RULES.read_text()
    assert right in text
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / RULES.name).write_text(text.replace(right, wrong, 1))
    shutil.copytree(ROOT / "prometheus" / "tests", tmp_path / "tests")
    done = promtool("test", "rules", tmp_path / "tests" / f"{test}_test.yml")
    assert done.returncode != 0
    assert "FAILED" in done.stdout + done.stderr, done.stderr  # a test, not a syntax error


def test_each_alert_fires_in_one_test_and_not_in_another():
    fires, silent = set(), set()
    for file in TESTS:
        for test in yaml.safe_load(file.read_text())["tests"]:
            for one in test.get("alert_rule_test", ()):
                (fires if one["exp_alerts"] else silent).add(one["alertname"])
    names = {rule["alert"] for rule in ALERTS}
    assert fires == silent == names


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_each_alert_says_what_to_do(rule):
    assert rule["labels"]["severity"] in ("warning", "critical")
    notes = rule["annotations"]
    assert {"summary", "description", "runbook_url", "dashboard_url"} <= set(notes)
    assert notes["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"
    page = (ROOT / notes["runbook_url"]).read_text()
    assert page.startswith(f"# {rule['alert']}\n")
    for heading in ("## What it means", "## What to look at", "## What to do"):
        assert heading in page
    assert "{{" not in str(rule["labels"])  # a value in a label makes a new alert of each


def test_no_runbook_is_without_its_alert():
    pages = {page.stem for page in (ROOT / "docs" / "runbooks").glob("*.md")}
    assert pages == {rule["alert"] for rule in ALERTS}


def test_all_alerts_of_budgets_have_the_same_labels():
    of_budgets = [rule for rule in ALERTS if rule["alert"].startswith("LLMBudget")]
    assert len(of_budgets) == 5
    assert {frozenset(rule["labels"]) for rule in of_budgets} == {frozenset({"severity"})}


def selectors(node):
    """Every metric of an expression, with the labels that it asks for."""
    if type(node).__name__ == "VectorSelector":
        yield node.name, {matcher.name for matcher in node.matchers.matchers}
    for child in ("expr", "lhs", "rhs", "param", "vector_selector"):
        inner = getattr(node, child, None)
        if inner is not None and not isinstance(inner, str):
            yield from selectors(inner)
    for inner in getattr(node, "args", None) or ():
        yield from selectors(inner)


def expressions():
    for rule in ALL:
        yield rule["expr"]
        for note in rule.get("annotations", {}).values():
            for asked in re.findall(r'(?:printf|query) "((?:[^"\\]|\\.)*)"', note):
                if "(" in asked or "{" in asked:
                    yield re.sub(r"%q", '"x"', asked)


def known(served):
    """Every metric that can be asked for, with its labels: served, recorded, or Prometheus's own."""
    names = dict(served)
    for rule in RECORDINGS:
        by = re.search(r"by \(([\w, ]+)\)", rule["expr"])
        level = rule["record"].partition(":")[0]
        labels = set(by[1].split(", ")) if by else set(level.split("_"))
        assert "_".join(sorted(level.split("_"))) == "_".join(sorted("_".join(labels).split("_")))
        names[rule["record"]] = labels
    return names | {key: {"job", "instance"} for key in ("up", "scrape_duration_seconds")}


def all_are_known(texts, names):
    used = [pair for text in texts for pair in selectors(promql_parser.parse(text))]
    for name, labels in used:
        assert name in names, name
        assert labels <= names[name] | {"job", "instance"}, (name, labels)
    return used


def test_every_metric_and_label_of_the_rules_is_served(served):
    names = known(served)
    assert len(all_are_known(expressions(), names)) > 40
    for rule in RECORDINGS:
        (group,) = re.findall(r"^sum by \(([\w, ]+)\)", rule["expr"].strip()) or [""]
        for name, _ in selectors(promql_parser.parse(rule["expr"])):
            assert set(filter(None, group.split(", "))) <= names[name], rule["record"]


@pytest.mark.parametrize("board", ["llm-spend", "llm-measurement"])
def test_every_metric_and_label_of_the_boards_is_served(served, board):
    document = json.loads((ROOT / "grafana" / "dashboards" / f"{board}.json").read_text())
    asked = re.findall(r'"expr": ("(?:[^"\\]|\\.)*")', json.dumps(document))
    texts = [
        re.sub(r"\$__(?:rate_interval|range|interval)", "5m", json.loads(one)) for one in asked
    ]
    names = known(served)
    assert len(all_are_known(texts, names)) > 20
    for name, label in re.findall(r"label_values\((\w+)[^)]*?, (\w+)\)", json.dumps(document)):
        assert label in names[name]
