// The page over a ledger: asks the API, shows what it says, and looks again when there is news.
// Names may come from anybody: they become text, never markup. Amounts are exact text: they are
// rounded to be shown, and the exact one is in the tooltip.

const at = (id) => document.getElementById(id);
const TOP = 6; // groups with a colour of their own
const ROWS = 8; // of a table
const MOST = 10000; // lines of one answer
// how each time is called, since when it is, and what it is held against
const RANGES = {
  today: ["Spent today", "today", "the time before"],
  "24h": ["Spent in 24 hours", "24h", "the 24 hours before"],
  "7d": ["Spent in 7 days", 7, "the 7 days before"],
  "30d": ["Spent in 30 days", 30, "the 30 days before"],
  month: ["Spent this month", "month", "the time before"],
  period: ["Spent in this period", "period", ""],
  custom: ["Spent in this time", "", "the time before"],
};
let zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

// ------------------------------------------------------------ what is shown; in the address, without the token

const state = { range: "today", group: "model", from: "", to: "", filters: [] };

function readAddress() {
  const said = new URLSearchParams(location.hash.slice(1));
  const groups = [...at("group").options].map((one) => one.value);
  state.range = said.get("range") in RANGES ? said.get("range") : "today";
  state.group = groups.includes(said.get("by")) ? said.get("by") : "model";
  state.from = said.get("from") || "";
  state.to = said.get("to") || "";
  if (state.range === "custom" && !state.from) state.range = "today";
  state.filters = said.getAll("where").filter((one) => one.indexOf("=") > 0);
}

function writeAddress() {
  const said = [["range", state.range], ["by", state.group]];
  if (state.range === "custom") said.push(["from", state.from], ["to", state.to]);
  said.push(...state.filters.map((one) => ["where", one]));
  history.replaceState(null, "", `#${new URLSearchParams(said)}`);
}

// ------------------------------------------------------------ asking

class Locked extends Error {}

const headers = () => {
  const token = sessionStorage.getItem("token");
  return token ? { Authorization: `Bearer ${token}` } : {};
};

async function ask(path, said, filters = state.filters) {
  const query = new URLSearchParams([...Object.entries(said), ...filters.map((one) => ["where", one])]);
  const answer = await fetch(`${path}?${query}`, { headers: headers(), cache: "no-cache" });
  if (answer.status === 401) throw new Locked();
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail);
  return body;
}

// whole days, today among them
function midnight(daysAgo) {
  const day = new Date();
  day.setDate(day.getDate() - daysAgo);
  return [day.getFullYear(), day.getMonth() + 1, day.getDate()].map((part) => String(part).padStart(2, "0")).join("-");
}

function span() {
  const since = RANGES[state.range][1];
  if (typeof since === "number") return { since: midnight(since - 1), zone };
  if (since) return { since, zone };
  return { since: state.from, ...(state.to && { until: state.to }), zone };
}

function pieces(since, until) {
  if (state.range === "today" || state.range === "24h") return "hour";
  if (!since) return "month";
  const days = ((until ? Date.parse(until) : Date.now()) - Date.parse(since)) / 864e5;
  return days <= 2 ? "hour" : days <= 100 ? "day" : days <= 700 ? "week" : "month";
}

async function overTime(whole, groups) {
  const bucket = pieces(whole.since, whole.until);
  const said = { ...span(), limit: MOST, sort: "name" };
  const chosen = state.filters.some((one) => one.startsWith(`${state.group}=`));
  const filters = chosen ? state.filters : [...state.filters, ...groups.map((one) => `${state.group}=${one}`)];
  const [all, split] = await Promise.all([
    ask(`analytics/tokens/by/${bucket}`, said),
    groups.length ? ask(`analytics/tokens/by/${bucket},${state.group}`, said, filters) : { lines: [] },
  ]);
  return { bucket, groups, all: all.lines, split: split.lines };
}

