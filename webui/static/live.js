// The live part of a page: told when what it shows has changed, it is fetched again and worked into the page, so that what is
// selected, focused, opened or scrolled stays as it is. Text of the server is only ever HTML that the server escaped.

import { Hub } from "./stream.js";

export const FRAGMENT = { headers: { "windlass-fragment": "1" } };
const REFRESH_PAUSE_MS = 300;
const ALIVE_MS = 30000;
// A hint that was lost costs so much time at most.
const LOOK_ANYWAY_MS = 60000;

const live = document.getElementById("live");
const csrf = document.querySelector("meta[name=csrf]")?.content ?? "";
const listeners = [];

// ---- the stream ----------------------------------------------------------------------------------------------------

/** What this tab shows: a log adds itself. */
export const shown = { on: live?.dataset.on ? live.dataset.on.split(" ") : [], seen: live?.dataset.seen ?? "", logs: {} };
let spread = 0;
let send = null;

/** Takes what the stream says to this tab; `take` may be called with what is for logs. */
export function onStream(take) { listeners.push(take); }

/** Says what this tab shows; nothing while it is hidden. */
export function tellShown() {
  const { on, seen, logs } = shown;
  if (!on.length && !Object.keys(logs).length && !send) return;
  send ??= connect();
  send(document.hidden ? { kind: "shows", on: [], seen: "", logs: {} } : { kind: "shows", on, seen, logs });
}

/** The worker that all tabs share, or a stream of this tab's own. */
function connect() {
  const own = () => {
    const hub = new Hub();
    return (message) => {
      if (message.kind === "shows") hub.shows(take, message);
      else if (message.kind === "leaves") hub.leaves(take);
      else hub.lives(take);
    };
  };
  if (!window.SharedWorker) return own();
  try {
    const worker = new SharedWorker("/static/stream.js", { type: "module", name: "windlass" });
    worker.port.addEventListener("message", ({ data }) => take(data));
    worker.addEventListener("error", () => { send = own(); tellShown(); });
    worker.port.start();
    return (message) => worker.port.postMessage(message);
  } catch {
    return own();
  }
}

function take(message) {
  if (message.kind === "open") spread = message.spread;
  if (message.kind === "lost") tellShown();
  if (message.kind === "changed") {
    shown.seen = message.at;
    // Many tabs of many people were told the same: they do not all ask at once.
    setTimeout(refresh, Math.random() * spread);
  }
  for (const listener of listeners) listener(message);
}

document.addEventListener("visibilitychange", tellShown);
addEventListener("pagehide", () => send?.({ kind: "leaves" }));
addEventListener("pageshow", ({ persisted }) => { if (persisted) tellShown(); });
setInterval(() => { if (!document.hidden) send?.({ kind: "lives" }); }, ALIVE_MS);
if (shown.on.length) tellShown();

// ---- fetching ------------------------------------------------------------------------------------------------------

let refreshing = false;
let again = false;
let tag = "";

/** Fetches the live part again and works it in; a call while one is under way is repeated once after it. */
export async function refresh(how) {
  if (!live || document.hidden) return;
  if (how?.anew) tag = "";
  if (refreshing) { again = true; return; }
  refreshing = true;
  try {
    const headers = { ...FRAGMENT.headers, ...(tag && { "if-none-match": tag }) };
    const answer = await fetch(location.href, { headers, cache: "no-store" });
    if (answer.redirected) { location.reload(); return; }
    shown.seen = answer.headers.get("windlass-seen") ?? shown.seen;
    if (answer.ok) {
      tag = answer.headers.get("etag") ?? "";
      swap(await answer.text());
    }
  } catch {
    // The server is away: the old content stays, and the event stream tells when it is back.
  }
  setTimeout(() => { refreshing = false; if (again) { again = false; refresh(); } }, REFRESH_PAUSE_MS);
}

if (live?.dataset.every) setInterval(refresh, Number(live.dataset.every));
if (live?.dataset.on) setInterval(refresh, LOOK_ANYWAY_MS);

// ---- working in ----------------------------------------------------------------------------------------------------

const swapped = [];

/** Calls this after new content; it is told whether another log belongs to the page now. */
export function whenSwapped(call) { swapped.push(call); }

function swap(html) {
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  // What is rendered for many has no session of its own.
  for (const input of fresh.content.querySelectorAll("input[name=csrf]")) input.setAttribute("value", csrf);
  const log = live.querySelector("[data-log]")?.dataset.log;
  become(live, fresh.content);
  const hasOtherLog = log !== live.querySelector("[data-log]")?.dataset.log;
  for (const call of swapped) call(hasOtherLog);
}

/** What tells an element from its neighbours: a row is that of its first link. */
function key(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return null;
  if (node.id) return node.id;
  return node.hasAttribute("data-row") ? (node.querySelector("a")?.getAttribute("href") ?? null) : null;
}

/** Makes the children of one node those of another, and keeps every node that can stay. */
function become(parent, fresh) {
  const known = new Map();
  for (const child of parent.childNodes) { const name = key(child); if (name !== null) known.set(name, child); }
  let at = parent.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const name = key(wanted);
    let match = name === null ? null : known.get(name);
    if (name === null) {
      // Nodes without a name follow each other as they did.
      if (at && key(at) === null && at.nodeName === wanted.nodeName) match = at;
    } else if (match?.nodeName !== wanted.nodeName) {
      match = null;
    }
    if (!match) {
      parent.insertBefore(document.importNode(wanted, true), at);
      continue;
    }
    if (name !== null) known.delete(name);
    if (match === at) at = at.nextSibling;
    else parent.insertBefore(match, at);
    becomeOne(match, wanted);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function becomeOne(node, wanted) {
  if (node.nodeType !== Node.ELEMENT_NODE) {
    if (node.data !== wanted.data) node.data = wanted.data;
    return;
  }
  for (const { name } of [...node.attributes]) {
    // What somebody has opened stays open.
    if (!wanted.hasAttribute(name) && !(name === "open" && node.nodeName === "DETAILS")) node.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (name === "open" && node.nodeName === "DETAILS") continue;
    if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  }
  become(node, wanted);
}
