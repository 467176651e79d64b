"use strict";
const SPANS = [10, 20, 30], GAINS = [10, 20, 50, 100, 200, 500, 1000, 2000], FIT_S = 2, CURVE_S = 600, KEEP_S = 60, KEEP_LINES = 200;
const el = (id) => document.getElementById(id);
const view = { gain: 200, fitted: false, span: matchMedia("(max-width: 40rem)").matches ? 10 : 20, paused: false, dirty: true, at: 0 };
let about = {}, eeg = [], decisions = [], lines = [], status = {}, ended = false, connected = false, source = null;

const clock = (s) => {
  const whole = Math.max(0, Math.floor(s)), two = (n) => String(n).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
};
const exact = (s) => { const tenths = Math.round(Math.max(0, s) * 10); return `${clock(Math.floor(tenths / 10))}.${tenths % 10}`; };
const percent = (p) => (p === null || p === undefined ? "none" : `${(100 * p).toFixed(p > 0.995 || p < 0.1 ? 1 : 0)} %`);
const blockEnd = (b) => b.start_s + b.step_s * b.uv[0].length;
const newest = () => (eeg.length ? blockEnd(eeg[eeg.length - 1]) : decisions.length ? decisions[decisions.length - 1].time_s : 0);

function connect() {
  source = new EventSource("events");
  const on = (name, use) => source.addEventListener(name, (message) => { use(JSON.parse(message.data)); view.dirty = true; showFacts(); });
  source.onopen = () => { connected = true; showFacts(); };
  source.onerror = () => {
    connected = false;
    showFacts();
    // The browser tries again by itself, unless it was refused.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  };
  on("state", (s) => {
    const again = about.run === s.about.run;
    const known = again ? lines.length : 0;
    about = s.about; eeg = s.eeg; decisions = s.decisions; lines = s.lines; status = s.status;
    ended = lines.some((line) => line.type === "end");
    showAbout();
    showLines();
    if (again && lines.length > known) announce(lines.slice(known));
  });
  on("eeg", (blocks) => {
    eeg.push(...blocks);
    const from = newest() - KEEP_S;
    while (eeg.length && blockEnd(eeg[0]) < from) eeg.shift();
  });
  on("decision", (d) => {
    decisions.push(d);
    while (decisions.length > 1200) decisions.shift();
  });
  on("line", (line) => {
    lines.push(line);
    while (lines.length > KEEP_LINES) lines.shift();
    if (line.type === "end") ended = true;
    showLines();
    announce([line]);
  });
  on("status", (s) => { status = s; });
}

function announce(added) {
  const alarms = added.filter((line) => line.type === "alarm");
  if (alarms.length) el("announce").textContent = `Alarm: possible seizure since ${clock(alarms[alarms.length - 1].onset_s)}`;
}

function showAbout() {
  el("source").textContent = [about.source, about.sfreq ? `${about.sfreq} Hz` : "", about.model].filter(Boolean).join(" · ");
  el("threshold").textContent = about.threshold === undefined ? "" : percent(about.threshold);
  el("notes").replaceChildren(...(about.notes || []).map((text) => item(text)));
}

function item(text, kind) {
  const li = document.createElement("li");
  li.textContent = text;
  if (kind) li.className = kind;
  return li;
}

function words(line) {
  switch (line.type) {
    case "alarm": return `▲ Alarm at ${exact(line.time_s)}: high since ${exact(line.onset_s)}, up to ${percent(line.confidence)}`;
    case "event": return `Event closed: ${exact(line.onset_s)} to ${exact(line.offset_s)} (${Math.round(line.offset_s - line.onset_s)} s), up to ${percent(line.confidence)}`;
    case "gap": return `Gap ${exact(line.start_s)} to ${exact(line.stop_s)}: ${line.stop_s > line.start_s ? line.seconds.toFixed(1) : "unknown"} s missing, ${line.action}`;
    case "channels": return [`Channels at ${clock(line.time_s)}:`, line.lost.length ? `lost ${line.lost.join(", ")}` : "", line.back.length ? `back ${line.back.join(", ")}` : ""].filter(Boolean).join(" ");
    case "clock": return `Clock at ${clock(line.time_s)}: ${line.change}${line.measured_hz === undefined ? "" : ` ${line.measured_hz} Hz, nominal ${line.nominal_hz} Hz (${line.percent} %)`}${line.seconds === undefined ? "" : ` ${line.seconds.toFixed(2)} s`}, ${line.action || "noted"}`;
    case "connection": return `Connection at ${clock(line.time_s)}: ${line.state}${line.reason ? ` (${line.reason})` : ""}`;
    case "lag": return `Lag at ${clock(line.time_s)}: ${line.state}, ${line.lag_s.toFixed(1)} s`;
    default: return `Ended: ${line.reason}`;
  }
}

function showLines() {
  const alarms = lines.filter((line) => line.type === "alarm" || line.type === "event").reverse();
  const others = lines.filter((line) => line.type !== "alarm" && line.type !== "event").reverse();
  el("alarms").replaceChildren(...alarms.map((line) => item(words(line), line.type)));
  el("log").replaceChildren(...others.map((line) => item(words(line), line.type)));
  el("none").hidden = alarms.length > 0;
  el("quiet").hidden = others.length > 0;
}

const set = (id, text) => { if (el(id).textContent !== text) el(id).textContent = text; };

function showFacts() {
  const last = decisions[decisions.length - 1];
  const on = Boolean(last && last.alarm) && !ended;
  const since = lines.filter((line) => line.type === "alarm").slice(-1)[0];
  const state = ended ? "ended" : !connected ? "lost" : on ? "alarm" : last ? "live" : "waiting";
  const text = {
    ended: `■ Ended: ${(lines.filter((line) => line.type === "end").slice(-1)[0] || {}).reason || "no more signal"}`,
    lost: "◌ No connection to the detector; trying again",
    alarm: `▲ ALARM: possible seizure${since ? ` since ${clock(since.onset_s)}` : ""}`,
    live: `● Live, no alarm${view.paused ? " (view paused)" : ""}`,
    waiting: "○ Waiting for the first decision",
  }[state];
  el("state").dataset.state = state;
  set("state", text);
  document.title = state === "alarm" ? "▲ ALARM – live seizure detector" : "Live seizure detector";
  set("time", clock(newest()));
  set("probability", last ? percent(last.probability) : "–");
  set("lag", status.lag_s === undefined ? "–" : status.lag_s === null ? "full speed" : `${status.lag_s.toFixed(1)} s`);
  const total = (about.ch_names || []).length;
  set("channels", status.n_present === undefined ? "–" : `${status.n_present} of ${total}`);
  set("gaps", String(lines.filter((line) => line.type === "gap").length));
  set("count", String(status.n_alarms ?? lines.filter((line) => line.type === "alarm").length));
}

function prepared(id) {
  const canvas = el(id), box = canvas.getBoundingClientRect(), scale = window.devicePixelRatio || 1;
  const width = Math.max(1, Math.round(box.width * scale)), height = Math.max(1, Math.round(box.height * scale));
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  const pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, box.width, box.height);
  pen.font = "12px system-ui, sans-serif";
  return { pen, width: box.width, height: box.height, colour: (name) => style.getPropertyValue(`--${name}`).trim() };
}