async function load() {
  const previous = state.range === "period" ? {} : { previous: true };
  const names = [...new Set([state.group, "agent", "model", "user"])];
  const [whole, today, month, burn, latest, ...tables] = await Promise.all([
    ask("analytics/tokens", { ...span(), ...previous }),
    ask("analytics/tokens", { since: "today", zone, previous: true }),
    ask("analytics/tokens", { since: "month", zone, previous: true }),
    ask("analytics/tokens/by/hour", { since: "24h", zone, sort: "name" }),
    ask("analytics/calls", { ...span(), limit: 15 }),
    ...names.map((name) => ask(`analytics/tokens/by/${name}`, { ...span(), ...previous, limit: ROWS })),
  ]);
  const by = Object.fromEntries(names.map((name, place) => [name, tables[place]]));
  const groups = by[state.group].lines.slice(0, TOP).map((line) => line[state.group]);
  return { whole, today, month, burn, latest, by, time: await overTime(whole, groups) };
}

// ------------------------------------------------------------ words and numbers

const counted = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

function money(text) {
  const amount = Math.abs(Number(text));
  const digits = amount === 0 ? 2 : amount >= 1000 ? 0 : amount >= 1 ? 2 : Math.min(12, 2 - Math.floor(Math.log10(amount)));
  const shown = amount.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return `${Number(text) < 0 ? "−" : ""}$${shown}`;
}

const exact = (text) => `${text} US dollars`;
const unknown = (sum) => sum.unpriced && Number(sum.known_cost_usd) === 0;
const cost = (sum) => (unknown(sum) ? "no price" : `${sum.unpriced ? "≥ " : ""}${money(sum.known_cost_usd)}`);
const costExactly = (sum) => `${sum.unpriced ? "at least " : ""}${exact(sum.known_cost_usd)}`;
const word = (name) => name.replaceAll("_", " ");
const heading = (name) => word(name).replace(/^./, (letter) => letter.toUpperCase());
const many = (count, one, more = `${one}s`) => `${counted.format(count)} ${count === 1 ? one : more}`;

function moment(value, bucket) {
  const when = new Date(value);
  const said = {
    hour: { weekday: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" },
    day: { weekday: "short", day: "numeric", month: "short" },
    week: { day: "numeric", month: "short", year: "numeric" },
    month: { month: "long", year: "numeric" },
  }[bucket];
  return (bucket === "week" ? "week of " : "") + when.toLocaleString("en-GB", said);
}

function brief(seconds, bucket) {
  const when = new Date(seconds * 1000);
  if (bucket === "month") return when.toLocaleString("en-GB", { month: "short", year: "2-digit" });
  const day = when.toLocaleString("en-GB", { day: "numeric", month: "short" });
  if (bucket !== "hour") return day;
  return when.getHours() ? when.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" }) : day;
}

// ------------------------------------------------------------ making elements

function make(tag, said = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(said)) {
    if (name === "class") made.className = value;
    else if (name === "click") made.addEventListener("click", value);
    else if (name.startsWith("--")) made.style.setProperty(name, value);
    else made.setAttribute(name, value);
  }
  made.append(...inside.filter((one) => one !== null && one !== undefined));
  return made;
}

// whoever stands on a button that is made anew stays there
function fill(place, ...inside) {
  const held = place.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  place.replaceChildren(...inside);
  if (held) [...place.querySelectorAll("[data-key]")].find((one) => one.dataset.key === held)?.focus();
}

function say(id, text, title) {
  const place = at(id);
  place.textContent = text;
  if (title) place.title = title;
  else place.removeAttribute("title");
}

const named = (value) => (value === "" ? make("span", { class: "none" }, "not said") : make("bdi", {}, value));
const clamped = (value) => make("span", { class: "clamped", title: value }, named(value));
const swatch = (place) => make("i", { class: "swatch", "--swatch": `var(--c${place})`, "aria-hidden": "true" });

function chooser(name, value, kind = "names") {
  const filter = `${name}=${value}`;
  return make(
    "button",
    {
      type: "button", class: kind, title: value, "data-key": filter, "aria-pressed": state.filters.includes(filter),
      click: () => toggle(filter),
    },
    named(value),
  );
}

function table(caption, columns, rows) {
  const headings = columns.map(([title, kind]) => make("th", { scope: "col", class: kind || "" }, title));
  return make(
    "table", {},
    make("caption", { class: "hidden" }, caption),
    make("thead", {}, make("tr", {}, ...headings)),
    make("tbody", {}, ...rows),
  );
}

