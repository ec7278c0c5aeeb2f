// The page as a whole: what is shown, what follows what, which key does what.

import { readFrame, readFrames, readTotals } from "./api.js";
import { classColour } from "./colours.js";
import { Connection } from "./connection.js";
import { showCounts, showFacts, spoken } from "./counts.js";
import { byId, el } from "./dom.js";
import { Faults } from "./faults.js";
import { count, plural } from "./format.js";
import { FrameList } from "./frames.js";
import { Growing } from "./growing.js";
import { History } from "./history.js";
import { showLegend } from "./legend.js";
import { LiveScans } from "./live.js";
import { Movement } from "./movement.js";
import { Notices } from "./notices.js";
import { Picture } from "./picture.js";
import { Progress } from "./progress.js";
import { showQuality, verdictWord } from "./quality.js";
import { showBanners, showEmpty, showModel, showSources, showState, showVitals } from "./status.js";
import { showPoint, showTip, stepMolecule } from "./tip.js";
import { Trend } from "./trend.js";

const PAGE = 60; // as many as a snapshot brings

const list = new FrameList();
const live = new LiveScans();
const view = {
  following: true, shown: null, asked: null, unseen: 0, newer: null, lost: null, hidden: new Set(),
  outlines: true, heat: false,
};
const link = { state: "opening", since: null };
const daemon = { status: null, totals: null, page: null, run: null };

const history = new History({ box: byId("history"), list, onPick: pick, onWanted: loadOlder });
const trend = new Trend({ box: byId("trend"), list, onPick: pick });
const faults = new Faults({ box: byId("faults"), total: byId("faults-total") });
const picture = new Picture({ below: byId("picture"), above: byId("overlay"), box: byId("canvas-box"), onPoint: showPoint });
const growing = new Growing({ live, list, view, show, showById });
const movement = new Movement({
  section: byId("movement-section"), box: byId("movement-panel"), button: byId("movement"), picture, onChange: legendChanged,
});
const progress = new Progress({ box: byId("progress"), onFollow: followScan });
const notices = new Notices({
  section: byId("notices-section"), box: byId("notices"), total: byId("notices-total"), banner: byId("notice"), onFrame: pick,
});
const connection = new Connection({ onMessage: receive, onChange: linkChanged });

// -- what the daemon says ---------------------------------------------------------------------------------------------

function receive(message) {
  const take = {
    snapshot: takeSnapshot, frame: takeFrame, fault: takeFault, status: takeStatus,
    live: takeLive, notice: (notice) => notices.add(notice), links: takeLinks,
  };
  if (message.type === "overtaken") connection.now(); // messages were missed: begin anew with a snapshot
  else take[message.type]?.(message);
}

function takeSnapshot(snapshot) {
  if (daemon.page !== null && daemon.page !== snapshot.page) {
    location.reload(); // the daemon was upgraded
    return;
  }
  const restarted = daemon.run !== null && daemon.run !== snapshot.run;
  Object.assign(daemon, { page: snapshot.page, run: snapshot.run, totals: snapshot.totals });
  live.resync(snapshot.live, restarted);
  const newestBefore = list.newest?.id ?? 0;
  const same = list.resync(snapshot.frames, PAGE) || list.indexOf(view.shown?.id) >= 0;
  noteLost(snapshot.frames, restarted);
  // First, so that the picture is asked for before the many thumbnails are.
  if (!view.following && same) view.unseen += snapshot.frames.filter((frame) => frame.id > newestBefore).length;
  else if (growing.isPossible) growing.grow();
  else follow(snapshot.latest);
  faults.resync(snapshot.faults, snapshot.totals.faults);
  notices.resync(snapshot.notices);
  daemon.status = snapshot.status;
  listChanged();
  history.more();
}

