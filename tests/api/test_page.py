"""The page in a real browser: what it shows is what the API says and the provider billed."""

import re
import shutil
import socket
import threading
import time
from decimal import Decimal
from urllib.parse import quote_plus
from zoneinfo import ZoneInfoNotFoundError

import httpx
import openai
import pytest
import uvicorn

from otel_llm_usage import agent, api, attribute
from otel_llm_usage.ledger import Ledger, Question, Reports, asking
from otel_llm_usage.ledger.rows import shortened
from tests.ledger.test_reports import fill, traffic

from .conftest import ASK, eventually
from .test_endpoints import billed

PROGRAMS = {"chromium": "chromium", "chromedriver": "chromium-driver"}
PHONE, DESK = (390, 844), (1440, 1000)


@pytest.fixture(scope="module")
def chromium():
    """One browser for the tests of this file."""
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (apt-get install {' '.join(missing)})")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for switch in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = Service(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


class Page:
    """The page as somebody sees it."""

    def __init__(self, driver, url):
        self.driver = driver
        self.url = url

    def look(self, address="#range=24h", *, scheme="light", size=DESK, wait=True):
        """Open it."""
        self.driver.get("about:blank")
        self.driver.get_log("browser")  # what was said before
        self.resize(size)
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
        )
        self.driver.get(f"{self.url}/{address}")
        assert not wait or self.shown(lambda: self.run("return document.body.dataset.ready"))
        return self

    def resize(self, size):
        width, height = size
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def shown(self, look):
        return eventually(look, 30)

    def title(self, id):
        """The exact value behind what is shown."""
        return self.run("return document.getElementById(arguments[0]).title", id)

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0])?.textContent", selector)

    def rows(self, selector):
        """The cells of a table: what is shown, and the exact value where there is one."""
        return self.run(
            "return [...document.querySelectorAll(arguments[0] + ' tbody tr')].map((row) =>"
            " [...row.children].map((cell) => [cell.textContent, cell.title]))",
            selector,
        )

    def dollars(self, id):
        return Decimal(re.search(r"[\d.]+", self.title(id))[0])

    def click(self, selector):
        self.run("document.querySelector(arguments[0]).click()", selector)

    def press(self, *keys):
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def is_clean(self):
        """Nothing was said on the console, by the policy of content either."""
        assert self.driver.get_log("browser") == []

    def is_within_its_width(self):
        wide = self.run("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert wide[0] <= wide[1]


@pytest.fixture
def page(chromium, runtime, served):
    """The page over the runtime's ledger."""
    with served(api.app(token=False)) as url:
        yield Page(chromium, url)
        chromium.get("about:blank")


@pytest.fixture
def place(tmp_path):
    """Of the databases the page knows nothing."""
    return str(tmp_path / "usage.db")


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_shows_what_was_billed(called, page, scheme, size):
    page.look(scheme=scheme, size=size)
    tokens, dollars = billed(called.ledger)
    said = httpx.get(f"{page.url}/analytics/tokens?since=24h").json()["total"]
    for id in ("spent", "today", "month"):
        assert page.dollars(id) == Decimal(said["cost_usd"]) == dollars
    assert page.title("tokens") == f"{tokens:,} tokens"
    assert page.title("calls") == "6 calls"
    for name in ("agent", "model", "user"):
        report = httpx.get(f"{page.url}/analytics/tokens/by/{name}?since=24h").json()
        assert [(row[0][0], row[3][1]) for row in page.rows(f"#of-{name}")] == [
            (line[name], f"{line['known_cost_usd']} US dollars") for line in report["lines"]
        ]
    costs = [row[-1] for row in page.rows("#latest")]
    assert sum(Decimal(title.split()[0]) for _, title in costs if "US dollars" in title) == dollars
    assert sum("failed 400" in text for text, _ in costs) == 1
    table = page.rows("#time-table")
    assert sum(Decimal(row[3][1].split()[0]) for row in table) == dollars
    assert sum(int(row[1][0]) for row in table) == 6
    assert page.run("return document.querySelectorAll('#time canvas, #burn canvas').length") == 2
    kinds = {row[0][0]: int(re.sub(r"\D", "", row[1][1])) for row in page.rows("#kinds")}
    assert kinds == {kind.replace("_", " "): count for kind, count in said["tokens"].items()}
    page.is_within_its_width()
    page.is_clean()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("what", ["calls", "nothing"])
def test_everybody_can_use_it(request, page, scheme, what):
    if what == "calls":
        request.getfixturevalue("called")
    from axe_core_python.selenium import Axe

    page.look("#range=24h&where=service=", scheme=scheme)
    page.run("for (const one of document.querySelectorAll('details')) one.open = true")
    page.shown(lambda: page.text("#live") == "Live")
    found = Axe().run(page.driver)["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
    for size in (DESK, PHONE):
        page.resize(size)
        page.is_within_its_width()
    page.is_clean()


def test_news_come_without_a_reload(called, page):
    page.look("#range=24h")
    page.run("window.same = true")
    assert page.shown(lambda: page.text("#live") == "Live")
    with openai.OpenAI() as client, agent("newcomer"):
        client.chat.completions.create(model="gpt-4.1", messages=ASK)
    assert page.shown(lambda: page.dollars("spent") == billed(called.ledger)[1])
    assert page.shown(lambda: page.rows("#latest")[0][1][0].startswith("newcomer"))
    assert page.run("return window.same")
    page.is_clean()


def test_it_says_that_it_is_not_live_and_comes_back(chromium, llm_standin, runtime, served):
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]

    def serve():
        config = uvicorn.Config(
            api.app(token=False), port=port, log_level="critical", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        eventually(lambda: server.started)
        return server, thread

    server, thread = serve()
    page = Page(chromium, f"http://127.0.0.1:{port}").look()
    assert page.shown(lambda: page.text("#live") == "Live")
    server.should_exit = True
    thread.join()
    assert page.shown(lambda: page.text("#live").startswith("Not live"))
    with openai.OpenAI() as client:
        client.chat.completions.create(model="gpt-4.1", messages=ASK)
    server, thread = serve()
    assert page.shown(lambda: page.text("#live") == "Live")
    assert page.shown(lambda: page.title("calls") == "1 call")
    chromium.get("about:blank")
    server.should_exit = True
    thread.join()


def test_filters_groups_and_times(called, page):
    page.look("#range=24h&by=agent")
    page.click("#of-agent tbody button")
    first = page.run("return document.querySelector('#filters bdi').textContent")
    bills = list(called.ledger)
    part = billed(bills[:3] if first == "planner" else bills[3:])
    assert page.shown(lambda: page.dollars("spent") == part[1])
    assert page.run("return location.hash").endswith("where=" + quote_plus(f"agent={first}"))
    page.driver.refresh()  # the address holds all of it
    assert page.shown(lambda: page.run("return document.body.dataset.ready"))
    assert page.dollars("spent") == part[1]
    page.click("#filters button")
    assert page.shown(lambda: page.dollars("spent") == billed(bills)[1])
    page.run(
        "const group = document.getElementById('group'); group.value = 'provider';"
        "group.dispatchEvent(new Event('change'))"
    )
    assert page.shown(lambda: len(page.rows("#of-group")) == 3)
    assert (
        len(page.run("return [...document.querySelectorAll('#legend bdi')].map(e => e.title)")) == 3
    )
    for time_ in ("today", "7d", "30d", "month", "period"):
        page.click(f"#ranges [value='{time_}']")
        assert page.shown(lambda time_=time_: time_ in page.run("return location.hash"))
        assert page.shown(lambda: page.dollars("spent") == billed(bills)[1])
    page.look("#range=custom&from=2020-01-01T00:00&to=2020-02-01T00:00")
    assert page.title("calls") == "0 calls"
    assert "No calls in this time" in page.text("#time")
    page.is_clean()


def test_the_keyboard_is_enough(called, page):
    from selenium.webdriver import Keys

    page.look("#range=24h")
    assert page.shown(lambda: page.text("#live") == "Live")
    walked = []
    for _ in range(60):
        page.press(Keys.TAB)
        now, outline = page.run(
            "const now = document.activeElement, style = getComputedStyle(now);"
            "const drawn = now.type === 'radio' ? getComputedStyle(now.nextElementSibling) : style;"
            "return [now.id || now.name || now.dataset.key || now.tagName, drawn.outlineStyle]"
        )
        if now == "BODY":
            break
        assert outline != "none", now
        walked.append(now)
    assert walked[:4] == ["A", "theme", "range", "group"]
    assert {"agent=planner", "model=gemini-2.5-flash", "user=bob", "SUMMARY"} <= set(walked)
    page.run("document.querySelector('[name=range]:checked').focus()")
    page.press(Keys.ARROW_RIGHT)
    assert page.shown(lambda: "range=7d" in page.run("return location.hash"))
    page.run("document.querySelector('[data-key=\"user=bob\"]').focus()")
    page.press(Keys.ENTER)
    assert page.shown(lambda: page.text("#filters li") is not None)
    # what was pressed is made anew, and holds the focus
    assert page.shown(lambda: page.run("return document.activeElement.dataset.key") == "user=bob")
    page.press(Keys.ENTER)
    assert page.shown(lambda: page.text("#filters li") is None)


NAMES = [
    "<script>window.hurt = 1</script>",
    "<img src=x onerror='window.hurt = 1'>",
    "&amp; \"quoted\" 'name'",
    "x" * 400,
    "planner with many words " * 20,
    "مخطط الرحلة",
    "計画者の長い名前",
    "\u202egnirts\u202c",
    "a=b&c#d/e?f",
]


def test_names_are_text_whatever_is_in_them(llm_standin, runtime, page):
    with openai.OpenAI() as client:
        for name in NAMES:
            with agent(name), attribute(user=name, call_type=name):
                client.chat.completions.create(model="gpt-4.1", messages=ASK)
    runtime.flush()
    for size in (DESK, PHONE):
        page.look("#range=24h&by=agent", size=size)
        names = {row[0][0] for row in page.rows("#of-agent")} - {"1 other"}
        assert len(names) == 8
        assert names < set(map(shortened, NAMES))
        page.is_within_its_width()
    page.look("#range=24h&by=agent")
    for name in NAMES[:1] + NAMES[-1:]:
        page.look("#" + str(httpx.QueryParams({"range": "24h", "where": f"agent={name}"})))
        assert page.title("calls") == "1 call"
    assert page.run("return window.hurt") is None
    page.is_clean()


def test_what_is_not_known_is_said(llm_standin, runtime, page):
    with openai.OpenAI() as client:
        client.chat.completions.create(model="gpt-4.1", messages=ASK)
        client.chat.completions.create(model="acme-1", messages=ASK)
        llm_standin.script(wire_usage={})
        client.chat.completions.create(model="gpt-4.1", messages=ASK)
        llm_standin.script(text="word " * 40, pieces=8, pace=0.01)
        stream = client.chat.completions.create(model="gpt-4.1", messages=ASK, stream=True)
        next(stream)
        stream.close()
    runtime.flush()
    page.look("#range=24h&by=model")
    said = page.text("#warnings")
    assert "2 calls have no known price" in said
    assert "Of 1 call nobody said" in said
    assert "The tokens of 1 call" in said
    assert page.text("#spent").startswith("≥")
    assert page.title("spent").startswith("at least")
    assert "no price" in {row[3][0] for row in page.rows("#of-model")}
    page.click("#warnings button")
    assert page.shown(lambda: page.title("calls") == "2 calls")


def test_the_token_is_asked_for_and_kept_in_the_tab_alone(chromium, called, runtime, served):
    from selenium.webdriver import Keys

    with served(api.app(token="s3cret")) as url:
        page = Page(chromium, url).look(wait=False)
        assert page.shown(lambda: page.run("return document.getElementById('gate').open"))
        page.press("wrong", Keys.ENTER)
        assert page.shown(lambda: "does not know" in page.text("#gate-note"))
        page.press("s3cret", Keys.ENTER)
        assert page.shown(lambda: page.run("return document.body.dataset.ready"))
        assert page.dollars("spent") == billed(called.ledger)[1]
        assert page.shown(lambda: page.text("#live") == "Live")
        assert page.run("return sessionStorage.getItem('token')") == "s3cret"
        assert page.run("return JSON.stringify(localStorage) + document.cookie") == "{}"
        assert "s3cret" not in page.run("return location.href")
        # of the answers that the browser notes on its console there are no others
        assert all("401" in line["message"] for line in page.driver.get_log("browser"))
        page.run("sessionStorage.clear()")
        chromium.get("about:blank")


def test_the_theme_can_be_chosen(page):
    def ground():
        return page.run("return getComputedStyle(document.body).backgroundColor")

    page.look(scheme="light")
    light = ground()
    choose = (
        "const theme = document.getElementById('theme'); theme.value = arguments[0];"
        "theme.dispatchEvent(new Event('change'))"
    )
    page.run(choose, "dark")
    dark = ground()
    assert light != dark
    page.look(scheme="light")  # it is remembered
    assert ground() == dark
    page.run(choose, "auto")
    assert ground() == light
    page.look(scheme="dark")
    assert ground() == dark
    page.run("localStorage.clear()")


def test_days_are_those_of_the_browser_or_of_utc(called, page, monkeypatch):
    page.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "America/St_Johns"})
    try:
        page.look("#range=24h")
        assert page.text("#zone") == "America/St_Johns"
        hours = page.run("return document.querySelector('#time-table tbody th').textContent")
        assert hours.endswith(":00")  # of theirs: half an hour from those of UTC
        monkeypatch.setattr(asking, "ZoneInfo", no_zone)
        page.look("#range=24h")
        assert page.text("#zone") == "UTC"
        assert page.dollars("spent") == billed(called.ledger)[1]
    finally:
        page.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})


