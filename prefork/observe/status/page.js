// The page of the status server: it fetches the status each second and shows it. Everything that
// comes from the app, such as its log, is inserted as text, never as markup.

import {Chart} from "./charts.js";

const STATUS_INTERVAL = 1000, DETAILS_INTERVAL = 3000, TIMEOUT = 5000; // Milliseconds.
const MAX_SAMPLES = 600;
const find = id => document.getElementById(id);

let token = sessionStorage.getItem("token") || "";
let samples = [];
let last = null; // The status that was shown last.

// Formatting numbers.

const UNKNOWN = "–"; // What no process counts is no 0.
const round = (number, digits) => number.toLocaleString("en", {maximumFractionDigits: digits});
const count = number => number === null ? UNKNOWN : round(number, number < 10 ? 1 : 0);
const seconds = number =>
  number === null ? UNKNOWN : number === 0 ? "0" : number < 0.001 ? `${round(number * 1e6, 0)} µs`
  : number < 1 ? `${round(number * 1000, number < 0.01 ? 1 : 0)} ms` : `${round(number, 1)} s`;
const bytes = number => {
  if (number === null) return UNKNOWN;
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  while (number >= 1024 && unit < 4) { number /= 1024; unit += 1; }
  return `${round(number, number < 10 ? 1 : 0)} ${units[unit]}`;
};
const age = number => {
  const parts = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];
  const found = parts.find(([size]) => number >= size) || [1, "s"];
  return `${Math.max(0, Math.floor(number / found[0]))} ${found[1]}`;
};

const most = shares => {
  const known = shares.filter(share => share !== null);
  return known.length || !shares.length ? Math.max(0, ...known) : null;
};

const charts = [
  ["Requests/s", [s => s.rate], count],
  ["Latency", [s => s.p50, s => s.p99], seconds, {names: ["p50", "p99"]}],
  ["In flight", [s => s.in_flight], count, {steps: "whole"}],
  ["Busy", [s => most(Object.values(s.slots).map(slot => slot.busy))],
    share => `${round(share * 100, 0)} %`, {names: ["most"], steps: "share"}],
  ["Memory", [s => s.memory], bytes, {steps: "bytes"}],
  ["Restarts", [s => s.restarts], count, {steps: "whole"}],
].map(([title, lines, show, more]) => new Chart(find("charts"), title, lines, show, more));

// Requests.

async function ask(path, options = {}) {
  const headers = {...options.headers};
  if (token) headers.Authorization = `Bearer ${token}`;
  const signal = options.signal || AbortSignal.timeout(TIMEOUT);
  const answer = await fetch(path, {...options, headers, signal, cache: "no-store"});
  const told = await answer.text();
  if (answer.headers.get("Content-Type") === "application/json")
    return {status: answer.status, ...JSON.parse(told)};
  return {status: answer.status, error: told.trim()};
}

async function post(path, body) {
  return ask(path, {
    method: "POST", body: JSON.stringify(body), signal: AbortSignal.timeout(60000),
    headers: {"Content-Type": "application/json"},
  });
}

// Rendering.

const formats = {"": count, "s": seconds, "1/s": count, "bytes": bytes}; // By unit.

function load(share) {
  if (share === null) return UNKNOWN;
  const meter = document.createElement("meter");
  meter.max = 1;
  meter.high = 0.9;
  meter.optimum = 0;
  meter.value = share;
  meter.title = meter.textContent = `${round(share * 100, 0)} % busy`;
  return meter;
}

function state(worker) {
  const word = document.createElement("span");
  word.className = `state-${worker.state}`;
  word.textContent = worker.state;
  return word;
}

function busyShare(worker) {
  const sample = samples.at(-1)?.slots[worker.slot];
  if (worker.silent === null) return null;
  return worker.silent > 2 && worker.in_flight ? 1 : sample ? sample.busy : 0;
}

// The columns of the table of workers: title, and the content of a worker's cell. Those of the
// figures are declared in wire/fields.py.
const columns = status => [
  ["Slot", worker => `${worker.slot}`],
  ["State", state],
  ["Load", worker => load(busyShare(worker))],
  ...status.columns.map(({key, title, unit}) => [title, worker => formats[unit](worker[key])]),
  ["Memory", worker => bytes(worker.memory)],
  ["Gen", worker => `${worker.generation}`],
  ["Pid", worker => `${worker.pid}`],
  ["Age", worker => age(status.at - worker.born)],
];

function row(kind, labels, contents) {
  const element = document.createElement("tr");
  element.append(...contents.map((content, index) => {
    const cell = document.createElement(kind);
    cell.dataset.label = labels[index];
    cell.append(content);
    return cell;
  }));
  return element;
}

function showWorkers(status) {
  const shown = columns(status), titles = shown.map(([title]) => title);
  find("slots").tHead.replaceChildren(row("th", titles, titles));
  find("slots").tBodies[0].replaceChildren(...status.workers.map(
    worker => row("td", titles, shown.map(([, content]) => content(worker)))));
}