const amount = (sum, kind = "right") => make("td", { class: kind, title: costExactly(sum) }, cost(sum));

function nothing(...said) {
  return make("div", { class: "empty" }, make("strong", {}, "No calls in this time"), ...said);
}

// ------------------------------------------------------------ showing

function change(id, sum, before, more = "") {
  const place = at(id);
  if (!sum.previous) return place.replaceChildren(more);
  const was = Number(sum.previous.known_cost_usd);
  const by = Number(sum.change_usd);
  const share = was ? ` (${by < 0 ? "−" : "+"}${counted.format(Math.round(Math.abs(by / was) * 100))} %)` : "";
  const told = by === 0 ? "as much" : `${by > 0 ? "▲" : "▼"} ${money(String(Math.abs(by)))}${share}`;
  place.title = `${sum.change_usd} US dollars more than ${before}: ${sum.previous.known_cost_usd}`;
  return place.replaceChildren(
    make("span", { class: by > 0 ? "more" : by < 0 ? "less" : "" }, told), ` vs ${before}`,
  );
}

function figures({ whole, today, month }) {
  const sum = whole.total;
  say("range-name", RANGES[state.range][0]);
  say("spent", cost(sum), costExactly(sum));
  const period = whole.since ? `since ${new Date(whole.since).toLocaleString("en-GB")}` : "since the first call";
  change("spent-note", sum, RANGES[state.range][2], period);
  say("today", cost(today.total), costExactly(today.total));
  change("today-note", today.total, RANGES.today[2]);
  say("month", cost(month.total), costExactly(month.total));
  change("month-note", month.total, RANGES.month[2]);
  say("calls", short.format(sum.calls), many(sum.calls, "call"));
  say("calls-note", `${counted.format(sum.failures)} failed, ${counted.format(sum.aborted)} left early`);
  say("tokens", short.format(sum.total_tokens), many(sum.total_tokens, "token"));
  say("tokens-note", `${short.format(sum.input_tokens)} in, ${short.format(sum.output_tokens)} out`);
  say("saved", money(sum.saved_usd), exact(sum.saved_usd));
  const cached = sum.input_tokens ? (100 * sum.cached_tokens) / sum.input_tokens : 0;
  say("saved-note", `${cached.toFixed(cached && cached < 10 ? 1 : 0)} % of the input was cached`);
  say("wasted", money(sum.wasted_usd), exact(sum.wasted_usd));
  say("wasted-note", "failed, broken off or left");
}

function warnings({ whole }) {
  const { unpriced, missing_usage: missing, estimated, estimated_usd: dollars } = whole.total;
  const show = (key, ...filters) =>
    make("button", { type: "button", "data-key": key, click: () => choose([...state.filters, ...filters]) }, "Show them");
  const told = [];
  if (unpriced) {
    told.push(make("li", {}, `${many(unpriced, "call has", "calls have")} no known price: the real cost is higher than what is shown.`,
      show("unpriced", "cost_status=unpriced", "cost_status=partial")));
  }
  if (missing) {
    told.push(make("li", {}, `Of ${many(missing, "call")} nobody said how many tokens it took.`, show("missing", "usage_source=missing")));
  }
  if (estimated) {
    told.push(make("li", { title: exact(dollars) },
      `The tokens of ${many(estimated, "call")} (${money(dollars)}) are our estimate.`, show("estimated", "usage_source=estimated")));
  }
  fill(at("warnings"), ...told);
}

function breakdown(id, name, report) {
  const section = at(id);
  const title = section.querySelector("h2");
  const colours = name === state.group;
  if (id === "of-group") title.textContent = `By ${word(name)}`;
  const place = section.querySelector("div");
  place.className = "breakdown";
  if (!report.lines.length) return fill(place, nothing());
  const all = Number(report.total.known_cost_usd);
  const rows = report.lines.map((line, rank) => {
    const share = all > 0 ? (100 * Number(line.known_cost_usd)) / all : 0;
    const colour = `var(--c${colours ? Math.min(rank, TOP) : 0})`;
    return make(
      "tr", {},
      make("th", { scope: "row", class: "name" }, chooser(name, line[name]),
        make("span", { class: "share", "aria-hidden": "true" }, make("i", { "--share": `${share}%`, "--swatch": colour }))),
      make("td", { class: "right", title: many(line.calls, "call") }, short.format(line.calls)),
      make("td", { class: "right", title: many(line.total_tokens, "token") }, short.format(line.total_tokens)),
      amount(line),
    );
  });
  if (report.others) {
    const rest = report.others;
    rows.push(make("tr", { class: "rest" },
      make("th", { scope: "row" }, many(report.groups - report.lines.length, "other")),
      make("td", { class: "right" }, short.format(rest.calls)),
      make("td", { class: "right" }, short.format(rest.total_tokens)), amount(rest)));
  }
  const columns = [[heading(name), "name"], ["Calls", "right"], ["Tokens", "right"], ["Cost", "right"]];
  return fill(place, table(title.textContent, columns, rows));
}

