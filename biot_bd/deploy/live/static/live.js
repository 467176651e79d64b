"use strict";
const FIT_S = 2, CURVE_S = 600, KEEP_S = 60, KEEP_LINES = 200, KINDS = ["highPass", "lowPass", "notch"];
const COLOURS = ["ink", "soft", "paper", "grid", "rule", "left", "right", "middle", "other", "faint", "mark", "curve", "window", "limit"];
const el = (id) => document.getElementById(id);
const view = { uvPerMm: 10, fitted: false, span: matchMedia("(max-width: 40rem)").matches ? 5 : 10, negativeUp: true, filtering: true, filters: { highPass: 0.5, lowPass: 0, notch: 0 }, paused: false, dirty: true, at: 0 };
// `eeg` are stretches without a gap, {sfreq, start_s, n, uv: a Float32Array a channel, of which n samples are used}.
let about = {}, eeg = [], decisions = [], lines = [], status = {}, ended = false, connected = false, source = null, colours = {};

const clock = (s) => EegTraces.clock(Math.max(0, Math.floor(s)));
const exact = (s) => EegTraces.clock(Math.max(0, s), 1);
// The time of day, as the recording's header tells it; of a stream that tells none, nothing.
const wall = (s) => EegTraces.wallClock(about.start_time, Math.max(0, s));
const withWall = (s, text) => (wall(s) ? `${text} (${wall(s)})` : text);
const percent = (p) => (p === null || p === undefined ? "none" : `${(100 * p).toFixed(p > 0.995 || p < 0.1 ? 1 : 0)} %`);
const stretchEnd = (e) => e.start_s + e.n / e.sfreq;
const newest = () => (eeg.length ? stretchEnd(eeg[eeg.length - 1]) : decisions.length ? decisions[decisions.length - 1].time_s : 0);

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
    about = s.about; eeg = []; decisions = s.decisions; lines = s.lines; status = s.status;
    ended = lines.some((line) => line.type === "end");
    s.eeg.forEach(keep);
    showAbout();
    showLines();
    if (again && lines.length > known) announce(lines.slice(known));
  });
  on("eeg", (blocks) => blocks.forEach(keep));
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

// Append a block to the stretch that it goes on, or begin one.
function keep({ start_s, step_s, uv }) {
  const sfreq = 1 / step_s, size = uv[0].length, room = Math.ceil(2 * KEEP_S * sfreq);
  let last = eeg[eeg.length - 1];
  if (!last || last.uv.length !== uv.length || Math.abs(last.sfreq - sfreq) > 1e-6 || Math.abs(start_s - stretchEnd(last)) > 2 * step_s) {
    last = { sfreq, start_s, n: 0, uv: uv.map(() => new Float32Array(room)) };
    eeg.push(last);
  } else if (last.n + size > room) {
    const gone = last.n - Math.ceil(KEEP_S * sfreq);
    for (const x of last.uv) x.copyWithin(0, gone, last.n);
    last.n -= gone; last.start_s += gone / sfreq;
  }
  uv.forEach((values, c) => last.uv[c].set(values.map((v) => (v === null ? NaN : v)), last.n));
  last.n += size;
  while (stretchEnd(eeg[0]) < newest() - KEEP_S) eeg.shift();
}

function announce(added) {
  const alarms = added.filter((line) => line.type === "alarm");
  if (alarms.length) el("announce").textContent = `Alarm: possible seizure since ${clock(alarms[alarms.length - 1].onset_s)}`;
}