function show(status) {
  document.title = `${status.app}: ${status.verdict.text}`;
  find("app").textContent = status.app;
  find("state").textContent = status.state === "frozen" ? "reload failed" : status.state;
  find("state").className = `badge ${status.state}`;
  find("verdict").textContent = status.verdict.text;
  find("about").textContent = `generation ${status.generation} · up ${age(status.at - status.began)}`
    + ` · pid ${status.pid} · prefork ${status.version}`;
  find("target").textContent = status.target;
  find("actions").hidden = status.token === "none";
  find("unlock").hidden = status.token !== "asked";
  find("unlocked").hidden = status.token !== "known";
  showWorkers(status);
  for (const chart of charts) chart.draw(samples, status.at);
}

function time(text) {
  const element = document.createElement("time");
  element.textContent = `${text} `;
  return element;
}

function showDeaths(told) {
  const deaths = [...told.deaths ?? []].reverse();
  find("no-deaths").textContent = told.error ?? told.missing ?? "none so far";
  find("no-deaths").hidden = deaths.length > 0;
  find("deaths").replaceChildren(...deaths.map(death => {
    const item = document.createElement("li"), cause = document.createElement("b");
    cause.textContent = death.cause;
    const when = new Date(death.at * 1000).toLocaleTimeString();
    const who = `worker ${death.slot} (pid ${death.pid}, gen ${death.generation}): `;
    item.append(time(when), who, cause, ` (${death.detail})`);
    if (death.reason) {
      const words = document.createElement("pre");
      words.textContent = death.reason;
      item.append(words);
    }
    return item;
  }));
}

function showLog(told) {
  const records = told.records ?? [], log = find("log");
  find("no-log").textContent = told.error ?? told.missing ?? "nothing so far";
  find("no-log").hidden = records.length > 0;
  const follows = log.scrollTop + log.clientHeight >= log.scrollHeight - 30;
  log.replaceChildren(...records.map(record => {
    const line = document.createElement("p");
    const who = record.slot === null ? "" : `${record.slot} `;
    line.className = record.stream;
    line.append(time(record.time), who + record.text);
    return line;
  }));
  if (follows) log.scrollTop = log.scrollHeight;
}

// Updates.

async function updateStatus() {
  try {
    const since = samples.at(-1)?.at ?? 0;
    const status = await ask(`status.json?since=${since}`);
    if (status.status !== 200) throw new Error(status.error);
    if (last && last.began !== status.began) samples = [];
    samples = [...samples, ...status.history.filter(s => s.at > since)].slice(-MAX_SAMPLES);
    last = status;
    show(status);
    find("link").textContent = "";
  } catch (error) {
    find("link").textContent = `no answer: ${error.message}`;
  }
}

async function updateDetails() {
  for (const [path, showIt] of [["deaths.json", showDeaths], ["log.json", showLog]]) {
    try {
      showIt(await ask(path));
    } catch {
      // updateStatus shows that there is no answer.
    }
  }
}

async function repeat(work, pause) {
  for (;;) {
    if (!document.hidden) await work();
    await new Promise(done => setTimeout(done, pause));
  }
}

// Actions.

async function act(path, body, doing) {
  const outcome = find("outcome"), buttons = document.querySelectorAll("#unlocked button");
  outcome.className = "";
  outcome.textContent = doing;
  for (const button of buttons) button.disabled = true;
  try {
    const told = await post(path, body);
    outcome.className = told.error ? "failed" : "";
    outcome.textContent = told.error ?? (told.goes_on ? `${doing} It continues in the background.` : "Done.");
  } catch (error) {
    outcome.className = "failed";
    outcome.textContent = `no answer: ${error.message}`;
  }
  for (const button of buttons) button.disabled = false;
}

function storeToken(value) {
  token = value;
  if (value) sessionStorage.setItem("token", value);
  else sessionStorage.removeItem("token");
}

find("unlock").addEventListener("submit", async event => {
  event.preventDefault();
  storeToken(find("token").value.trim());
  find("token").value = "";
  await updateStatus();
  const known = last?.token === "known";
  find("outcome").className = known ? "" : "failed";
  find("outcome").textContent = known ? "" : "The token is wrong.";
  if (!known) storeToken("");
  await updateDetails();
});
find("lock").addEventListener("click", () => { storeToken(""); updateStatus(); updateDetails(); });
find("reload").addEventListener("click", () => act("reload", {}, "Reloading."));
find("more").addEventListener("click", () => act("scale", {workers: "+1"}, "Scaling."));
find("fewer").addEventListener("click", () => act("scale", {workers: "-1"}, "Scaling."));

repeat(updateStatus, STATUS_INTERVAL);
repeat(updateDetails, DETAILS_INTERVAL);
