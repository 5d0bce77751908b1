// The one event stream of a browser: a shared worker, or a part of the page where there are none. Tabs say what they show and from
// which point on; this asks the server for all of it together, and hands each tab what is its own. A tab that is hidden shows
// nothing, and without anything to show there is no stream.

const AGAIN_MIN_MS = 1000;
const AGAIN_MAX_MS = 30000;
// Tabs come and go while somebody walks through pages: the stream is opened when that has settled.
const SETTLE_MS = 60;
// A tab that crashed does not say so; one that lives says so more often than this.
const SILENT_MS = 90000;

/** Holds the stream for some tabs, each a function that takes messages. */
export class Hub {
  constructor() {
    this.tabs = new Map();
    this.source = null;
    this.subjects = new Set();
    // Where each log that is watched has come to.
    this.logs = new Map();
    this.at = null;
    this.pause = AGAIN_MIN_MS;
    this.timer = 0;
    setInterval(() => this.sweep(), SILENT_MS / 3);
  }

  /** A tab shows this: `on` subjects with the point each was seen at, `logs` with their offsets. */
  shows(tab, { on, seen, logs }) {
    this.tabs.set(tab, { on, seen, logs: { ...logs }, spoke: Date.now() });
    this.settle();
  }

  lives(tab) {
    const known = this.tabs.get(tab);
    if (known) known.spoke = Date.now();
    else tab({ kind: "lost" });
  }

  leaves(tab) {
    this.tabs.delete(tab);
    this.settle();
  }

  sweep() {
    for (const [tab, { spoke }] of this.tabs) if (Date.now() - spoke > SILENT_MS) this.leaves(tab);
  }

  settle(pause = SETTLE_MS) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), pause);
  }

  /** What all tabs show. A log that several show is read from the earliest of their offsets. */
  wanted() {
    const subjects = new Set();
    const logs = new Map();
    for (const tab of this.tabs.values()) {
      for (const name of tab.on) subjects.add(name);
      for (const [name, offset] of Object.entries(tab.logs)) logs.set(name, Math.min(offset, logs.get(name) ?? Infinity));
    }
    return { subjects: [...subjects].sort(), logs };
  }

  /** The earliest point that a tab has seen; none when they are of different processes, so that all is fetched again. */
  since() {
    let since = this.at;
    for (const { on, seen } of this.tabs.values()) {
      if (!on.length || !seen) continue;
      if (!since) since = seen;
      const [server, count] = seen.split("-");
      const [known, least] = since.split("-");
      if (server !== known) return "other";
      if (Number(count) < Number(least)) since = seen;
    }
    return since;
  }

  open() {
    const { subjects, logs } = this.wanted();
    if (!subjects.length && !logs.size) { this.close(); return; }
    // More than this may be watched already: who only goes costs nothing. A log that nobody shows is let go of.
    const isAsked = this.source && subjects.every((name) => this.subjects.has(name))
      && logs.size === this.logs.size && [...logs.keys()].every((name) => this.logs.has(name));
    // Who has looked before, and is shown again, hears what has changed since.
    if (isAsked && ![...this.tabs.values()].some((tab) => this.isBehind(tab))) return;
    const since = this.since();
    this.close();
    this.subjects = new Set(subjects);
    this.logs = logs;
    const on = [...subjects, ...[...logs].map(([name, offset]) => `${name}@${offset}`)].join(" ");
    const source = new EventSource(`/events?on=${encodeURIComponent(on)}${since ? `&since=${encodeURIComponent(since)}` : ""}`);
    this.source = source;
    source.addEventListener("hello", ({ data, lastEventId }) => {
      this.pause = AGAIN_MIN_MS;
      this.reached(lastEventId);
      const { refused, spread_ms: spread } = JSON.parse(data);
      this.say({ kind: "open", refused, spread });
    });
    source.addEventListener("changed", ({ data, lastEventId }) => {
      const changed = data.split(" ");
      this.reached(lastEventId);
      for (const [tab, { on: shown }] of this.tabs) if (shown.some((name) => changed.includes(name))) tab({ kind: "changed", at: lastEventId });
    });
    source.addEventListener("log", ({ data }) => this.log(JSON.parse(data)));
    // A newer stream of this session has taken the place: this one comes back when somebody looks at a tab.
    source.addEventListener("ended", () => { this.close(); this.say({ kind: "away" }); });
    source.addEventListener("error", () => {
      // Logs go on where they are now, so the browser's own second try would be the wrong one.
      this.close();
      this.say({ kind: "away" });
      this.settle(this.pause * (0.5 + Math.random()));
      this.pause = Math.min(this.pause * 2, AGAIN_MAX_MS);
    });
  }

  isBehind({ on, seen, logs }) {
    const [server, count] = (this.at ?? "").split("-");
    const [its, since] = (seen ?? "").split("-");
    return (on.length && seen && (its !== server || Number(since) < Number(count)))
      || Object.entries(logs).some(([name, offset]) => offset < (this.logs.get(name) ?? 0));
  }

  reached(at) {
    this.at = at;
    for (const tab of this.tabs.values()) tab.seen = at;
  }

  log(news) {
    if (news.ended) this.logs.delete(news.log);
    else this.logs.set(news.log, news.next);
    for (const [tab, { logs }] of this.tabs) {
      const offset = logs[news.log];
      if (offset === undefined || (!news.ended && news.next <= offset)) continue;
      // A tab that has read into the middle of this reads the rest itself.
      if (!news.ended && !news.skipped && news.from < offset) { tab({ kind: "reread" }); continue; }
      if (news.ended) delete logs[news.log];
      else logs[news.log] = news.next;
      tab({ kind: "log", ...news });
    }
  }

  say(message) {
    for (const tab of this.tabs.keys()) tab(message);
  }

  close() {
    this.source?.close();
    this.source = null;
    this.subjects = new Set();
    this.logs = new Map();
  }
}

// As a shared worker: each tab is a port.
if (typeof SharedWorkerGlobalScope !== "undefined" && self instanceof SharedWorkerGlobalScope) {
  const hub = new Hub();
  self.addEventListener("connect", ({ ports: [port] }) => {
    const tab = (message) => port.postMessage(message);
    port.addEventListener("message", ({ data }) => {
      if (data.kind === "shows") hub.shows(tab, data);
      else if (data.kind === "lives") hub.lives(tab);
      else hub.leaves(tab);
    });
    port.start();
  });
}