function showAbout() {
  el("source").textContent = [about.source, about.sfreq ? `${about.sfreq} Hz` : "", about.model].filter(Boolean).join(" · ");
  el("threshold").textContent = about.threshold === undefined ? "" : percent(about.threshold);
  const dated = EegTraces.wallClock(about.start_time, 0, true);
  const begun = dated ? `Clock times are those of the header, in which the recording begins at ${dated}; headers of anonymised files often hold invented dates.` : "The source tells no time of day.";
  const told = (about.notes || []).find((text) => text.includes("model trained on generated data"));
  el("demonstration").hidden = !told;
  el("demonstration").textContent = told || "";
  el("notes").replaceChildren(...[begun, ...(about.notes || [])].map((text) => item(text)));
  const names = Object.entries(about.channels || {});
  el("made").hidden = !names.length;
  el("names").replaceChildren(...names.map(([name, how]) => item(name === how ? name : `${name}: ${how}`)));
  const rate = eeg.length ? eeg[eeg.length - 1].sfreq : Infinity;
  for (const kind of KINDS) for (const option of el(kind).options) option.disabled = !EegTraces.usable(Number(option.value), rate);
}

function item(text, kind) {
  const li = document.createElement("li");
  li.textContent = text;
  if (kind) li.className = kind;
  return li;
}

function words(line) {
  switch (line.type) {
    case "alarm": return `▲ Alarm at ${withWall(line.time_s, exact(line.time_s))}: high since ${exact(line.onset_s)}, up to ${percent(line.confidence)}`;
    case "event": return `Event closed: ${withWall(line.onset_s, exact(line.onset_s))} to ${exact(line.offset_s)} (${Math.round(line.offset_s - line.onset_s)} s), up to ${percent(line.confidence)}`;
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
    alarm: `▲ ALARM: possible seizure${since ? ` since ${withWall(since.onset_s, clock(since.onset_s))}` : ""}`,
    live: `● Live, no alarm${view.paused ? " (view paused)" : ""}`,
    waiting: "○ Waiting for the first decision",
  }[state];
  el("state").dataset.state = state;
  set("state", text);
  document.title = state === "alarm" ? "▲ ALARM – live seizure detector" : "Live seizure detector";
  set("time", clock(newest()));
  set("wall", wall(newest()) && `clock ${wall(newest())}`);
  showView();
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
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, box.width, box.height);
  pen.font = "12px system-ui, sans-serif";
  return { pen, width: box.width, height: box.height };
}