function kinds({ whole }) {
  const found = Object.entries(whole.total.tokens).sort((one, other) => other[1] - one[1]);
  const all = whole.total.total_tokens;
  const colour = (rank) => Math.min(rank, TOP);
  fill(at("kinds-bar"), ...found.map(([, count], rank) => make("i", { "--share": count, "--swatch": `var(--c${colour(rank)})` })));
  at("kinds-bar").hidden = !found.length;
  if (!found.length) return fill(at("kinds"), nothing());
  const rows = found.map(([kind, count], rank) => make("tr", {},
    make("th", { scope: "row" }, make("span", { class: "kind" }, swatch(colour(rank)), word(kind))),
    make("td", { class: "right", title: many(count, "token") }, short.format(count)),
    make("td", { class: "right" }, `${((100 * count) / all).toFixed(1)} %`)));
  return fill(at("kinds"), table("Kinds of tokens", [["Kind"], ["Tokens", "right"], ["Share", "right"]], rows));
}

const STATES = { ok: "ok", error: "failed", broken: "broke off", aborted: "left early" };

function latest({ latest: { calls } }) {
  const place = at("latest");
  place.className = "latest";
  if (!calls.length) {
    return fill(place, nothing(make("span", {}, "Calls appear here as soon as they are recorded: ", make("code", {}, "instrument(ledger=…)"))));
  }
  const rows = calls.map((call) => {
    const when = new Date(call.time * 1000);
    const bad = call.status === "error" || call.status === "broken";
    const priced = call.cost_usd !== null;
    const shown = priced ? money(call.cost_usd) : call.cost_status === "partial" ? `≥ ${money(call.known_cost_usd)}` : "unknown";
    const why = priced ? exact(call.cost_usd) : `not known: ${call.cost_reasons.join(", ")}`;
    const tokens = call.total_tokens === null ? "–" : counted.format(call.total_tokens);
    return make("tr", {},
      make("td", { class: "when", title: when.toISOString() }, when.toLocaleTimeString("en-GB"),
        make("span", { class: "second" }, when.toLocaleDateString("en-GB", { day: "numeric", month: "short" }))),
      make("td", {}, clamped(call.agent), make("span", { class: "second" }, clamped(call.model))),
      make("td", { class: "wider" }, clamped(call.labels.user || "")),
      make("td", { class: "wider" }, clamped(call.call_type)),
      make("td", { class: "right wider" }, tokens),
      make("td", { class: "right wider" }, call.seconds === null ? "–" : `${call.seconds.toFixed(2)} s`),
      make("td", { class: "right money", title: why }, shown,
        bad || call.status === "aborted"
          ? make("span", { class: "second" }, make("span", { class: bad ? "state failed" : "state" }, STATES[call.status] + (call.error_type ? ` ${call.error_type}` : "")))
          : null));
  });
  const columns = [["Time", "when"], ["Agent, model"], ["User", "wider"], ["Call type", "wider"], ["Tokens", "right wider"], ["Took", "right wider"], ["Cost", "right money"]];
  return fill(place, table("Latest calls", columns, rows));
}

// ------------------------------------------------------------ charts

const charts = {};