function timeAxis({ pen, width, height, colour }, left, from, to, step) {
  pen.strokeStyle = colour("line");
  pen.fillStyle = colour("soft");
  pen.textAlign = "center";
  for (let t = Math.ceil(from / step) * step; t <= to; t += step) {
    const x = left + ((t - from) / (to - from)) * (width - left);
    pen.beginPath(); pen.moveTo(x, 0); pen.lineTo(x, height - 16); pen.stroke();
    if (x > left + 24 && x < width - 24) pen.fillText(clock(t), x, height - 4);
  }
}

// Once, by the rule of all pictures: a row is twice the 98th percentile of the distance from the channels' medians, rounded up.
function fitGain() {
  if (view.fitted || !eeg.length || newest() - eeg[0].start_s < FIT_S) return;
  view.fitted = true;
  const rise = (a, b) => a - b, away = [];
  eeg[0].uv.forEach((_, c) => {
    const values = eeg.flatMap((b) => b.uv[c].filter((v) => v !== null)).sort(rise), median = values[values.length >> 1];
    away.push(...values.map((v) => Math.abs(v - median)));
  });
  const height = 2 * (away.sort(rise)[Math.floor(0.98 * away.length)] || 0);
  if (height) view.gain = GAINS.find((gain) => gain >= height) || GAINS[GAINS.length - 1];
}

function drawEeg(now) {
  const plot = prepared("eeg"), { pen, width, height, colour } = plot;
  const names = about.ch_names || [], absent = new Set(status.absent || []), left = 72, from = now - view.span, row = (height - 20) / Math.max(1, names.length);
  timeAxis(plot, left, from, now, view.span / 5);
  const shown = eeg.filter((b) => blockEnd(b) > from && b.start_s < now);
  const pixels = row / view.gain; // a row is `gain` microvolts high
  names.forEach((name, c) => {
    const middle = row * (c + 0.5);
    let sum = 0, n = 0;
    for (const b of shown) for (const v of b.uv[c]) if (v !== null) { sum += v; n += 1; }
    const mean = n ? sum / n : 0;
    pen.textAlign = "left";
    const out = !n || absent.has(name);
    pen.fillStyle = out ? colour("absent") : colour("ink");
    pen.fillText(out ? `✕ ${name}` : name, 4, middle + 4);
    if (!n) { pen.fillText("no signal", left + 6, middle + 4); return; }
    pen.strokeStyle = out ? colour("absent") : colour("trace");
    pen.lineWidth = 0.8;
    pen.save();
    pen.beginPath(); pen.rect(left, 0, width - left, height - 18); pen.clip();
    pen.beginPath();
    let open = false, end = -1;
    for (const b of shown) {
      if (Math.abs(b.start_s - end) > 2 * b.step_s) open = false;
      b.uv[c].forEach((v, i) => {
        if (v === null) { open = false; return; }
        const x = left + ((b.start_s + i * b.step_s - from) / view.span) * (width - left);
        const y = middle - Math.max(-row, Math.min(row, (v - mean) * pixels));
        if (open) pen.lineTo(x, y); else pen.moveTo(x, y);
        open = true;
      });
      end = blockEnd(b);
    }
    pen.stroke();
    pen.restore();
  });
  const x = width - 8, bar = 50 * pixels;
  pen.fillStyle = colour("paper"); pen.fillRect(x - 54, 2, 60, Math.max(18, bar + 8));
  pen.strokeStyle = colour("ink"); pen.lineWidth = 2;
  pen.beginPath(); pen.moveTo(x, 6); pen.lineTo(x, 6 + bar); pen.stroke();
  pen.lineWidth = 1;
  pen.fillStyle = colour("ink"); pen.textAlign = "right"; pen.fillText("50 µV", x - 6, 16);
}

