"use strict";
// The status page: logs in, shows what goes on, follows the event stream. No library, nothing from elsewhere.

const $ = (id) => document.getElementById(id);
const MAX_EVENTS = 200;
const session = { access: null, refresh: sessionStorage.getItem("refresh"), renewing: null, lastEventId: null, follow: null };

// -- talking to the API ------------------------------------------------------------------------------------------------

class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `HTTP ${status}`);
    this.status = status;
  }
}

async function answer(response) {
  if (response.ok) return response.status === 204 ? null : response.json();
  const body = await response.json().catch(() => ({}));
  throw new Problem(response.status, body);
}

function keep(tokens) {
  session.access = tokens.access_token;
  session.refresh = tokens.refresh_token;
  sessionStorage.setItem("refresh", tokens.refresh_token);
}

async function post(path, body) {
  return answer(await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }));
}

// A refresh token works once: requests that fail at the same moment share one renewal.
function renew() {
  session.renewing ??= post("/api/refresh", { refresh_token: session.refresh })
    .then(keep)
    .finally(() => { session.renewing = null; });
  return session.renewing;
}

async function send(path, options = {}) {
  const attempt = () => fetch(path, { ...options, headers: { ...options.headers, Authorization: `Bearer ${session.access}` } });
  let response = await attempt();
  if (response.status === 401 && session.refresh) {
    await renew();
    response = await attempt();
  }
  return response;
}

