"use strict";

const EVERY = 2000;           // ms between two questions
const PATIENCE = 4000;        // ms until an answer is overdue
const STALE = 5000;           // ms without news until the numbers are called stale
const KEEP = 5 * 60 * 1000;   // ms of history
const SMOOTH = 10 * 1000;     // ms over which a rate is taken
const FRESH = 60 * 60 * 1000; // ms for which a diagnosis is trouble
const MANY = 20;              // refusals that are more than a mistyped password

const ENDED = {
  client: "client left", server: "server closed it", timeout: "ntlm_timeout", evicted: "evicted: ntlm N is full",
  shortage: "worker_connections short", capped: "ntlm_requests, ntlm_time", other: "other reasons",
};

// Words.

const integer = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const count = (n) => integer.format(n);
const rate = (n) => n === null ? "–" : n === 0 || n >= 100 ? count(n) : n < 0.05 ? "< 0.1" : tenths.format(n);
const times = (n) => n === 1 ? "once" : `${count(n)} times`;
const plural = (n, one, many) => `${count(n)} ${n === 1 ? one : many}`;

function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  return s < 90 ? `${s} s` : s < 5400 ? `${Math.floor(s / 60)} min` : s < 172800 ? `${Math.floor(s / 3600)} h`
    : `${Math.floor(s / 86400)} days`;
}

// The document. Strings end up in textContent and attributes, whatever they contain.

const $ = (id) => document.getElementById(id);

function el(name, properties, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties ?? {})) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** Writes only what changed: a selection survives, and nothing is laid out for nothing. */
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function arrange(parent, nodes) {
  if (nodes.length !== parent.children.length || nodes.some((node, i) => node !== parent.children[i])) {
    parent.replaceChildren(...nodes);
  }
}

function chart(label) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 300 48");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const paths = ["fill", "one", "two"].map((name) => {
    const path = document.createElementNS(svg.namespaceURI, "path");
    path.setAttribute("class", name);
    svg.append(path);
    return path;
  });
  const most = el("span");
  const node = el("figure", {}, el("figcaption", {}, label, most), svg);
  return { node, svg, paths, most };
}

/** Draws one or two series over the last five minutes; a hole in the samples is a hole in the line. */
function draw(chart, samples, now, one, two, what, format) {
  const values = samples.flatMap((sample) => [one(sample), two(sample)]).filter((value) => value !== null);
  const most = values.reduce((a, b) => Math.max(a, b), 0);
  const x = (sample) => (300 * (1 - (now - sample.at) / KEEP)).toFixed(1);
  const y = (value) => (46 - 42 * value / (most || 1)).toFixed(1);
  let [fill, first, second] = ["", "", ""];
  let run = [];
  const end = () => {
    if (run.length) {
      const line = (of) => run.map((sample) => `${x(sample)},${y(of(sample))}`).join("L");
      first += `M${line(one)}`;
      second += `M${line(two)}`;
      fill += `M${x(run[0])},48L${line(one)}L${x(run.at(-1))},48Z`;
    }
    run = [];
  };
  for (const sample of samples) {
    if (one(sample) === null || (run.length && sample.at - run.at(-1).at > 3 * EVERY)) end();
    if (one(sample) !== null) run.push(sample);
  }
  end();
  chart.paths.forEach((path, i) => path.setAttribute("d", [fill, first, second][i]));
  say(chart.most, values.length ? `most ${format(most)}` : "");
  const last = samples.at(-1);
  chart.svg.setAttribute("aria-label", `${what} in the last five minutes: now ${format(one(last))}, most ${format(most)}`);
}

function table(caption, ...heads) {
  const body = el("tbody");
  const row = el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)));
  const node = el("table", {}, el("caption", {}, caption), el("thead", {}, row), body);
  const rows = new Map();
  const fill = (entries) => arrange(body, entries.map(([key, label, numbers, tone]) => {
    if (!rows.has(key)) rows.set(key, el("tr", {}, el("th", { scope: "row" }, label), ...numbers.map(() => el("td"))));
    const tr = rows.get(key);
    numbers.forEach((number, i) => say(tr.children[i + 1], typeof number === "number" ? count(number) : number));
    tr.className = tone ?? (numbers.some(Boolean) ? "" : "none");
    return tr;
  }));
  return { node, fill };
}

const percent = (part) => part > 0 && part < 0.01 ? "< 1 %" : `${integer.format(Math.min(100, 100 * part))} %`;