function colour(name) {
  const probe = make("i", { hidden: "" });
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

// bars that stand on each other: `parts` from the bottom up, each {name, place, values, exact}
function draw(id, starts, parts, bucket) {
  const place = at(id);
  charts[id]?.destroy();
  delete charts[id];
  if (!starts.length || !parts.some((part) => part.values.some(Boolean))) {
    place.replaceChildren(nothing());
    return;
  }
  place.replaceChildren();
  const x = starts.map((start) => Date.parse(start) / 1000);
  const width = { hour: 3600, day: 86400, week: 604800, month: 2678400 }[bucket];
  const stacked = [];
  for (const part of parts) {
    const below = stacked.at(-1);
    stacked.push(part.values.map((value, column) => value + (below ? below[column] : 0)));
  }
  const tip = make("div", { class: "tip", hidden: "" });
  const line = colour("--line");
  const axis = { stroke: colour("--muted"), grid: { stroke: line, width: 1 }, ticks: { stroke: line }, font: "12px system-ui, sans-serif" };
  const bars = uPlot.paths.bars({ align: 1, size: [0.82, 64], gap: 1, radius: parts.length > 1 ? 0 : 0.12 });
  const surface = colour("--surface");
  charts[id] = new uPlot(
    {
      width: place.clientWidth, height: place.clientHeight,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      padding: [10, 4, 0, 0],
      scales: { x: { time: true, range: [x[0], x.at(-1) + width] }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.06 : 1] } },
      axes: [
        { ...axis, size: 32, grid: { show: false }, splits: (plot) => some(x, plot.width / 74), values: (_, ticks) => ticks.map((one) => brief(one, bucket)) },
        { ...axis, size: 62, values: (_, ticks) => dollars(ticks), space: 34 },
      ],
      series: [
        {},
        // the highest first: the others are painted over it
        ...parts.map((part, rank) => ({ fill: colour(`--c${part.place}`), stroke: surface, width: parts.length > 1 ? 1 : 0, paths: bars, points: { show: false }, rank })).reverse(),
      ],
      hooks: { setCursor: [(plot) => point(plot, tip, place, starts, parts, bucket)] },
    },
    [x, ...stacked.slice().reverse()],
    place,
  );
  place.append(tip);
}

function dollars(ticks) {
  const places = Math.max(...ticks.map((one) => (String(Number(one.toPrecision(3))).split(".")[1] || "").length));
  return ticks.map((one) => `$${one.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places })}`);
}

// some of them, at the same distance, and not more than there is room for
function some(values, most) {
  const step = [1, 2, 3, 4, 6, 7, 12, 14, 24, 28].find((one) => values.length / one <= most) || Math.ceil(values.length / most);
  return values.filter((_, place) => place % step === 0);
}

function point(plot, tip, place, starts, parts, bucket) {
  const { left } = plot.cursor;
  const x = left >= 0 ? plot.posToVal(left, "x") : -1;
  const column = starts.findLastIndex((start) => Date.parse(start) / 1000 <= x);
  tip.hidden = left < 0 || column < 0;
  if (tip.hidden) return;
  const rows = parts.filter((part) => part.values[column]).reverse().map((part) =>
    make("li", {}, swatch(part.place), part.name === null ? make("span", {}, "in all") : named(part.name), make("span", {}, money(part.exact[column]))));
  tip.replaceChildren(make("p", {}, moment(starts[column], bucket)), rows.length ? make("ul", {}, ...rows) : "nothing");
  const right = left > place.clientWidth / 2;
  tip.style.left = right ? "" : `${left + 78}px`;
  tip.style.right = right ? `${place.clientWidth - left - 48}px` : "";
}

function timeTable(id, starts, sums, bucket, caption) {
  const rows = starts.map((start, column) => make("tr", {},
    make("th", { scope: "row" }, moment(start, bucket)),
    make("td", { class: "right" }, counted.format(sums[column].calls)),
    make("td", { class: "right" }, counted.format(sums[column].total_tokens)),
    amount(sums[column]))).reverse();
  fill(at(id), table(caption, [["From"], ["Calls", "right"], ["Tokens", "right"], ["Cost", "right"]], rows));
}

