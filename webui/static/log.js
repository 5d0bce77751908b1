// Logs: the lines of a page's log are pushed by the stream, from where the page ends. Where the stream can not bring them, they are
// asked for. Text is only ever set as text.

import { onStream, shown, tellShown } from "./live.js";

const LINES_MAX = 20000;
// So many lines are added between two pictures: more would hold up the page.
const LINES_AT_ONCE = 500;
const ASK_PAUSE_MS = 1000;
const AGAIN_MS = 5000;

let log = null;
let name = "";
let asks = 0;
let waiting = [];

const sign = () => document.querySelector("[data-following]");

/** The pane shows another log now: take it from the whole page. */
export async function openLog() {
  const answer = await fetch(location.href).catch(() => null);
  if (!answer?.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const pane = page.getElementById("log-pane");
  if (pane) document.getElementById("log-pane")?.replaceWith(document.adoptNode(pane));
  follow();
}

/** Follows as long as the log grows. The end stays in sight unless the reader has scrolled up. */
function follow() {
  asks += 1;
  waiting = [];
  shown.logs = {};
  log = document.getElementById("log");
  name = log?.dataset.watch ?? "";
  if (log) log.scrollTop = log.scrollHeight;
  if (log?.dataset.follow && sign()) sign().hidden = false;
  if (name) watch();
  else if (log?.dataset.follow) ask();
  else tellShown();
}

function watch() {
  shown.logs = { [name]: Number(log.dataset.offset) };
  tellShown();
}

function ended(why) {
  shown.logs = {};
  if (sign()) sign().hidden = true;
  if (why) say(`The log can not be read: ${why}`);
}

onStream((message) => {
  if (message.kind === "open" && name && name in shown.logs && message.refused.includes(name)) {
    // There is no room, or the log has just gone: it is asked for.
    shown.logs = {};
    ask();
  }
  if (message.kind === "reread") reread();
  if (message.kind !== "log" || message.log !== name || !log) return;
  if (message.ended) {
    const isLost = message.why !== null;
    ended(message.why);
    if (isLost) setTimeout(() => { if (log?.isConnected && message.log === name) watch(); }, AGAIN_MS);
    return;
  }
  log.dataset.offset = message.next;
  shown.logs[name] = message.next;
  if (message.skipped) say(`… ${Math.ceil(message.skipped / 1024)} KiB are left out here: they were written faster than this page takes them. The download has all of it.`);
  append(message.lines);
});

/** Another tab of the same log has read to another place: the rest up to now is asked for once. */
async function reread() {
  await piece(asks);
  if (name && log?.isConnected) watch();
}

/** Asks for what has been written since; null when the server is away. */
async function piece(turn) {
  const answer = await fetch(`${log.dataset.follow}&offset=${log.dataset.offset}`).catch(() => null);
  if (!answer?.ok || turn !== asks) return null;
  const news = await answer.json();
  const hasMore = news.lines.length > 0;
  log.dataset.offset = news.next;
  append(news.lines);
  return { ended: news.ended, hasMore };
}

async function ask() {
  const turn = ++asks;
  while (turn === asks && log?.isConnected) {
    const news = document.hidden ? null : await piece(turn);
    if (news?.ended) { ended(null); return; }
    if (!news?.hasMore) await new Promise((done) => setTimeout(done, ASK_PAUSE_MS));
  }
}

/** A line of this page's own. */
function say(text) {
  append([{ time: "", class: "sys", pieces: [{ class: "", text }] }]);
}

function append(lines) {
  if (!lines.length) return;
  const isIdle = !waiting.length;
  waiting.push(...lines);
  // What would be thrown away again is not made.
  if (waiting.length > LINES_MAX) waiting = waiting.slice(-LINES_MAX);
  if (isIdle) requestAnimationFrame(add);
}

function add() {
  if (!log?.isConnected) { waiting = []; return; }
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const some = document.createDocumentFragment();
  for (const { time, class: kind, pieces } of waiting.splice(0, LINES_AT_ONCE)) {
    const line = document.createElement("p");
    line.className = kind;
    const when = document.createElement("time");
    when.textContent = time;
    line.append(when, " ");
    for (const { class: look, text } of pieces) {
      const span = document.createElement("span");
      span.className = look;
      span.textContent = text;
      line.append(span);
    }
    some.append(line);
  }
  log.append(some);
  while (log.childElementCount > LINES_MAX) log.firstElementChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
  if (waiting.length) requestAnimationFrame(add);
}

follow();