/** Logins of a group, whatever the mechanism. */
function loginsOf(group) {
  const sum = (key) => Object.values(group.handshakes).reduce((total, of) => total + of[key], 0);
  return { accepted: sum("accepted"), refused: sum("refused") };
}

/** More refusals than logins, and enough of them to tell. */
function isRefusing(group) {
  const { accepted, refused } = loginsOf(group);
  return refused >= MANY && refused > accepted;
}

/** The diagnoses of a group that are trouble now. */
const freshOf = (group) => (group.diagnoses ?? []).filter((of) => data.time_msec - of.last_msec < FRESH);

// The table of groups: what each column shows, and by what it is sorted.

const COLUMNS = [
  { key: "name", head: "group", text: true },
  { key: "sessions", head: "sessions" },
  { key: "full", head: "full" },
  { key: "accepted", head: "logins/s", minor: true },
  { key: "refused", head: "refused/s" },
  { key: "refusals", head: "refused", minor: true },
  { key: "lost", head: "lost", minor: true },
  { key: "bad", head: "state" },
];
let sorted = { key: "bad", down: true };

/** The rows in the order that is asked for; of those alike the fuller one first. */
function inOrder(rows) {
  const { key, down } = sorted;
  const by = (a, b) => typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  return rows.sort(({ values: a }, { values: b }) =>
    (down ? -1 : 1) * by(a[key], b[key]) || b.refused - a.refused || b.full - a.full || by(a.name, b.name));
}

function heads() {
  return el("tr", {}, ...COLUMNS.map((column) => {
    const button = el("button", { type: "button" }, column.head);
    const head = el("th", { scope: "col", class: column.minor ? "minor" : "", "data-key": column.key }, button);
    button.addEventListener("click", () => {
      sorted = { key: column.key, down: sorted.key === column.key ? !sorted.down : !column.text };
      place();
    });
    return head;
  }));
}

// One group: what is remembered of it, and its card.

let cards = 0;

class Group {
  constructor() {
    const id = this.id = `group-${++cards}`;
    this.samples = [];
    this.name = el("h2", { id: `${id}-name` });
    this.figures = {};
    const figure = (key, label) => {
      this.figures[key] = [el("span"), el("small")];
      return el("div", {}, el("dt", {}, label), el("dd", {}, ...this.figures[key]));
    };
    this.level = el("div");
    this.bar = el("div", { class: "bar", "aria-hidden": "true" }, this.level);
    this.bindings = chart(el("span", {}, el("b", { class: "one" }, "bindings"), ", ", el("b", { class: "two" }, "busy")));
    this.rates = chart(el("span", {}, el("b", { class: "one" }, "reused"), ", ", el("b", { class: "two" }, "bound"), " /s"));
    this.logins = chart(el("span", {}, el("b", { class: "one" }, "accepted"), ", ", el("b", { class: "two" }, "refused"), " /s"));
    this.handshakes = table("Logins", "mechanism", "accepted", "refused");
    this.ended = table("How bindings ended", "because", "times");
    this.servers = table("Servers", "server", "bindings made", "ended by it", "in the middle of a request");
    this.note = el("p", { class: "note" }, el("b", {}, "NTLMv1 "), "can be cracked. The access log names who still uses it " +
      "($ntlm_mechanism, $ntlm_user, $ntlm_workstation; $ntlm_refused_mechanism where the server refuses it): " +
      "mend those clients, then refuse it at the server.");
    const explained = (key, label, what) => el("div", { title: what }, figure(key, label), el("p", { class: "soft" }, what));
    this.details = el("details", {}, el("summary", {}, "Bindings, logins by mechanism, servers, and how bindings ended"),
      el("dl", { class: "explained" },
        explained("parked", "parked", "upstream connections that wait for their client"),
        explained("busy", "busy", "those that carry a request"),
        explained("handshaking", "handshaking", "parked ones in the middle of a login"),
        explained("bound", "bound", "connections that got their client"),
        explained("reused", "reused", "requests that a binding served"),
        explained("lost", "lost", "requests whose binding was gone"),
        explained("fallback", "turned back", "requests over HTTP/2 that were sent back to HTTP/1.1")),
      el("div", { class: "tables" }, this.handshakes.node, this.ended.node), this.servers.node);
    this.limits = el("code");
    this.node = el("section", { class: "card", id, "aria-labelledby": `${id}-name` },
      el("div", { class: "head" }, this.name, this.limits),
      el("dl", {}, figure("sessions", "sessions now"), figure("full", "full"), figure("accepted", "logins"),
        figure("refused", "refused")),
      this.bar, el("div", { class: "charts" }, this.logins.node, this.bindings.node, this.rates.node), this.note,
      this.details);
    this.row = new Row(this);
  }