function readColours() {
  const style = getComputedStyle(el("seen"));
  colours = Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--eeg-${name}`).trim()]));
  view.dirty = true;
}

function showView() {
  const { filters, filtering, negativeUp, uvPerMm } = view, rate = eeg.length ? eeg[eeg.length - 1].sfreq : 0;
  const hertz = (kind) => (filters[kind] && filtering ? `${filters[kind]} Hz` : "off");
  const filter = filtering && KINDS.some((kind) => filters[kind]) ? `display filter: high-pass ${hertz("highPass")}, low-pass ${hertz("lowPass")}, notch ${hertz("notch")}` : "no display filter";
  set("how", [`${uvPerMm} µV/mm`, negativeUp ? "negative up" : "positive up", filter, rate ? `drawn at ${Math.round(10 * rate) / 10} Hz` : ""].filter(Boolean).join(" · "));
  set("sensitivity", `${uvPerMm} µV/mm`);
  set("polarity", negativeUp ? "Negative up" : "Positive up");
  for (const kind of KINDS) el(kind).value = filtering ? filters[kind] : 0;
}

// Where traces have their zero: what a high-pass filter leaves, else the median, found once a second.
function middlesOf(stretch, uv, now) {
  if (view.filtering && view.filters.highPass) return uv.map(() => 0);
  const key = [Math.floor(now), view.span, view.filtering, view.filters.lowPass, view.filters.notch].join();
  if (stretch.key !== key) Object.assign(stretch, { key, middles: uv.map(EegTraces.median) });
  return stretch.middles;
}

function drawEeg(now) {
  const { pen, width, height } = prepared("eeg"), names = about.ch_names || [], from = now - view.span, timed = wall(now) !== "";
  const left = width < 500 ? 52 : 66, box = { left, top: 6, width: width - left, height: height - 40 };
  const plan = EegTraces.layout(names, box.top, box.top + box.height), common = { box, ...plan, fromS: from, toS: now, colours };
  const right = EegTraces.drawScale(pen, { ...common, uvPerMm: view.uvPerMm });
  EegTraces.drawSeconds(pen, { ...common, right, text: (s) => (s < 0 ? "" : clock(s)) });
  if (timed) EegTraces.drawSeconds(pen, { ...common, right, box: { ...box, height: box.height + 13 }, colours: { ...colours, grid: "transparent", rule: "transparent" }, text: (s) => (s < 0 ? "" : wall(s)) });
  // The part that is seen, and as much before it as filters need to settle.
  const made = (sfreq) => (view.filtering ? EegTraces.sections(sfreq, view.filters) : []);
  const shown = eeg.filter((e) => stretchEnd(e) > from && e.start_s < now).map((e) => {
    const first = Math.max(0, Math.floor((from - EegTraces.PAD_S - e.start_s) * e.sfreq)), stop = Math.min(e.n, Math.ceil((now - e.start_s) * e.sfreq) + 1);
    const uv = e.uv.map((x) => EegTraces.filtered(x.subarray(first, stop), made(e.sfreq)));
    return { sfreq: e.sfreq, start_s: e.start_s + first / e.sfreq, uv, middles: middlesOf(e, uv, now) };
  });
  if (!view.fitted && eeg.length && newest() - eeg[0].start_s >= FIT_S) {
    view.fitted = true;
    view.uvPerMm = EegTraces.fittingSensitivity(EegTraces.robustScale(eeg[eeg.length - 1].uv.map((x) => EegTraces.filtered(x.subarray(0, eeg[eeg.length - 1].n), made(eeg[eeg.length - 1].sfreq)))), plan.rowPx);
    showView();
  }
  const out = new Set((status.absent || []).map((name) => names.indexOf(name)));
  const lineWidth = 1 / (window.devicePixelRatio || 1); // a wider line takes many times as long
  for (const signal of shown) EegTraces.drawTraces(pen, signal, { ...common, uvPerMm: view.uvPerMm, negativeUp: view.negativeUp, faint: out, lineWidth, middles: signal.middles });
  const silent = new Set(names.keys());
  for (const { uv } of shown) uv.forEach((x, c) => { if (x.some((v) => v === v)) silent.delete(c); });
  EegTraces.drawLabels(pen, names.map((name, c) => (out.has(c) ? `✕ ${name}` : name)), { ...common, absent: shown.length ? silent : new Set() });
}

function timeAxis({ pen, width, height }, left, from, to, step) {
  pen.strokeStyle = colours.rule;
  pen.fillStyle = colours.soft;
  pen.textAlign = "center";
  for (let t = Math.ceil(from / step) * step; t <= to; t += step) {
    const x = left + ((t - from) / (to - from)) * (width - left);
    pen.beginPath(); pen.moveTo(x, 0); pen.lineTo(x, height - 16); pen.stroke();
    if (x > left + 24 && x < width - 24) pen.fillText(clock(t), x, height - 4);
  }
}

function drawCurve(now) {
  const plot = prepared("curve"), { pen, width, height } = plot;
  const left = 46, from = Math.max(0, now - CURVE_S), to = Math.max(now, from + 60), low = height - 20;
  const x = (t) => left + ((t - from) / (to - from)) * (width - left), y = (p) => low - p * (low - 8);
  const shown = decisions.filter((d) => d.time_s >= from && d.time_s <= now);
  pen.fillStyle = colours.mark; pen.globalAlpha = 0.16;
  shown.forEach((d, i) => { if (d.alarm && i && shown[i - 1].alarm) { const a = x(shown[i - 1].time_s); pen.fillRect(a, 8, Math.ceil(x(d.time_s)) - a, low - 8); } });
  pen.globalAlpha = 1;
  timeAxis(plot, left, from, to, (width < 500 ? 2 : 1) * (to - from > 300 ? 120 : to - from > 90 ? 30 : 10));
  pen.strokeStyle = colours.mark; pen.lineWidth = 3;
  for (const line of lines) if (line.type === "alarm" && line.time_s >= from && line.time_s <= now) { pen.beginPath(); pen.moveTo(x(line.time_s), 8); pen.lineTo(x(line.time_s), low); pen.stroke(); }
  pen.textAlign = "right"; pen.fillStyle = colours.soft; pen.strokeStyle = colours.rule; pen.lineWidth = 1;
  for (const p of [0, 0.5, 1]) { pen.fillText(`${100 * p} %`, left - 4, y(p) + 4); pen.beginPath(); pen.moveTo(left, y(p)); pen.lineTo(width, y(p)); pen.stroke(); }
  pen.fillStyle = colours.window;
  for (const d of shown) if (d.probability !== null) { pen.beginPath(); pen.arc(x(d.time_s), y(d.probability), 1.6, 0, 7); pen.fill(); }
  pen.strokeStyle = colours.curve; pen.lineWidth = 2; pen.beginPath();
  let open = false;
  // A value holds for the time since the decision before it, so the line meets the threshold where an alarm says that it was high since.
  shown.forEach((d, i) => {
    if (d.curve === null) { open = false; return; }
    if (open) { pen.lineTo(x(shown[i - 1].time_s), y(d.curve)); pen.lineTo(x(d.time_s), y(d.curve)); } else pen.moveTo(x(d.time_s), y(d.curve));
    open = true;
  });
  pen.stroke();
  if (about.threshold !== undefined) {
    pen.strokeStyle = colours.limit; pen.setLineDash([6, 4]);
    pen.beginPath(); pen.moveTo(left, y(about.threshold)); pen.lineTo(width, y(about.threshold)); pen.stroke();
    pen.setLineDash([]);
  }
  pen.lineWidth = 1;
}

function draw() {
  if (view.dirty) {
    view.dirty = false;
    if (!view.paused) view.at = newest();
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
  const ladder = EegTraces.SENSITIVITIES;
  view.uvPerMm = ladder[Math.max(0, Math.min(ladder.length - 1, ladder.indexOf(view.uvPerMm) + by))];
  view.fitted = true;
  redraw();
}
function span() {
  view.span = EegTraces.PAGES_S[(EegTraces.PAGES_S.indexOf(view.span) + 1) % EegTraces.PAGES_S.length];
  redraw();
}
function polarity() { view.negativeUp = !view.negativeUp; redraw(); }
function filters() { view.filtering = !view.filtering; redraw(); }
function redraw() { el("span").firstChild.textContent = `${view.span} s `; view.dirty = true; showFacts(); }

el("pause").addEventListener("click", pause);
el("smaller").addEventListener("click", () => zoom(1));
el("larger").addEventListener("click", () => zoom(-1));
el("span").addEventListener("click", span);
el("polarity").parentElement.addEventListener("click", polarity);
for (const kind of KINDS) el(kind).addEventListener("change", () => { view.filters = { ...view.filters, ...(view.filtering ? {} : { highPass: 0, lowPass: 0, notch: 0 }), [kind]: Number(el(kind).value) }; view.filtering = true; redraw(); });
document.addEventListener("keydown", (key) => {
  if (key.ctrlKey || key.metaKey || key.altKey || key.target.tagName === "SELECT") return;
  const does = { p: pause, "-": () => zoom(1), "+": () => zoom(-1), "=": () => zoom(-1), t: span, i: polarity, f: filters }[key.key.toLowerCase()];
  if (does) { key.preventDefault(); does(); }
});
addEventListener("resize", () => { view.dirty = true; });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", readColours);
for (const kind of KINDS) el(kind).replaceChildren(...EegTraces.FILTERS[kind].map((hz) => new Option(hz ? `${hz} Hz` : "off", hz)));
readColours();
redraw();
connect();
draw();
