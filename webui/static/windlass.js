// Everything here is an addition: pages are whole without it. It keeps the live part of a page fresh (live.js), follows
// logs (log.js), both by one stream for all tabs (stream.js), and listens to keys. Text of the server is only ever set as text, or swapped in as HTML that the server escaped.

import { FRAGMENT, refresh, whenSwapped } from "./live.js";
import { openLog } from "./log.js";

whenSwapped((hasOtherLog) => { showZone(); if (hasOtherLog) openLog(); });

// ---- forms ---------------------------------------------------------------------------------------------------------

function tell(text) {
  const news = document.getElementById("news");
  news.textContent = text;
  setTimeout(() => { if (news.textContent === text) news.textContent = ""; }, 6000);
}

document.addEventListener("submit", async (event) => {
  const question = event.submitter?.dataset.ask;
  if (question && !confirm(question)) { event.preventDefault(); return; }
  const form = event.target;
  if (!("quiet" in form.dataset)) return;
  event.preventDefault();
  form.querySelector(".switch")?.classList.toggle("on");
  const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) }).catch(() => null);
  if (!answer?.ok) {
    const page = answer && new DOMParser().parseFromString(await answer.text(), "text/html");
    tell(page?.getElementById("error-detail")?.textContent ?? "The server does not answer; nothing was changed.");
  }
  refresh({ anew: true });
});

// A form that only asks for another view asks as soon as something is ticked.
for (const button of document.querySelectorAll("[data-auto]")) {
  button.hidden = true;
  button.form.addEventListener("change", () => button.form.requestSubmit());
}

// ---- pictures ------------------------------------------------------------------------------------------------------

// The newest runs stand on the right: begin there.
for (const box of document.querySelectorAll("[data-end]")) box.scrollLeft = box.scrollWidth;

/** Brings out the edges of the task under the pointer or the focus. */
function showEdges(event) {
  const node = event.target.closest?.("[data-node]");
  for (const edge of document.querySelectorAll(".edge.near")) edge.classList.remove("near");
  if (!node) return;
  const number = node.dataset.node;
  for (const edge of node.ownerSVGElement.querySelectorAll(`.edge[data-from="${number}"], .edge[data-to="${number}"]`)) edge.classList.add("near");
}
document.addEventListener("pointerover", showEdges);
document.addEventListener("focusin", showEdges);

// An open menu closes when something else is clicked or Esc is pressed.
document.addEventListener("click", ({ target }) => {
  for (const menu of document.querySelectorAll("details.choices[open]")) if (!menu.contains(target)) menu.open = false;
});

// ---- theme and time zone -------------------------------------------------------------------------------------------

const ownZone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const zoneLink = document.querySelector("[data-zone]");
const zone = zoneLink?.dataset.zone ?? "UTC";

/** Remembers a choice for a year, where the server reads it. */
function remember(name, value) {
  document.cookie = `${name}=${value}; Path=/; SameSite=Lax; Max-Age=31536000`;
}

/** Every time says on hover what it is in the reader's zone and in UTC. */
function showZone() {
  const write = (at, timeZone) => new Intl.DateTimeFormat("sv-SE", { timeZone, dateStyle: "short", timeStyle: "medium" }).format(at);
  for (const time of document.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    const utc = `${write(at, "UTC")} UTC`;
    time.title = zone === "UTC" ? utc : `${write(at, zone)} ${zone} · ${utc}`;
  }
}
showZone();

// One click changes between UTC and the reader's own zone; the link leads to all others.
zoneLink?.addEventListener("click", (event) => {
  const other = zone === "UTC" ? ownZone : "UTC";
  if (event.key === "Escape") for (const menu of document.querySelectorAll("details.choices[open]")) menu.open = false;
  if (event.ctrlKey || event.metaKey || event.shiftKey || other === zone) return;
  event.preventDefault();
  remember("zone", other);
  location.reload();
});

const THEMES = ["system", "light", "dark"];
document.querySelector("[data-theme-switch]")?.addEventListener("click", (event) => {
  if (event.key === "Escape") for (const menu of document.querySelectorAll("details.choices[open]")) menu.open = false;
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const root = document.documentElement;
  const next = THEMES[(THEMES.indexOf(root.dataset.theme) + 1) % THEMES.length];
  root.dataset.theme = next;
  event.currentTarget.textContent = `theme: ${next}`;
  remember("theme", next);
});

// ---- finding -------------------------------------------------------------------------------------------------------

const palette = document.getElementById("palette");
const PALETTE_PAUSE_MS = 80;
let asked = 0;

/** Asks for hits; an answer that comes after a newer question is dropped. */
async function find() {
  const turn = ++asked;
  const text = palette.querySelector("input").value;
  await new Promise((done) => setTimeout(done, PALETTE_PAUSE_MS));
  if (turn !== asked) return;
  const answer = await fetch(`/search?q=${encodeURIComponent(text)}`, FRAGMENT).catch(() => null);
  if (turn !== asked || !answer?.ok) return;
  document.getElementById("hits").innerHTML = await answer.text();
  choose(0);
}

function choose(to) {
  const hits = [...palette.querySelectorAll("[data-hit]")];
  hits.forEach((hit, n) => hit.classList.toggle("chosen", n === (to + hits.length) % hits.length));
  palette.querySelector(".chosen")?.scrollIntoView({ block: "nearest" });
}

function openPalette() {
  if (!palette || palette.open) return;
  palette.showModal();
  palette.querySelector("input").select();
  find();
}

palette?.querySelector("input").addEventListener("input", find);
palette?.addEventListener("keydown", (event) => {
  const hits = [...palette.querySelectorAll("[data-hit]")];
  const at = hits.findIndex((hit) => hit.classList.contains("chosen"));
  if (event.key === "ArrowDown") choose(at + 1);
  else if (event.key === "ArrowUp") choose(at - 1);
  else if (event.key === "Enter" && hits[at]) hits[at].click();
  else return;
  event.preventDefault();
});
palette?.addEventListener("click", (event) => { if (event.target === palette) palette.close(); });
document.querySelector("[data-palette]")?.addEventListener("focus", (event) => { event.target.blur(); openPalette(); });

// ---- keys ----------------------------------------------------------------------------------------------------------

const legend = document.getElementById("legend");
const legendButton = document.querySelector("[data-legend]");
if (legendButton) { legendButton.hidden = false; legendButton.addEventListener("click", () => legend.showModal()); }

const GO = { d: "/dags", r: "/runs", s: "/services", i: "/import-errors" };
let goes = false;

function step(by) {
  const rows = [...document.querySelectorAll("[data-row]")];
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const next = rows[Math.max(0, Math.min(rows.length - 1, at < 0 ? 0 : at + by))];
  next?.querySelector("a")?.focus();
}

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "k") {
    event.preventDefault();
    openPalette();
    return;
  }
  if (event.key === "Escape") for (const menu of document.querySelectorAll("details.choices[open]")) menu.open = false;
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
  if (goes && GO[event.key]) { location.href = GO[event.key]; return; }
  goes = event.key === "g";
  const keys = {
    j: () => step(1),
    k: () => step(-1),
    t: () => document.querySelector("[data-key=t]")?.click(),
    "/": () => document.querySelector("[data-search]")?.focus(),
    "?": () => legend?.showModal(),
  };
  if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
});