  remember(group, now, since) {
    const { bindings: { parked, busy }, bound, reused } = group;
    const { accepted, refused } = loginsOf(group);
    const before = this.samples.at(-1);
    if (since !== this.since || bound < before?.bound || reused < before?.reused) this.samples = [];
    this.since = since;
    const sample = { at: now, all: parked + busy, busy, bound, reused, accepted, refused,
      boundRate: null, reusedRate: null, acceptedRate: null, refusedRate: null };
    this.samples = this.samples.filter((old) => now - old.at <= KEEP && old.at < now);
    const from = this.samples.find((old) => now - old.at <= SMOOTH) ?? this.samples.at(-1);
    if (from) {
      const seconds = (now - from.at) / 1000;
      for (const key of ["bound", "reused", "accepted", "refused"]) {
        sample[`${key}Rate`] = (sample[key] - from[key]) / seconds;
      }
    }
    this.samples.push(sample);
  }

  show(group, now, workers) {
    const last = this.samples.at(-1);
    const most = group.connections * workers;
    const figure = (key, number, small) => {
      say(this.figures[key][0], number);
      say(this.figures[key][1], small);
    };
    say(this.name, group.name);
    const { accepted, refused } = loginsOf(group);
    const part = most ? Math.min(1, group.bindings.parked / most) : 0;
    figure("sessions", count(group.bindings.parked + group.bindings.busy), group.bindings.busy ? `${count(group.bindings.busy)} at work` : "");
    figure("full", percent(part), `${count(group.bindings.parked)} of ${count(most)} wait`);
    figure("accepted", `${rate(last.acceptedRate)}/s`, `${count(accepted)} in all`);
    figure("refused", `${rate(last.refusedRate)}/s`, `${count(refused)} in all`);
    this.node.classList.toggle("refusing", isRefusing(group));
    figure("parked", count(group.bindings.parked), `of ${count(most)}`);
    figure("busy", count(group.bindings.busy), "");
    figure("handshaking", count(group.bindings.handshaking), "");
    figure("bound", `${rate(last.boundRate)}/s`, `${count(group.bound)} in all`);
    figure("reused", `${rate(last.reusedRate)}/s`, `${count(group.reused)} in all`);
    figure("lost", count(group.lost), "");
    figure("fallback", count(group.fallback), "");
    if (group.timeout_msec) say(this.limits, `ntlm ${group.connections}; ntlm_timeout ${group.timeout_msec / 1000}s;`);
    this.level.style.width = `${(100 * part).toFixed(1)}%`;
    this.bar.classList.toggle("full", part > 0.9);
    draw(this.logins, this.samples, now, (s) => s.acceptedRate, (s) => s.refusedRate, "Logins accepted a second", rate);
    draw(this.bindings, this.samples, now, (s) => s.all, (s) => s.busy, "Bindings", count);
    draw(this.rates, this.samples, now, (s) => s.reusedRate, (s) => s.boundRate, "Reused a second", rate);
    const v1 = group.handshakes.NTLMv1;
    const old = Boolean(v1 && v1.accepted + v1.refused);
    this.handshakes.fill(Object.entries(group.handshakes).map(([mechanism, of]) =>
      [mechanism, mechanism, [of.accepted, of.refused], mechanism === "NTLMv1" && old ? "old" : undefined]));
    this.note.hidden = !old || !group.timeout_msec;
    const others = group.other_servers_bound;
    this.servers.node.hidden = !group.servers?.length;
    this.servers.fill([...(group.servers ?? []).map((of) => [`server ${of.name}`, of.name, [of.bound, of.ended, of.failed]]),
      ...others ? [["others", "others", [others, "–", "–"]]] : []]);
    this.ended.fill(Object.entries(group.ended).map(([why, times]) => [why, ENDED[why] ?? why, [times]]));
  }
}

/** A group's row in the table above the cards. */
class Row {
  constructor(group) {
    this.group = group;
    this.link = el("a", { href: `#${group.id}` });
    this.mark = el("span", { class: "mark" });
    this.cells = COLUMNS.slice(1).map((column) => el("td", { class: column.minor ? "minor" : "" }));
    this.node = el("tr", {}, el("th", { scope: "row" }, this.mark, this.link), ...this.cells);
  }

