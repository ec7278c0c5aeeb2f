// How the daemon stands: its state in words, its queue, its sources.

import { ago, count, exact, span } from "./format.js";
import { el, pair } from "./dom.js";

const STATES = {
  starting: ["Starting", "busy"],
  running: ["Running", "good"],
  waiting: ["Cannot store results", "bad"],
  stopping: ["Stopping", "busy"],
  stopped: ["Stopped", "bad"],
};

/** The state of the daemon, or that it is not known; connected: whether the daemon is heard. */
export function showState(box, status, connected) {
  const [word, mood] = connected && status ? (STATES[status.state] ?? [status.state, "busy"]) : ["No connection", "bad"];
  if (box.dataset.word === word) return; // said aloud only when it changes
  box.dataset.word = word;
  box.dataset.mood = mood;
  box.replaceChildren(el("i", { class: "dot", "aria-hidden": "true" }), word);
}

/** Age of the newest frame, queue, lag, faults, and what is being worked on. */
export function showVitals(box, status, newest, faults) {
  const waits = status ? `${count(status.queued)} of ${count(status.queue_size)}` : "–";
  box.replaceChildren(
    pair("Newest frame", newest ? ago(newest.processed) : "none yet", { title: newest ? `stored ${exact(newest.processed)}` : "" }),
    pair("Queue", waits, { class: status && status.queued >= status.queue_size && status.queue_size > 0 ? "bad" : "" }),
    pair("Lag", span(status?.lag_s ?? null), { title: "from a finished file to its stored result, last frame" }),
    pair("Faults", el("a", { href: "#faults-title" }, count(faults))),
    status?.in_hand ? pair("Working on", lastPart(status.in_hand), { class: "in-hand", title: status.in_hand }) : "",
  );
}

/** Name and version of the model. */
export function showModel(box, status) {
  const model = status?.model;
  box.textContent = model ? `Model ${model.name} ${model.version}` : "No model loaded";
  box.title = model ? `sha256 ${model.sha256}` : "";
}

/** Each source with what it watches, whether frames can come, and what it counted. */
export function showSources(box, status) {
  const sources = status?.sources ?? [];
  const text = JSON.stringify(sources);
  if (box.dataset.text === text) return; // so that a person can select and copy
  box.dataset.text = text;
  if (sources.length === 0) {
    box.replaceChildren(el("li", { class: "quiet" }, "No source is known yet."));
    return;
  }
  box.replaceChildren(...sources.map(sourceRow));
}

function sourceRow(source) {
  const counters = Object.entries(source.counters).filter(([, value]) => value !== 0);
  return el(
    "li",
    { class: source.ok ? "" : "bad" },
    el(
      "p",
      { class: "source-name" },
      el("i", { class: `dot ${source.ok ? "good" : "bad"}`, "aria-hidden": "true" }),
      el("b", {}, source.name),
      el("span", { class: "source-word" }, source.ok ? "watching" : "not available"),
    ),
    el("p", { class: source.ok ? "quiet" : "" }, source.detail),
    counters.length
      ? el("p", { class: "quiet" }, counters.map(([name, value]) => `${name.replaceAll("_", " ")} ${count(value)}`).join(", "))
      : "",
  );
}

/** What stands in place of the picture while there is none. */
export function showEmpty(box, status) {
  const sources = status?.sources ?? [];
  box.replaceChildren(
    el("p", { class: "empty-title" }, status?.state === "starting" ? "The daemon is starting" : "No frame yet"),
    el("p", {}, sources.length ? "Waiting for the first finished scan from" : "Waiting for the daemon to tell what it watches."),
    el(
      "ul",
      {},
      ...sources.map((source) => el("li", {}, el("b", {}, source.name), el("span", {}, source.ok ? source.detail : `not available: ${source.detail}`))),
    ),
  );
}

/** Problems that a person must see at once. */
export function showBanners(box, { status, link, newer, lost, onRetry, onLive, onSeen }) {
  const banners = [];
  if (link.state === "lost") {
    const since = exact(link.since.toISOString());
    banners.push([
      `Connection to the daemon lost at ${since}. What is shown may be out of date. Trying again by itself.`,
      "Try now",
      onRetry,
    ]);
  }
  if (link.state === "refused") {
    banners.push(["The daemon has a new token. Open the link that it printed when it started.", "Try now", onRetry]);
  }
  if (link.state === "open" && status && ["waiting", "stopping", "stopped"].includes(status.state)) {
    banners.push([`${STATES[status.state][0]}${status.detail ? `: ${status.detail}` : ""}`, null, null]);
  }
  if (newer) banners.push([`A later, longer version of this scan is there: ${newer.name}.`, "Show it", onLive]);
  if (lost) banners.push([lost, "Understood", onSeen]);
  const text = JSON.stringify(banners.map(([words]) => words));
  if (box.dataset.text === text) return; // an alert is read aloud each time it changes
  box.dataset.text = text;
  box.replaceChildren(
    ...banners.map(([words, label, action]) =>
      el("p", { class: "banner" }, words, label ? el("button", { type: "button", click: action }, label) : ""),
    ),
  );
}

const lastPart = (path) => path.split(/[\\/]/).pop();
