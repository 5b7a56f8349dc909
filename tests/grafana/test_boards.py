"""The boards as files: built from the code, known to the schema, and saying what they show."""

import json
import re
from pathlib import Path

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.boards import BOARDS
from grafana.boards.__main__ import written

from . import kit, ledger, lint

ROOT = Path(__file__).parents[2]
ALERTS = {
    rule["alert"]
    for group in yaml.safe_load(ledger.RULES.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}

each_board = pytest.mark.parametrize("uid", kit.UIDS)


def test_every_board_is_committed():
    assert {path.stem for path in kit.DASHBOARDS.glob("*.json")} == {*BOARDS} == {*kit.UIDS}


@each_board
def test_what_is_committed_is_what_the_code_builds(uid):
    assert (kit.DASHBOARDS / f"{uid}.json").read_text() == written(uid), (
        "python -m grafana.boards writes it anew"
    )


@each_board
def test_grafanas_schema_knows_every_key(uid):
    said = kit.dashboard(uid)
    understood = json.loads(json.dumps(Dashboard.from_json(said), cls=JSONEncoder))
    assert not [*_lost(said, understood)]


def _lost(said, understood, path=""):
    if isinstance(said, dict):
        for key, value in said.items():
            if isinstance(understood, dict) and key in understood:
                yield from _lost(value, understood[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    elif isinstance(said, list):
        for index, value in enumerate(said):
            yield from _lost(value, understood[index], f"{path}[{index}]")
    elif said != understood:
        yield path


@each_board
def test_a_board_goes_to_any_grafana(uid):
    board = kit.dashboard(uid)
    assert board["uid"] == uid
    assert "__inputs" not in board
    assert board["schemaVersion"] >= 41
    first, *others = board["templating"]["list"]
    assert (first["type"], first["name"], first["query"]) == (
        "datasource",
        "datasource",
        "prometheus",
    )
    for place in (*others, *kit.panels(uid), *(t for p in kit.panels(uid) for t in p["targets"])):
        assert place["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@each_board
def test_variables_are_all_one_or_some_and_narrow_each_other(uid):
    seen = set()
    for variable in kit.dashboard(uid)["templating"]["list"][1:]:
        assert variable["multi"]
        assert variable["includeAll"]
        assert variable["allValue"] == ".+"
        assert variable["refresh"] == 2
        metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]).groups()
        assert label == variable["name"]
        assert {*re.findall(r"\$(\w+)", metric)} <= seen
        name = metric.split("{")[0]
        assert label in lint.KNOWN[name]
        seen.add(label)
    assert seen == {*re.findall(r"\$([a-z]+)", json.dumps([*kit.targets(uid)]))}


@each_board
def test_a_panel_says_what_it_shows_and_in_what_unit(uid):
    panels = [*kit.panels(uid)]
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert len(panel["title"]) <= 45
        assert panel["description"].split("\n")[0].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["id"] < 100, "the ids from 100 on are those of rows"
    assert len({panel["id"] for panel in kit.dashboard(uid)["panels"]}) == len(
        kit.dashboard(uid)["panels"]
    )


@each_board
def test_the_title_names_the_window_of_a_number(uid):
    for one in kit.targets(uid):
        windows = {*re.findall(r"\[(\d+[a-z]|\$__range)[]:]", one.expr)} - {"2h"}
        said = f"{one.panel['title']} {one.panel['description']}"
        for window in windows:
            words = {"24h": "24 h", "1h": "hour", "$__range": "time range"}[window]
            assert words in said, one


@each_board
def test_the_panels_cover_each_row_and_no_other_panel(uid):
    taken, end = set(), 0
    for panel in kit.dashboard(uid)["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        end = max(end, at["y"] + at["h"])
    assert taken == {(x, y) for x in range(24) for y in range(end)}


@each_board
def test_the_boards_link_to_each_other_and_keep_what_was_chosen(uid):
    (link,) = kit.dashboard(uid)["links"]
    assert link["type"] == "dashboards"
    assert link["keepTime"]
    assert link["includeVars"]
    assert "placement" not in link
    assert link["tags"] == kit.dashboard(uid)["tags"] == ["llm-usage"]


def test_every_alert_has_a_panel_that_says_what_to_do():
    said = " ".join(panel["description"] for uid in kit.UIDS for panel in kit.panels(uid))
    pages = re.findall(r"docs/runbooks/(\w+)\.md", said)
    assert {*pages} == ALERTS
    for page in pages:
        assert (ROOT / "docs" / "runbooks" / f"{page}.md").exists()


def test_colour_is_left_to_state_and_to_names():
    for uid in kit.UIDS:
        for panel in kit.panels(uid):
            modes = {panel["fieldConfig"]["defaults"].get("color", {}).get("mode", "thresholds")}
            graph = panel["type"] == "timeseries"
            assert modes == ({"palette-classic-by-name"} if graph else {"thresholds"})


@each_board
def test_every_query_asks_for_what_there_is_in_a_way_that_is_exact(uid):
    assert {
        str(one): lint.faults(one.expr) for one in kit.targets(uid) if lint.faults(one.expr)
    } == {}


@pytest.mark.parametrize(
    ("expr", "fault"),
    [
        ("sum(", "no PromQL"),
        ("sum(llm_costs)", "no metric llm_costs"),
        ('up{agent="x"}', "up has no label agent"),
        ("sum by (agent) (up)", "nothing in it has the label agent"),
        ("sum without (job) (up)", "without"),
        ("sum(llm_tokens_total)", "the counter llm_tokens_total stands outside"),
        (
            "sum(last_over_time(llm_tokens_total[1h]))",
            "the counter llm_tokens_total stands outside",
        ),
        ("sum(increase(llm_cost_total[24h]))", "llm_cost_total is born with money"),
        ("llm_tokens_total - last_over_time(llm_tokens_total[2h] offset 2m)", "stands outside"),
    ],
)
def test_a_wrong_query_is_found(expr, fault):
    assert any(fault in found for found in lint.faults(expr)), lint.faults(expr)


@pytest.mark.parametrize("recording", ledger.recordings(), ids=lambda one: one.name)
def test_what_each_minute_added_is_recorded_alike_of_every_counter(recording):
    (rule,) = (rule for rule in ledger.rules() if rule["record"] == recording.name)
    expr = re.sub(r"(?<=\() | (?=\))", "", " ".join(rule["expr"].split()))
    counter, by = f"llm_{recording.of}_total", ", ".join(recording.by)
    now = f"last_over_time({counter}[1m])"
    added = f"({now} - last_over_time({counter}[2h] offset 1m)) >= 0 or {now}"
    over = recording.name.replace("model_", "type_model_", 1)
    assert expr in (f"sum by ({by}) ({added})", f"sum by ({by}) ({over})")


def test_grafana_finds_the_data_source_and_the_files():
    places = ROOT / "grafana" / "provisioning"
    text = (places / "datasources" / "prometheus.yaml").read_text()
    assert not re.search(r"(?<!\$)\$(?!\$)", text), "Grafana fills in what follows a single $"
    (source,) = yaml.safe_load(text)["datasources"]
    assert source["type"] == "prometheus"
    assert source["jsonData"]["timeInterval"] == f"{kit.SCRAPE}s"
    scraped = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())
    assert scraped["global"]["scrape_interval"] == f"{kit.SCRAPE}s"
    (provider,) = yaml.safe_load((places / "dashboards" / "llm-usage.yaml").read_text())[
        "providers"
    ]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
    assert not provider["allowUiUpdates"]