function takeFrame(frame) {
  if (list.indexOf(frame.id) >= 0) return; // it was in the snapshot
  list.add(frame);
  growing.latest = frame;
  if (daemon.totals) {
    daemon.totals.frames += 1 - frame.supersedes.length;
    daemon.totals.molecules += frame.total;
  }
  if (!view.following) {
    view.unseen += 1;
    if (frame.supersedes.includes(view.shown?.id)) view.newer = frame;
  } else if (!growing.holdsOff(frame)) follow(frame);
  listChanged();
}

function takeLive(scan) {
  if (!live.take(scan)) return;
  noteQuality(scan);
  growing.news();
  viewChanged();
}

/** The frame that a scan became was told before it was known how good the scan looked. */
function noteQuality(scan) {
  const frame = list.all[list.indexOf(scan.frame_id)];
  if (!frame || frame.quality || !scan.quality) return;
  frame.quality = scan.quality;
  listChanged();
}

function takeLinks(links) {
  if (links.frame === view.shown?.id) movement.load(view.shown);
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

/** A person chose one of the scans in progress. */
async function followScan(key) {
  Object.assign(view, { following: true, unseen: 0, newer: null });
  await growing.choose(key);
  viewChanged();
}

/** A scan that was on the canvas is not told of any more: say so, unless its file is there. */
function noteLost(frames, restarted) {
  const { shown } = view;
  if (!shown?.live || live.all.has(shown.key) || frames.some((frame) => frame.name === shown.name)) return;
  view.lost = `The daemon does not tell of the scan ${shown.name} any more${restarted ? ": it was started anew" : ""}.`;
}

/** Go back to what is newest: a scan in progress, or the newest frame. */
async function goLive() {
  view.following = true;
  live.goOn();
  const newest = list.newest;
  if (growing.isPossible) await growing.grow();
  else await (newest === null ? show(null) : showById(newest.id));
  if (view.following) Object.assign(view, { unseen: 0, newer: null });
  viewChanged();
  history.reveal();
}

/** Show the frame that a person chose; choosing the newest is following, unless a scan is in progress. */
async function pick(id) {
  if (id === list.newest?.id && !growing.isPossible) {
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
  view.asked = id;
  try {
    const frame = await readFrame(id);
    if (mine === request) await show(frame);
  } catch (error) {
    byId("cursor").textContent = `Frame ${id} could not be loaded: ${error.message}`;
  } finally {
    if (view.asked === id) view.asked = null;
  }
}

async function show(frame, address) {
  request += 1;
  const same = frame !== null && !frame.live && picture.wanted?.id === frame.id && picture.wanted.sha256 === frame.sha256;
  if (same) return;
  Object.keys(frame?.counts ?? {}).forEach(classColour); // in their order, before the outlines ask in theirs
  if (!(await picture.show(frame, address))) return; // overtaken by another while its picture was loading
  const grown = frame?.live && view.shown?.key === frame.key;
  view.shown = frame;
  if (!grown) showTip(null);
  const scanning = frame?.live && frame.state === "scanning" ? "Scanning " : "";
  byId("stage-title").textContent = frame ? scanning + frame.name : "No frame yet";
  byId("stage-title").title = frame ? frame.source : "";
  showFacts(byId("facts"), frame);
  byId("warnings").replaceChildren(...(frame?.warnings ?? []).map((warning) => el("li", {}, warning)));
  byId("overlay").setAttribute("aria-label", frame ? `Scan ${frame.live ? "in progress " : ""}${spoken(frame)}` : "No scan yet");
  const part = frame?.live ? `${Math.floor((100 * frame.lines_done) / frame.rows)} %, ` : "";
  document.title = frame ? `${part}${plural(frame.total, "molecule")}, ${frame.name} – spm-live` : "spm-live";
  say(frame);
  viewChanged();
  movement.load(frame);
  if (frame && !frame.live) performance.mark("frame-shown"); // for scripts/viewer_timing.py
}

/** For those who listen: each finished frame, and a growing one at every quarter and when its quality changes. */
function say(frame) {
  const quarter = frame?.live ? Math.floor((4 * frame.lines_done) / frame.rows) : "";
  const quality = frame?.live && frame.quality ? `Scan quality: ${verdictWord(frame.quality)}.` : "";
  const step = frame ? [frame.key ?? frame.id, quarter, quality].join() : "";
  const box = byId("said");
  if (step !== "" && box.dataset.step === step) return;
  box.dataset.step = step;
  box.textContent = frame ? `${frame.live ? `${quarter * 25} % scanned. ` : ""}${spoken(frame)} ${quality}`.trim() : "";
}

/** Go by one frame: +1 to older, -1 to newer; what is newer than the newest frame is the scan in progress. */
async function step(by) {
  if (view.shown?.live && view.asked === null) {
    if (by > 0 && list.newest !== null) await pick(list.newest.id);
    return;
  }
  const at = list.indexOf(view.asked ?? view.shown?.id); // a second key may come before the first frame is there
  if (at < 0) return;
  if (at + by >= list.all.length && !list.complete) await loadOlder();
  const next = list.all[at + by];
  if (next) await pick(next.id);
  else if (at + by < 0) await goLive();
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
  qualityChanged();
  legendChanged();
  history.mark(shown?.id ?? null);
  trend.update({ hidden, shown: shown?.id ?? null });
  progressChanged();
  statusChanged();
}

/** What is known of the scan that a finished frame came of stands beside that frame too. */
function qualityChanged() {
  const { shown } = view;
  if (shown !== null && !shown.live && !shown.quality) {
    shown.quality = live.of(shown)?.quality ?? null;
    if (shown.quality?.tip_changes.length) picture.draw();
  }
  showQuality(byId("quality-section"), byId("quality"), shown?.quality ?? null, shown?.unit);
}

function legendChanged() {
  showLegend(byId("legend"), view.shown, movement.drawn);
  byId("keys").hidden = !byId("legend").hidden;
}

function progressChanged() {
  const { shown } = view;
  progress.update(live, shown === null ? null : (shown.live ? shown.key : live.of(shown)?.key) ?? null);
  const button = byId("live");
  button.setAttribute("aria-pressed", String(view.following));
  const text = view.following ? "Live" : view.unseen ? `Back to live, ${count(view.unseen)} new` : "Back to live";
  if (button.textContent !== text) button.textContent = text;
}

function statusChanged() {
  const { status } = daemon;
  const connected = link.state === "open";
  if (link.state !== "opening") showState(byId("state"), status, connected);
  showVitals(byId("vitals"), status, list.newest, faults.number);
  showModel(byId("model"), status);
  showSources(byId("sources"), status);
  if (view.shown === null) showEmpty(byId("empty"), status);
  const actions = { onRetry: () => connection.now(), onLive: () => pick(view.newer.id), onSeen: () => { view.lost = null; statusChanged(); } };
  showBanners(byId("banners"), { status, link, newer: view.newer, lost: view.lost, ...actions });
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

// -- keys and buttons -------------------------------------------------------------------------------------------------

const KEYS = {
  ArrowLeft: () => step(1),
  ArrowRight: () => step(-1),
  l: goLive,
  o: () => toggle("outlines"),
  c: () => toggle("heat"),
  f: toggleFullScreen,
  m: () => byId("movement").click(),
  "[": () => stepMolecule(picture, view.shown?.molecules ?? [], -1),
  "]": () => stepMolecule(picture, view.shown?.molecules ?? [], 1),
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

setInterval(() => {
  statusChanged();
  progressChanged();
}, 1000); // ages and the seconds to the next attempt
setInterval(async () => {
  if (link.state !== "open") return;
  daemon.totals = await readTotals().catch(() => daemon.totals);
  byId("history-total").textContent = daemon.totals ? count(daemon.totals.frames) : "";
}, 60_000);

show(null);
connection.now();