  show(group, now, workers) {
    const last = this.group.samples.at(-1);
    const { accepted, refused } = loginsOf(group);
    const fresh = freshOf(group).length;
    const most = group.connections * workers;
    const full = most ? group.bindings.parked / most : 0;
    const bad = fresh + (isRefusing(group) ? 1 : 0);
    this.values = { name: group.name, sessions: group.bindings.parked + group.bindings.busy, full, accepted: last.acceptedRate ?? 0,
      refused: last.refusedRate ?? 0, refusals: refused, lost: group.lost, bad };
    const why = fresh ? plural(fresh, "diagnosis", "diagnoses") : bad ? "logins are refused" : "";
    say(this.link, group.name);
    say(this.mark, bad ? "!" : "");
    this.mark.title = why;
    this.node.className = bad ? "bad" : "";
    const texts = [count(this.values.sessions), percent(full), rate(last.acceptedRate), rate(last.refusedRate), count(refused),
      count(group.lost), why || "–"];
    this.cells.forEach((cell, i) => say(cell, texts[i]));
  }
}

class Diagnosis {
  constructor() {
    [this.what, this.remedy, this.group, this.when] = [el("p", { class: "what" }), el("p"), el("a"), el("span")];
    this.node = el("li", {}, this.what, this.remedy, el("p", { class: "soft" }, "group ", this.group, this.when));
  }

  show(group, name, { text, remedy, count, last_msec }) {
    const age = data.time_msec - last_msec;
    say(this.what, text);
    say(this.remedy, remedy);
    say(this.group, name);
    say(this.when, `, ${times(count)}, ${count > 1 ? "last " : ""}${span(age)} ago`);
    this.group.href = `#${group.id}`;
    this.node.className = age < FRESH ? "fresh" : "";
    return this.node;
  }
}

const keyOf = (name, diagnosis) => JSON.stringify([name, diagnosis.kind]);

/** The sum of groups, in the form of one. */
function sum(groups) {
  const add = (a, b) => {
    if (typeof a === "number") return a + b;
    return Object.fromEntries(Object.entries(a).map(([key, value]) => [key, add(value, b[key] ?? 0)]));
  };
  const numbers = groups.map(({ name, timeout_msec, diagnoses, servers, other_servers_bound, ...rest }) => rest);
  return { ...numbers.reduce(add), name: `All ${groups.length} groups` };
}

// The page.

const groups = new Map();     // by name; the sum is under null
const items = new Map();      // diagnoses by group and kind
let shown = 5;                // how many diagnoses, at most
let data = null;
let news = performance.now(); // when the data last changed
let trouble = "";             // why there is no newer data; "" if there is
let known = null;             // the keys of the diagnoses before

function groupOf(name) {
  if (!groups.has(name)) groups.set(name, new Group());
  return groups.get(name);
}

function take(next) {
  const fresh = !data;
  data = next;
  const all = new Map(next.groups.map((group) => [group.name, group]));
  if (next.groups.length > 1) all.set(null, sum(next.groups));
  for (const name of groups.keys()) if (!all.has(name)) groups.delete(name);
  for (const [name, group] of all) {
    const card = groupOf(name);
    card.remember(group, next.time_msec, next.since_msec);
    card.show(group, next.time_msec, next.workers);
    card.row.show(group, next.time_msec, next.workers);
    card.node.classList.toggle("sum", name === null);
    if (fresh && next.groups.length <= 3 && name !== null) card.details.open = true;
  }
  $("filter").hidden = next.groups.length < 7;
  $("none").hidden = next.groups.length > 0;
  place();
  announce();
  say($("about"), `nginx ${next.nginx}, module ${next.module}, ${plural(next.workers, "worker", "workers")}, counting for ` +
    span(next.time_msec - next.since_msec) + (next.uncounted ? `; ${plural(next.uncounted, "group is", "groups are")} not counted` : ""));
  $("about").title = `since ${new Date(next.since_msec).toLocaleString()}`;
  say($("updated"), `As of ${new Date(next.time_msec).toLocaleTimeString()}.`);
  $("main").removeAttribute("aria-busy");
}