function drawCurve(now) {
  const plot = prepared("curve"), { pen, width, height, colour } = plot;
  const left = 46, from = Math.max(0, now - CURVE_S), to = Math.max(now, from + 60), low = height - 20;
  const x = (t) => left + ((t - from) / (to - from)) * (width - left), y = (p) => low - p * (low - 8);
  const shown = decisions.filter((d) => d.time_s >= from && d.time_s <= now);
  pen.fillStyle = colour("shade");
  shown.forEach((d, i) => { if (d.alarm && i && shown[i - 1].alarm) { const a = x(shown[i - 1].time_s); pen.fillRect(a, 8, Math.ceil(x(d.time_s)) - a, low - 8); } });
  timeAxis(plot, left, from, to, (width < 500 ? 2 : 1) * (to - from > 300 ? 120 : to - from > 90 ? 30 : 10));
  pen.strokeStyle = colour("seizure"); pen.lineWidth = 3;
  for (const line of lines) if (line.type === "alarm" && line.time_s >= from && line.time_s <= now) { pen.beginPath(); pen.moveTo(x(line.time_s), 8); pen.lineTo(x(line.time_s), low); pen.stroke(); }
  pen.textAlign = "right"; pen.fillStyle = colour("soft"); pen.strokeStyle = colour("line"); pen.lineWidth = 1;
  for (const p of [0, 0.5, 1]) { pen.fillText(`${100 * p} %`, left - 4, y(p) + 4); pen.beginPath(); pen.moveTo(left, y(p)); pen.lineTo(width, y(p)); pen.stroke(); }
  pen.fillStyle = colour("raw");
  for (const d of shown) if (d.probability !== null) { pen.beginPath(); pen.arc(x(d.time_s), y(d.probability), 1.6, 0, 7); pen.fill(); }
  pen.strokeStyle = colour("proba"); pen.lineWidth = 2; pen.beginPath();
  let open = false;
  for (const d of shown) { if (d.curve === null) { open = false; continue; } if (open) pen.lineTo(x(d.time_s), y(d.curve)); else pen.moveTo(x(d.time_s), y(d.curve)); open = true; }
  pen.stroke();
  if (about.threshold !== undefined) {
    pen.strokeStyle = colour("limit"); pen.setLineDash([6, 4]);
    pen.beginPath(); pen.moveTo(left, y(about.threshold)); pen.lineTo(width, y(about.threshold)); pen.stroke();
    pen.setLineDash([]);
  }
  pen.lineWidth = 1;
}

function draw() {
  if (view.dirty) {
    view.dirty = false;
    if (!view.paused) view.at = newest();
    fitGain();
    drawEeg(view.at);
    drawCurve(view.at);
  }
  requestAnimationFrame(draw);
}

function pause() {
  view.paused = !view.paused;
  el("pause").setAttribute("aria-pressed", String(view.paused));
  el("pause").firstChild.textContent = view.paused ? "Resume " : "Pause ";
  redraw();
}
function zoom(by) {
  view.gain = GAINS[Math.max(0, Math.min(GAINS.length - 1, GAINS.indexOf(view.gain) + by))];
  view.fitted = true;
  redraw();
}
function span() {
  view.span = SPANS[(SPANS.indexOf(view.span) + 1) % SPANS.length];
  redraw();
}
function redraw() { el("span").firstChild.textContent = `${view.span} s `; view.dirty = true; showFacts(); }

el("pause").addEventListener("click", pause);
el("smaller").addEventListener("click", () => zoom(1));
el("larger").addEventListener("click", () => zoom(-1));
el("span").addEventListener("click", span);
document.addEventListener("keydown", (key) => {
  if (key.ctrlKey || key.metaKey || key.altKey) return;
  const does = { p: pause, P: pause, "-": () => zoom(1), "+": () => zoom(-1), "=": () => zoom(-1), t: span, T: span }[key.key];
  if (does) { key.preventDefault(); does(); }
});
addEventListener("resize", () => { view.dirty = true; });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { view.dirty = true; });
redraw();
connect();
draw();
