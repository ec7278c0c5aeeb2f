// The page as a whole: what is shown, what follows what, which key does what.

import { readFrame, readFrames, readTotals } from "./api.js";
import { classColour } from "./colours.js";
import { Connection } from "./connection.js";
import { moleculeFacts, showCounts, showFacts, spoken } from "./counts.js";
import { byId, el } from "./dom.js";
import { Faults } from "./faults.js";
import { count, place, plural } from "./format.js";
import { FrameList } from "./frames.js";
import { History } from "./history.js";
import { Picture } from "./picture.js";
import { showBanners, showEmpty, showModel, showSources, showState, showVitals } from "./status.js";
import { Trend } from "./trend.js";

const PAGE = 60; // as many as a snapshot brings

const list = new FrameList();
const view = { following: true, shown: null, unseen: 0, newer: null, hidden: new Set(), outlines: true, heat: false };
const link = { state: "opening", since: null };
const daemon = { status: null, totals: null, page: null };

const history = new History({ box: byId("history"), list, onPick: pick, onWanted: loadOlder });
const trend = new Trend({ box: byId("trend"), list, onPick: pick });
const faults = new Faults({ box: byId("faults"), total: byId("faults-total") });
const picture = new Picture({ below: byId("picture"), above: byId("overlay"), box: byId("canvas-box"), onPoint: showPoint });
const connection = new Connection({ onMessage: receive, onChange: linkChanged });

// -- what the daemon says ---------------------------------------------------------------------------------------------

function receive(message) {
  const take = { snapshot: takeSnapshot, frame: takeFrame, fault: takeFault, status: takeStatus };
  if (message.type === "overtaken") connection.now(); // messages were missed: begin anew with a snapshot
  else take[message.type]?.(message);
}

function takeSnapshot(snapshot) {
  if (daemon.page !== null && daemon.page !== snapshot.page) {
    location.reload(); // the daemon was upgraded
    return;
  }
  daemon.page = snapshot.page;
  daemon.totals = snapshot.totals;
  const newestBefore = list.newest?.id ?? 0;
  const same = list.resync(snapshot.frames, PAGE) || list.indexOf(view.shown?.id) >= 0;
  // First, so that the picture is asked for before the many thumbnails are.
  if (view.following || !same) follow(snapshot.latest);
  else view.unseen += snapshot.frames.filter((frame) => frame.id > newestBefore).length;
  faults.resync(snapshot.faults, snapshot.totals.faults);
  daemon.status = snapshot.status;
  listChanged();
  history.more();
}

function takeFrame(frame) {
  if (list.indexOf(frame.id) >= 0) return; // it was in the snapshot
  list.add(frame);
  if (daemon.totals) {
    daemon.totals.frames += 1 - frame.supersedes.length;
    daemon.totals.molecules += frame.total;
  }
  if (view.following) follow(frame);
  else {
    view.unseen += 1;
    if (frame.supersedes.includes(view.shown?.id)) view.newer = frame;
  }
  listChanged();
}

function takeFault(fault) {
  faults.add(fault);
}

function takeStatus(status) {
  daemon.status = status;
  statusChanged();
}

function linkChanged(state) {
  if (state === "lost" && link.state !== "lost") link.since = new Date();
  link.state = state;
  document.body.dataset.link = state;
  statusChanged();
}

// -- which frame is shown ---------------------------------------------------------------------------------------------

/** Follow the newest frame, given in full. */
function follow(latest) {
  Object.assign(view, { following: true, unseen: 0, newer: null });
  return show(latest);
}

/** Go back to the newest frame. */
async function goLive() {
  view.following = true;
  const newest = list.newest;
  await (newest === null ? show(null) : showById(newest.id));
  if (view.following) Object.assign(view, { unseen: 0, newer: null });
  viewChanged();
  history.reveal();
}

/** Show the frame that a person chose; choosing the newest is following. */
async function pick(id) {
  if (id === list.newest?.id) {
    await goLive();
    return;
  }
  Object.assign(view, { following: false, newer: null });
  await showById(id);
  viewChanged();
  history.reveal();
}

let request = 0;

async function showById(id) {
  if (picture.wanted?.id === id) return;
  const mine = ++request;
  try {
    const frame = await readFrame(id);
    if (mine === request) await show(frame);
  } catch (error) {
    byId("cursor").textContent = `Frame ${id} could not be loaded: ${error.message}`;
  }
}

async function show(frame) {
  request += 1;
  if (frame !== null && picture.wanted?.id === frame.id && picture.wanted.sha256 === frame.sha256) return;
  if (!(await picture.show(frame))) return; // overtaken by another while its picture was loading
  view.shown = frame;
  showTip(null);
  byId("stage-title").textContent = frame ? frame.name : "No frame yet";
  byId("stage-title").title = frame ? frame.source : "";
  showFacts(byId("facts"), frame);
  byId("warnings").replaceChildren(...(frame?.warnings ?? []).map((warning) => el("li", {}, warning)));
  byId("overlay").setAttribute("aria-label", frame ? `Scan ${spoken(frame)}` : "No scan yet");
  document.title = frame ? `${plural(frame.total, "molecule")}, ${frame.name} – spm-live` : "spm-live";
  byId("said").textContent = frame ? spoken(frame) : "";
  viewChanged();
  if (frame) performance.mark("frame-shown"); // for scripts/viewer_timing.py
}