function overTimeChart({ time: { bucket, groups, all, split } }) {
  const starts = all.map((line) => line[bucket]);
  const column = new Map(starts.map((start, place) => [start, place]));
  const parts = groups.map((name, rank) => ({ name, place: rank, values: starts.map(() => 0), exact: starts.map(() => "0") }));
  const known = new Map(parts.map((part) => [part.name, part]));
  const left = all.map((line) => Number(line.known_cost_usd));
  for (const line of split) {
    const part = known.get(line[state.group]);
    const place = column.get(line[bucket]);
    if (!part || place === undefined) continue;
    part.values[place] = Number(line.known_cost_usd);
    part.exact[place] = line.known_cost_usd;
    left[place] -= part.values[place];
  }
  const highest = Math.max(0, ...all.map((line) => Number(line.known_cost_usd)));
  const rest = left.map((value) => (value > highest * 1e-9 ? value : 0)); // what floats leave over is nothing
  if (rest.some(Boolean)) parts.push({ name: "others", place: TOP, values: rest, exact: rest.map(String) });
  draw("time", starts, parts, bucket);
  const one = state.filters;
  fill(at("legend"), ...parts.map((part) => make("li", {},
    part.place === TOP ? make("span", {}, swatch(TOP), "others") : legendButton(part))));
  const sum = all.reduce((made, line) => made + Number(line.known_cost_usd), 0);
  at("time").setAttribute("aria-label", `Spending over time by ${word(state.group)}: ${money(String(sum))} in ${many(starts.length, bucket)}${one.length ? ", filtered" : ""}. The table below has the same.`);
  timeTable("time-table", starts, all, bucket, "Spending over time");
}

function legendButton(part) {
  const made = chooser(state.group, part.name, "");
  made.prepend(swatch(part.place));
  return made;
}

function burnChart({ burn }) {
  const starts = burn.lines.map((line) => line.hour);
  const exactly = burn.lines.map((line) => line.known_cost_usd);
  draw("burn", starts, [{ name: null, place: 0, values: exactly.map(Number), exact: exactly }], "hour");
  const mean = Number(burn.total.known_cost_usd) / 24;
  say("burn-now", `${money(String(mean))} an hour`, `${burn.total.known_cost_usd} US dollars in 24 hours`);
  at("burn").setAttribute("aria-label", `Spending per hour: ${money(String(mean))} an hour in the last 24 hours. The table below has each hour.`);
  timeTable("burn-table", starts, burn.lines, "hour", "Spending per hour");
}

// ------------------------------------------------------------ the page

let shown = null;
let announced = 0;

function show(found) {
  shown = found;
  figures(found);
  warnings(found);
  kinds(found);
  at("of-group").hidden = ["agent", "model", "user"].includes(state.group);
  if (!at("of-group").hidden) breakdown("of-group", state.group, found.by[state.group]);
  for (const name of ["agent", "model", "user"]) breakdown(`of-${name}`, name, found.by[name]);
  latest(found);
  // last, for they take the room that is left
  overTimeChart(found);
  burnChart(found);
  document.body.dataset.ready = "yes";
  if (Date.now() - announced > 30000) {
    announced = Date.now();
    say("announce", `${RANGES[state.range][0]}: ${cost(found.whole.total)}, ${many(found.whole.total.calls, "call")}.`);
  }
}

function controls() {
  for (const one of document.querySelectorAll("[name=range]")) one.checked = one.value === state.range;
  at("custom").hidden = state.range !== "custom" && !at("custom").dataset.open;
  at("from").value = state.from;
  at("to").value = state.to;
  at("group").value = state.group;
  fill(at("filters"), ...state.filters.map((filter) => {
    const cut = filter.indexOf("=");
    const value = filter.slice(cut + 1);
    return make("li", {}, make("button", {
      type: "button", "data-key": filter, title: `Without ${filter}`,
      click: () => toggle(filter),
    }, make("span", {}, word(filter.slice(0, cut))), named(value), make("span", { "aria-label": "remove" }, "×")));
  }));
}

function toggle(filter) {
  const on = state.filters.includes(filter);
  choose(on ? state.filters.filter((one) => one !== filter) : [...state.filters, filter]);
}

function choose(filters) {
  state.filters = [...new Set(filters)];
  changed();
}

function changed() {
  announced = 0;
  writeAddress();
  controls();
  refresh();
}

let asked = 0;
let asking = false;
let again = false;