def no_zone(name):
    raise ZoneInfoNotFoundError(name)


def test_charts_have_the_room_that_there_is(called, page):
    page.look("#range=24h")
    for size in (PHONE, DESK):
        page.resize(size)
        assert page.shown(
            lambda: page.run(
                "const place = document.getElementById('time');"
                "const drawn = place.querySelector('.uplot');"
                "return Math.abs(place.clientWidth - drawn.offsetWidth) < 2 &&"
                " Math.abs(place.clientHeight - drawn.offsetHeight) < 2"
            )
        )
    page.is_clean()


def test_many_records_are_no_trouble(chromium, tmp_path, served):
    """The same page over a ledger of many days, agents and users."""
    ledger = Ledger(tmp_path / "usage.db", journal=tmp_path / "journal")
    now = time.time()
    fill(
        ledger,
        [
            one._replace(time=now - number * 60, agent=f"agent {number % 1500}")
            for number, one in enumerate(traffic(20_000))
        ],
    )
    with served(api.app(ledger, token=False)) as url:
        page = Page(chromium, url).look("#range=30d&by=agent")
        total = Reports(ledger).report(Question()).total
        assert page.dollars("spent") == total.known_cost_usd
        assert "1,492 others" in page.text("#of-agent")
        table = page.rows("#time-table")
        assert sum(Decimal(re.search(r"[\d.]+", row[3][1])[0]) for row in table) == (
            total.known_cost_usd
        )
        page.is_within_its_width()
        page.is_clean()
        chromium.get("about:blank")
    ledger.close()