/** What the filter leaves: the sum and the cards, in the order of the configuration; the diagnoses, newest first. */
function place() {
  const wanted = $("filter").hidden ? "" : $("filter").value.trim().toLowerCase();
  const found = data.groups.filter((group) => group.name.toLowerCase().includes(wanted));
  const names = found.map((group) => group.name);
  if (groups.has(null) && !wanted) names.unshift(null);
  arrange($("groups"), names.map((name) => groups.get(name).node));
  $("overview").hidden = data.groups.length < 2;
  const rows = inOrder(found.map((group) => groups.get(group.name).row));
  arrange($("rows"), rows.map((row) => row.node));
  for (const head of $("heads").querySelectorAll("th")) {
    const way = sorted.down ? "descending" : "ascending";
    head.setAttribute("aria-sort", head.dataset.key === sorted.key ? way : "none");
  }

  const all = found.flatMap((group) => group.diagnoses.map((of) => [group.name, of]));
  all.sort(([, a], [, b]) => b.last_msec - a.last_msec);
  arrange($("diagnoses"), all.slice(0, shown).map(([name, of]) => {
    const key = keyOf(name, of);
    if (!items.has(key)) items.set(key, new Diagnosis());
    return items.get(key).show(groups.get(name), name, of);
  }));
  $("trouble").hidden = !all.length;
  $("more").hidden = all.length <= shown;
  say($("more"), `Show ${count(all.length - shown)} more`);
}

function announce() {
  const all = data.groups.flatMap((group) => group.diagnoses.map((of) => [keyOf(group.name, of), group.name, of]));
  const [, name, of] = known && all.find(([key]) => !known.has(key)) || [];
  if (of) say($("said"), `New in group ${name}: ${of.text}. ${of.remedy}`);
  known = new Set(all.map(([key]) => key));
}

/** One line on how things are. */
function verdict() {
  const silent = performance.now() - news;
  if (trouble && !data) return ["stale", `No numbers yet: ${trouble} for ${span(silent)}`];
  if (!data) return ["", "Asking nginx …"];
  if (trouble && silent >= STALE) return ["stale", `Stale: ${trouble} for ${span(silent)}`];
  if (!data.groups.length) return ["warn", "No upstream group has “ntlm”: nothing is bound, and no login can finish."];
  const all = data.groups.flatMap((group) => group.diagnoses);
  const recent = all.filter((diagnosis) => data.time_msec - diagnosis.last_msec < FRESH);
  const v1 = data.groups.reduce((total, group) => total + (group.handshakes.NTLMv1?.accepted ?? 0), 0);
  const refusing = data.groups.filter(isRefusing);
  const refusals = refusing.map((group) => {
    const { accepted, refused } = loginsOf(group);
    return `${group.name}: ${count(refused)} of ${count(accepted + refused)} logins were refused.`;
  });
  const old = [...refusals, ...v1 ? [`NTLMv1 was accepted ${times(v1)}.`] : []].join(" ");
  if (recent.length) {
    const last = Math.max(...recent.map((diagnosis) => diagnosis.last_msec));
    const many = plural(recent.length, "diagnosis", "diagnoses");
    return ["warn", `${many} within the hour, the last ${span(data.time_msec - last)} ago. ${old}`];
  }
  if (old) return ["warn", refusals.length ? old : `Nothing to diagnose, but ${old}`];
  if (all.length) return ["calm", "All is well: nothing to diagnose within the hour."];
  return ["calm", "All is well: nothing to diagnose."];
}

function judge() {
  const [tone, line] = verdict();
  const stale = tone === "stale";
  if (stale !== ($("state").dataset.tone === "stale")) {
    const at = new Date(data ? data.time_msec : Date.now()).toLocaleTimeString();
    say($("said"), stale ? `Stale: ${trouble} since ${at}` : "nginx answers again");
  }
  $("state").dataset.tone = tone;
  say($("line"), line);
  $("main").classList.toggle("stale", stale && data !== null);
  document.title = stale ? "stale – ntlm status" : tone === "warn" ? "attention – ntlm status" : "ntlm status";
}

/** Asks once, and returns why there is nothing new; "" if there is. */
async function ask() {
  let next;
  try {
    // Spelt out, since an address with user:password in it cannot be fetched.
    const answer = await fetch(`${location.origin}${location.pathname}?format=json`,
      { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) return `nginx says ${answer.status}`;
    next = await answer.json();
  } catch (error) {
    return error instanceof SyntaxError ? "the answer is no JSON" : "no answer";
  }
  if (next.version !== 1) return "another version of the module answers (load this page anew)";
  if (next.time_msec === data?.time_msec) return "no new numbers";
  take(next);
  news = performance.now();
  return "";
}

$("heads").append(heads());

let asking = false;

async function turn() {
  if (asking) return;
  asking = true;
  trouble = await ask().catch((error) => `the answer is not understood (${error.message})`);
  asking = false;
  judge();
}

$("filter").addEventListener("input", place);
$("more").addEventListener("click", () => {
  shown = Infinity;
  place();
  $("trouble").focus();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) turn(); });
setInterval(turn, EVERY);
setInterval(judge, 1000);
turn();