const get = async (path) => answer(await send(path));
const act = async (path, body) => answer(await send(path, {
  method: "POST",
  headers: { "Content-Type": "application/json", "Idempotency-Key": crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}` },
  body: body === undefined ? undefined : JSON.stringify(body),
}));

// -- showing -----------------------------------------------------------------------------------------------------------

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

const pill = (state, text = state) => element("span", text, `pill ${state}`);
const cell = (content, className) => {
  const td = element("td", undefined, className);
  td.append(content ?? "");
  return td;
};

function rows(id, items, build) {
  const body = $(id);
  const made = items.map((item) => {
    const tr = document.createElement("tr");
    tr.append(...build(item));
    return tr;
  });
  if (!made.length) {
    const td = element("td", body.dataset.empty, "empty");
    td.colSpan = 9;
    const tr = document.createElement("tr");
    tr.append(td);
    made.push(tr);
  }
  body.replaceChildren(...made);
}

const bytes = (count) => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let step = 0;
  for (; count >= 1024 && step < units.length - 1; step += 1) count /= 1024;
  return `${step ? count.toFixed(1) : count} ${units[step]}`;
};
const length = (ms) => {
  const seconds = Math.floor(ms / 1000);
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return parts.map((part) => String(part).padStart(2, "0")).join(":");
};
const speed = (bitrate) => (bitrate ? `${(bitrate / 1e6).toFixed(2)} Mbit/s` : "–");
const when = (text) => new Date(text).toLocaleString([], { dateStyle: "short", timeStyle: "short" });

function button(label, description, action) {
  const made = element("button", label, "quiet");
  made.type = "button";
  made.setAttribute("aria-label", description);
  made.addEventListener("click", async () => {
    made.disabled = true;
    try {
      await action();
      $("add-error").textContent = "";
    } catch (error) {
      $("add-error").textContent = error.message;
    }
    made.disabled = false;
    refresh();
  });
  return made;
}

function showStreamers(page) {
  rows("streamers", page.items, (item) => {
    const actions = element("div", undefined, "actions");
    const verb = item.enabled ? "stop" : "start";
    const path = `/api/streamers/${encodeURIComponent(item.id)}`;
    actions.append(button(verb, `${verb} ${item.name}`, () => act(`${path}/${verb}`)));
    if (item.enabled) actions.append(button("check", `check ${item.name} now`, () => act(`${path}/check`)));
    const title = item.channel?.error || item.session?.title || item.channel?.title;
    return [cell(item.name), cell(item.platform), cell(pill(item.state)), cell(title), cell(actions)];
  });
}

// What runs comes first, then what waits in the order in which it will be taken.
const byPlace = (one, other) => (one.queue_position ?? 0) - (other.queue_position ?? 0);
function place(item) {
  if (item.queue_position === null) return pill(item.state);
  const due = item.not_before ? new Date(item.not_before) : null;
  if (due && due > new Date()) return pill("waiting", `again at ${due.toLocaleTimeString()}`);
  return pill("waiting", `waits, no. ${item.queue_position}`);
}
const priority = (item) => (item.priority === "normal" ? "" : ` (${item.priority})`);

function showRecordings(page) {
  rows("recordings", [...page.items].sort(byPlace), (item) => {
    const now = item.progress ?? item;
    return [
      cell(item.streamer_name + priority(item)), cell(item.title), cell(place(item)), cell(item.engine || "–"), cell(length(now.duration_ms), "number"),
      cell(bytes(now.bytes), "number"), cell(speed(item.progress?.bitrate), "number"), cell(said(item.session_id), "number"),
    ];
  });
}

function showSlots(found) {
  const running = found.replicas.reduce((sum, one) => sum + one.running, 0);
  const slots = found.replicas.reduce((sum, one) => sum + one.slots, 0);
  const paused = found.replicas.filter((one) => one.paused).map((one) => `${one.worker} takes nothing: ${one.paused}`);
  const waiting = found.waiting ? `, ${found.waiting} waiting` : "";
  $("replicas").textContent = found.replicas.length ? [`${running} running, ${slots} slots${waiting}`, ...paused].join("; ") : "No recorder has told of itself yet.";
}

// A quiet chat is not told of again: what was seen last still holds.
const lines = new Map();

function countChat(sessions) {
  for (const item of sessions) if (item.chat) lines.set(item.id, Math.max(item.chat.lines, lines.get(item.id) ?? 0));
}

const said = (id) => (lines.has(id) ? String(lines.get(id)) : "–");

function showSessions(page) {
  countChat(page.items);
  rows("sessions", page.items, (item) => [
    cell(when(item.opened_at)), cell(item.streamer_name), cell(item.title), cell(pill(item.finished_at ? "finished" : item.state)),
    cell(String(item.segments), "number"), cell(length(item.duration_ms), "number"), cell(bytes(item.bytes), "number"),
    cell(said(item.id), "number"),
  ]);
}

function showEvent(event) {
  const line = document.createElement("li");
  const time = element("time", new Date(event.time).toLocaleTimeString());
  time.dateTime = event.time;
  line.append(time, element("span", event.type.replace(/^aircheck\./, "")), element("span", event.stream, "subject"));
  const list = $("events");
  list.prepend(line);
  while (list.children.length > MAX_EVENTS) list.lastElementChild.remove();
}

// -- following ---------------------------------------------------------------------------------------------------------

let refreshing = null;
let again = false;

// Chat counts come with the sessions, so these are shown before the recordings that name them.
async function progress() {
  const [sessions, recordings, slots] = await Promise.all([
    get("/api/sessions?limit=20"), get("/api/recordings?active=true&limit=200"), get("/api/recordings/slots"),
  ]);
  showSessions(sessions);
  showRecordings(recordings);
  showSlots(slots);
}

async function refresh() {
  if (refreshing) { again = true; return; }
  refreshing = Promise.all([get("/api/streamers?limit=200").then(showStreamers), progress()]);
  try {
    await refreshing;
  } catch (error) {
    if (error.status === 401) leave();
  } finally {
    refreshing = null;
    if (again) { again = false; setTimeout(refresh, 300); }
  }
}

function connection(state) {
  $("connection").textContent = state;
  $("connection").className = `pill ${state}`;
}

// EventSource cannot send an Authorization header, so the stream is read by hand (HTML standard, 9.2.6).
async function follow(signal) {
  while (!signal.aborted) {
    try {
      const headers = session.lastEventId ? { "Last-Event-ID": session.lastEventId } : {};
      const response = await send("/api/events/stream", { headers, signal });
      if (!response.ok) throw new Problem(response.status, {});
      connection("connected");
      await read(response.body.getReader());
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401) { leave(); return; }
    }
    connection("reconnecting");
    await new Promise((resolve) => setTimeout(resolve, 3000));
  }
}

async function read(reader) {
  const decoder = new TextDecoder();
  let buffer = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    buffer += decoder.decode(value, { stream: true });
    const frames = buffer.split("\n\n");
    buffer = frames.pop();
    frames.forEach(take);
  }
}

function take(frame) {
  const fields = {};
  for (const line of frame.split("\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).trimStart();
  }
  if (fields.id) session.lastEventId = fields.id;
  if (!fields.data || fields.event === "reset") return;
  showEvent(JSON.parse(fields.data));
  refresh();
}

// -- coming and going --------------------------------------------------------------------------------------------------

async function enter() {
  $("login").hidden = true;
  $("status").hidden = false;
  $("logout").hidden = false;
  const recent = await get("/api/events?order=desc&limit=50");
  session.lastEventId = recent.items.length ? String(recent.items[0].position) : null;
  recent.items.reverse().forEach(showEvent);
  session.follow = new AbortController();
  follow(session.follow.signal);
  refresh();
}

function leave() {
  session.follow?.abort();
  session.access = session.refresh = session.lastEventId = null;
  sessionStorage.removeItem("refresh");
  $("events").replaceChildren();
  $("login").hidden = false;
  $("status").hidden = true;
  $("logout").hidden = true;
  connection("offline");
}

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  $("login-error").textContent = "";
  try {
    keep(await post("/api/login", Object.fromEntries(new FormData(form))));
    form.reset();
    await enter();
  } catch (error) {
    $("login-error").textContent = error.status === 401 ? "Wrong name or password." : error.message;
  }
});

$("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("add-error").textContent = "";
  try {
    await act("/api/streamers", Object.fromEntries(new FormData(event.target)));
    event.target.reset();
  } catch (error) {
    $("add-error").textContent = error.message;
  }
  refresh();
});

$("logout").addEventListener("click", async () => {
  await send("/api/logout", { method: "POST" }).catch(() => null);
  leave();
});

// Progress is a signal, not an event: nothing announces it, so what is being recorded is asked for again.
setInterval(() => { if (session.access && !document.hidden) progress().catch(() => null); }, 3000);

if (session.refresh) renew().then(enter).catch(leave);