/** Go by one frame: +1 to older, -1 to newer. */
async function step(by) {
  const at = list.indexOf(view.shown?.id);
  if (at < 0) return;
  if (at + by >= list.all.length && !list.complete) await loadOlder();
  const next = list.all[at + by];
  if (next) await pick(next.id);
}

let loading = null;

/** Load one more page of older frames; one at a time. */
function loadOlder() {
  loading ??= (async () => {
    const oldest = list.oldest?.id;
    try {
      const frames = await readFrames(PAGE, oldest);
      if (list.oldest?.id === oldest) list.extend(frames, PAGE); // else a snapshot began the list anew
      listChanged();
      requestAnimationFrame(() => history.more());
    } catch {
      history.failed(); // the next scroll or snapshot tries again
    } finally {
      loading = null;
    }
  })();
  return loading;
}

// -- drawing ----------------------------------------------------------------------------------------------------------

function listChanged() {
  // The newest model's classes come first, found or not, so that a class has one colour whatever is in the frame.
  for (const frame of list.all) Object.keys(frame.counts).forEach(classColour);
  history.update(view.following);
  byId("history-total").textContent = daemon.totals ? count(daemon.totals.frames) : "";
  viewChanged();
}

function viewChanged() {
  const { shown, hidden } = view;
  byId("empty").hidden = shown !== null;
  document.body.dataset.shown = shown?.id ?? "";
  showCounts(byId("counts"), shown, hidden, toggleClass);
  history.mark(shown?.id ?? null);
  trend.update({ hidden, shown: shown?.id ?? null });
  const live = byId("live");
  live.setAttribute("aria-pressed", String(view.following));
  live.textContent = view.following ? "Live" : view.unseen ? `Back to live, ${count(view.unseen)} new` : "Back to live";
  statusChanged();
}

function statusChanged() {
  const { status } = daemon;
  const connected = link.state === "open";
  if (link.state !== "opening") showState(byId("state"), status, connected);
  showVitals(byId("vitals"), status, list.newest, faults.number);
  showModel(byId("model"), status);
  showSources(byId("sources"), status);
  if (view.shown === null) showEmpty(byId("empty"), status);
  showBanners(byId("banners"), { status, link, newer: view.newer, onRetry: () => connection.now(), onLive: () => pick(view.newer.id) });
}

function toggleClass(label, on) {
  view.hidden[on ? "delete" : "add"](label);
  picture.set({ hidden: view.hidden });
  trend.update({ hidden: view.hidden, shown: view.shown?.id ?? null });
}

function toggle(name) {
  view[name] = !view[name];
  picture.set({ [name]: view[name] });
  byId(name === "heat" ? "colours" : name).setAttribute("aria-pressed", String(view[name]));
}

function toggleFullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else document.documentElement.requestFullscreen();
}

// -- one molecule -----------------------------------------------------------------------------------------------------

function showPoint(point) {
  byId("cursor").textContent = point ? `x ${place(point.nm[0])}, y ${place(point.nm[1])} nm` : "";
  showTip(point?.molecule ?? null, point?.screen);
}

function showTip(molecule, screen) {
  const tip = byId("tip");
  tip.hidden = molecule === null;
  if (molecule === null) return;
  tip.replaceChildren(...moleculeFacts(molecule));
  const box = byId("canvas-box");
  const [width, height] = [tip.offsetWidth, tip.offsetHeight];
  const left = screen[0] + 18 + width > box.clientWidth ? screen[0] - 18 - width : screen[0] + 18;
  tip.style.left = `${Math.max(0, left)}px`;
  tip.style.top = `${Math.max(0, Math.min(screen[1] + 14, box.clientHeight - height))}px`;
}

/** Go through the molecules by keyboard, in falling score. */
function stepMolecule(by) {
  const molecules = view.shown?.molecules ?? [];
  const visible = [...molecules.keys()].filter((index) => picture.isVisible(molecules[index]));
  if (visible.length === 0) return;
  const at = visible.indexOf(picture.marked);
  const next = visible[at < 0 ? (by > 0 ? 0 : visible.length - 1) : (at + by + visible.length) % visible.length];
  picture.mark(next);
  showTip(molecules[next], picture.centreOf(molecules[next]));
  byId("said").textContent = byId("tip").innerText.replaceAll("\n", ", ");
}

// -- keys and buttons -------------------------------------------------------------------------------------------------

const KEYS = {
  ArrowLeft: () => step(1),
  ArrowRight: () => step(-1),
  l: goLive,
  o: () => toggle("outlines"),
  c: () => toggle("heat"),
  f: toggleFullScreen,
  "[": () => stepMolecule(-1),
  "]": () => stepMolecule(1),
  Escape: () => picture.leave(),
};

addEventListener("keydown", (event) => {
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  action();
});
byId("live").addEventListener("click", goLive);
byId("outlines").addEventListener("click", () => toggle("outlines"));
byId("colours").addEventListener("click", () => toggle("heat"));
byId("fullscreen").addEventListener("click", toggleFullScreen);
byId("fullscreen").hidden = !document.fullscreenEnabled;

setInterval(statusChanged, 1000); // ages and the seconds to the next attempt
setInterval(async () => {
  if (link.state !== "open") return;
  daemon.totals = await readTotals().catch(() => daemon.totals);
  byId("history-total").textContent = daemon.totals ? count(daemon.totals.frames) : "";
}, 60_000);

show(null);
connection.now();