// one look at a time; whatever is asked for meanwhile is the next one
async function refresh() {
  asked += 1;
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  do {
    again = false;
    const mine = asked;
    try {
      const found = await load();
      if (mine === asked) show(found);
      at("trouble").hidden = true;
    } catch (error) {
      if (error instanceof Locked) locked();
      else if (zone !== "UTC" && error.message?.includes("time zone")) {
        // a server need not know all of them
        zone = "UTC";
        at("zone").textContent = zone;
        again = true;
      }
      else if (mine === asked) {
        at("trouble").textContent = error instanceof TypeError ? "The server does not answer. What is shown is from before." : error.message;
        at("trouble").hidden = false;
      }
    }
  } while (again);
  asking = false;
}

// ------------------------------------------------------------ the token

function locked() {
  const gate = at("gate");
  if (gate.open) return;
  if (sessionStorage.getItem("token")) {
    say("gate-note", "The server does not know this token. Try again.");
    sessionStorage.removeItem("token");
  }
  live("wait", "Waiting for the token");
  gate.showModal();
}

at("gate").addEventListener("close", () => {
  const given = at("token").value.trim();
  at("token").value = "";
  if (!given) return at("gate").showModal();
  sessionStorage.setItem("token", given);
  refresh();
  return listen();
});
at("gate").addEventListener("cancel", (event) => event.preventDefault());

// ------------------------------------------------------------ news

let line = null; // the stream that is open
let wait = 1000;

function live(how, text) {
  const place = at("live");
  if (place.dataset.state === how && place.textContent === text) return;
  place.dataset.state = how;
  place.textContent = text;
}

async function listen() {
  line?.abort();
  const mine = new AbortController();
  line = mine;
  let silence = 0;
  const heard = () => {
    clearTimeout(silence);
    // the server says something every 15 seconds
    silence = setTimeout(() => mine.abort(), 40000);
  };
  try {
    heard();
    const answer = await fetch("events", { headers: headers(), signal: mine.signal, cache: "no-store" });
    if (answer.status === 401) throw new Locked();
    if (!answer.ok) throw new Error(answer.statusText);
    wait = 1000;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      heard();
      text += value;
      const events = text.split("\n\n");
      text = events.pop();
      for (const event of events) {
        if (event.startsWith("event: usage")) {
          live("live", "Live");
          refresh();
        } else if (event.startsWith("event: away")) {
          live("lost", "Not live: the ledger does not answer");
        }
      }
    }
  } catch (error) {
    if (error instanceof Locked) {
      clearTimeout(silence);
      return locked();
    }
  }
  clearTimeout(silence);
  if (line !== mine) return; // another one has taken its place
  line = null;
  if (document.hidden) return live("wait", "Paused");
  live("lost", "Not live: trying again");
  setTimeout(() => line || document.hidden || listen(), wait);
  wait = Math.min(wait * 2, 30000);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return line?.abort();
  refresh();
  return line || listen();
});

// times move on without any news
setInterval(() => document.hidden || refresh(), 60000);

// ------------------------------------------------------------ what is clicked

for (const one of document.querySelectorAll("[name=range]")) {
  one.addEventListener("change", () => {
    if (one.value === "custom") {
      at("custom").dataset.open = "yes";
      at("custom").hidden = false;
      return at("from").focus();
    }
    delete at("custom").dataset.open;
    state.range = one.value;
    return changed();
  });
}
at("custom").addEventListener("submit", (event) => {
  event.preventDefault();
  Object.assign(state, { range: "custom", from: at("from").value, to: at("to").value });
  changed();
});
at("group").addEventListener("change", () => {
  state.group = at("group").value;
  changed();
});

function theme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  at("theme").value = name;
  if (shown) show(shown);
}

at("theme").addEventListener("change", () => {
  localStorage.setItem("theme", at("theme").value);
  theme(at("theme").value);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => shown && show(shown));

const room = new ResizeObserver((changes) => {
  for (const { target, contentRect } of changes) {
    charts[target.id]?.setSize({ width: Math.round(contentRect.width), height: Math.round(contentRect.height) });
  }
});
room.observe(at("time"));
room.observe(at("burn"));
addEventListener("hashchange", () => {
  readAddress();
  controls();
  refresh();
});

at("zone").textContent = zone;
theme(localStorage.getItem("theme") || "auto");
readAddress();
controls();
refresh();
listen();
