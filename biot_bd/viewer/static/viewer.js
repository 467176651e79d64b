"use strict";

// --- where signals come from: {about, read(from_s, to_s) -> Promise<{sfreq, start_s, uv: Float32Array[] | null}>} ---

// A source over blocks: [{start_s, stop_s, load() -> Promise<Float32Array[]>}], loaded when they are wanted, the last ones kept.
function blockSource(about, blocksIn, kept = 16) {
  const held = new Map();
  const load = (block) => {
    const had = held.get(block.key);
    if (had) { held.delete(block.key); held.set(block.key, had); return had; }
    const made = block.load();
    made.catch(() => held.delete(block.key));
    held.set(block.key, made);
    if (held.size > kept) held.delete(held.keys().next().value);
    return made;
  };
  return {
    about,
    async read(from_s, to_s) {
      const blocks = blocksIn(from_s, to_s), parts = await Promise.all(blocks.map(load)), sfreq = about.sfreq;
      const some = parts.filter((part) => part && part.uv.length && part.uv[0].length);
      if (!some.length) return { sfreq, start_s: from_s, uv: null };
      const zero = some[0].start_s, first = Math.ceil((from_s - zero) * sfreq - 1e-6), n = Math.max(1, Math.ceil((to_s - zero) * sfreq - 1e-6) - first);
      const uv = about.ch_names.map(() => new Float32Array(n).fill(NaN));
      for (const part of some) {
        const at = Math.round((part.start_s - zero) * sfreq) - first, length = part.uv[0].length;
        const skip = Math.max(0, -at), stop = Math.min(length, n - at);
        if (stop > skip) uv.forEach((row, c) => row.set(part.uv[c].subarray(skip, stop), at + skip));
      }
      return { sfreq, start_s: zero + first / sfreq, uv };
    },
    ahead(from_s, to_s) { for (const block of blocksIn(from_s, to_s)) load(block).catch(() => {}); },
  };
}

// The text of a chunk that lies in an element of its own, which the browser may not have come to yet.
function chunkText(root, at) {
  const find = () => { const element = root.querySelector(`[data-eeg-chunk="${at}"]`); return element && (element.nextSibling || document.readyState !== "loading") ? element.textContent : null; };
  return new Promise((resolve, reject) => {
    const look = () => {
      const text = find(), ended = document.readyState !== "loading";
      if (text === null && !ended) return;
      watcher.disconnect();
      document.removeEventListener("DOMContentLoaded", look);
      if (text === null) reject(new Error("a part of this page is missing")); else resolve(text);
    };
    const watcher = new MutationObserver(look);
    watcher.observe(root, { childList: true });
    document.addEventListener("DOMContentLoaded", look);
    look();
  });
}

// Signals that lie in the page, as viewer_json() wrote them; `root` holds the chunks that are elements.
function embeddedSource({ about, step_uv, pieces }, root) {
  const blocks = [];
  for (const piece of pieces) {
    let start_s = piece.start_s;
    for (const chunk of piece.chunks) {
      const own = start_s;
      start_s += chunk.n / about.sfreq;
      blocks.push({ key: blocks.length, start_s: own, stop_s: start_s, load: async () => ({ start_s: own, uv: await EegTraces.decodeChunk(chunk.data ? chunk : { ...chunk, data: await chunkText(root, chunk.at) }, about.ch_names.length, step_uv) }) });
    }
  }
  const stretches = [];
  for (const { start_s, stop_s } of blocks) {
    const last = stretches[stretches.length - 1];
    if (last && start_s - last[1] < 1) last[1] = stop_s; else stretches.push([start_s, stop_s]);
  }
  return Object.assign(blockSource(about, (from, to) => blocks.filter((b) => b.start_s < to && b.stop_s > from)), { stretches });
}

// Signals that a server sends piece by piece: `urlOf(from_s, to_s)` is the address of a samples_message().
function fetchSource(about, urlOf, { block_s = 30, ask = fetch } = {}) {
  const block = (k) => ({
    key: k,
    load: async () => {
      const answer = await ask(urlOf(k * block_s, Math.min((k + 1) * block_s, about.duration_s)));
      if (!answer.ok) throw new Error(`the server answered ${answer.status} ${answer.statusText}`);
      return EegTraces.decodeMessage(await answer.arrayBuffer());
    },
  });
  return blockSource(about, (from, to) => {
    const found = [];
    for (let k = Math.max(0, Math.floor(from / block_s)); k * block_s < Math.min(to, about.duration_s); k++) found.push(block(k));
    return found;
  });
}

// A curve as Python wrote it: {times, values, step_s}.
async function readSeries(series) {
  if (!series) return { times: [], values: [], step_s: 1 };
  const [values] = await EegTraces.decodeChunk(series.chunk, 1, series.step);
  return { times: series.times_s || Array.from(values, (_, i) => series.from_s + i * series.step_s), values, step_s: series.step_s };
}

// --- the viewer ---

const EEG_KINDS = { // how a kind of event is drawn: colour variable, dashes, word
  detected: ["mark", [], "detected"], reference: ["reference", [7, 4], "annotated"], confirmed: ["mark", [], "confirmed"],
  rejected: ["soft", [2, 3], "rejected"], moved: ["mark", [], "moved"], added: ["mark", [], "added"],
};
const EEG_KEYS = [
  ["← → PageUp PageDown", "a page back, forward"], ["Shift+← →", "cursor by a tenth of a second"], ["Home End", "start, end of the recording"],
  ["n p", "next, previous event"], ["+ −", "traces higher, lower"], ["0", "fitting sensitivity"], ["t", "page length"],
  ["f", "display filters on, off"], ["i", "turn the polarity"], ["?", "these keys"],
];

class EegViewer {
  // options: keys (element whose keys are read; the viewer by default, `document` where a page has one viewer), onKey(event) -> true where it was used, list (false: no table of events), page_s, filters.
  constructor(root, source, options = {}) {
    Object.assign(this, { root, source, options, about: source.about, events: [], selected: null, cursor_s: null, selection: null });
    const narrow = root.clientWidth && root.clientWidth < 600;
    this.view = { from_s: 0, page_s: options.page_s || (narrow ? 5 : 10), uvPerMm: null, negativeUp: true, filters: { highPass: 0.5, lowPass: 0, notch: 0, ...options.filters }, filtering: true };
    this.curve = this.windows = { times: [], values: [], step_s: 1 };
    this.reference = this.about.reference.map((event) => ({ kind: "reference", ...event }));
    this.signal = null;
    this.uvPerMm = 7;
    this.asked = 0;
    this.build();
    this.setEvents(this.about.events);
    this.ready = this.begin();
  }

  async begin() {
    [this.curve, this.windows] = await Promise.all([readSeries(this.about.curve), readSeries(this.about.windows)]);
    this.showLegend();
    const first = this.events[0] || this.reference[0], stretch = (this.source.stretches || [])[0];
    if (first) await this.select(first);
    else await this.goTo(stretch ? stretch[0] : 0);
    performance.mark("eeg-drawn");
  }

  // --- what callers use ---

  // Show the page that begins at `s`; resolves when it is drawn.
  async goTo(s) {
    const { duration_s } = this.about;
    this.view.from_s = Math.max(0, Math.min(s, Math.max(0, duration_s - this.view.page_s)));
    await (this.loading = this.load());
    this.root.dispatchEvent(new CustomEvent("view", { detail: { from_s: this.view.from_s, to_s: this.to_s } }));
  }
  setEvents(events) {
    this.events = [...events].sort((a, b) => a.onset_s - b.onset_s);
    if (this.selected && this.selected.kind !== "reference") this.selected = this.events.find((e) => e.onset_s === this.selected.onset_s && e.offset_s === this.selected.offset_s) || null;
    this.showList();
    if (this.curve) this.showLegend();
    this.draw();
  }
  async select(event) {
    this.selected = event;
    this.showList();
    await this.goTo(event.onset_s - this.view.page_s * 0.3);
  }
  setCursor(s) {
    this.cursor_s = s === null ? null : Math.max(0, Math.min(s, this.about.duration_s));
    this.draw();
    this.root.dispatchEvent(new CustomEvent("cursor", { detail: { time_s: this.cursor_s } }));
  }
  setSelection(selection) {
    this.selection = selection;
    this.draw();
    this.root.dispatchEvent(new CustomEvent("selection", { detail: selection }));
  }
  get to_s() { return Math.min(this.view.from_s + this.view.page_s, this.about.duration_s); }
  page(by) { return this.goTo(this.besideGap(this.view.from_s + by * this.view.page_s, by)); }
  step(by) {
    const { from_s } = this.view, near = this.selected && this.selected.onset_s >= from_s && this.selected.onset_s <= this.to_s;
    const here = near ? this.selected.onset_s : from_s - 1e-6;
    const among = this.events.length ? this.events : this.reference;
    const found = by > 0 ? among.find((e) => e.onset_s > here) : among.findLast((e) => e.onset_s < here);
    if (found) return this.select(found);
    this.say(by > 0 ? "no later event" : "no earlier event");
    return Promise.resolve();
  }
  sensitivity(by) {
    const ladder = EegTraces.SENSITIVITIES, at = ladder.indexOf(this.uvPerMm);
    this.view.uvPerMm = by === 0 ? null : ladder[Math.max(0, Math.min(ladder.length - 1, at + by))];
    this.uvPerMm = this.view.uvPerMm || this.uvPerMm; // at once: the next key may come before the picture
    this.draw();
  }
  set(change) {
    Object.assign(this.view, change);
    return change.page_s ? this.goTo(this.view.from_s) : this.refilter();
  }

  // --- reading ---

  // From where no signal lies in the page, the next or previous stretch that has some.
  besideGap(from_s, by) {
    const stretches = this.source.stretches, to_s = from_s + this.view.page_s;
    if (!stretches || stretches.some(([a, b]) => a < to_s - 0.01 && b > from_s + 0.01)) return from_s;
    const found = by > 0 ? stretches.find(([a]) => a >= from_s) : stretches.findLast(([, b]) => b <= to_s);
    if (!found) { this.say("no more EEG in this page"); return this.view.from_s; }
    this.say("went over a stretch whose EEG is not in this page");
    return by > 0 ? found[0] : Math.max(found[0], found[1] - this.view.page_s);
  }
  async load() {
    const asked = ++this.asked, { from_s } = this.view, { to_s } = this;
    this.draw();
    let signal = null, fault = "";
    try { signal = await this.source.read(Math.max(0, from_s - EegTraces.PAD_S), to_s + 0.1); } catch (error) { fault = `The EEG of this page cannot be read: ${error.message}`; }
    if (asked !== this.asked) return;
    this.signal = signal && signal.uv ? signal : null;
    this.fault = fault;
    await this.refilter();
    if (this.source.ahead) setTimeout(() => this.source.ahead(to_s, to_s + this.view.page_s), 50);
  }
  async refilter() {
    const { signal } = this, { filtering, filters } = this.view;
    const made = signal && filtering ? EegTraces.sections(signal.sfreq, filters) : [];
    this.shown = signal && { ...signal, uv: made.length ? signal.uv.map((x) => EegTraces.filtered(x, made)) : signal.uv };
    this.drawNow();
  }

  // --- the page's elements ---

  build() {
    const make = (tag, attributes = {}, ...inside) => {
      const element = document.createElement(tag);
      for (const [name, value] of Object.entries(attributes)) if (name.startsWith("on")) element.addEventListener(name.slice(2), value); else if (value !== false && value !== null) element.setAttribute(name, value === true ? "" : value);
      element.append(...inside);
      return element;
    };
    const button = (text, label, key, does) => make("button", { type: "button", "aria-label": label, title: key ? `${label} (${key})` : label, onclick: does }, text);
    const choice = (label, values, text, chosen, does) => {
      const select = make("select", { onchange: () => does(Number(select.value)) }, ...values.map((v) => make("option", { value: v, selected: v === chosen }, text(v))));
      return [make("label", {}, make("span", {}, label), select), select];
    };
    const { sfreq } = this.about, hertz = (v) => (v ? `${v} Hz` : "off"), filter = (label, kind) => choice(label, EegTraces.FILTERS[kind].filter((v) => EegTraces.usable(v, sfreq)), hertz, this.view.filters[kind], (v) => { this.view.filtering = true; this.view.filters[kind] = v; this.refilter(); });
    const e = (this.el = {});
    [e.highLabel, e.highPass] = filter("High-pass", "highPass");
    [e.lowLabel, e.lowPass] = filter("Low-pass", "lowPass");
    [e.notchLabel, e.notch] = filter("Notch", "notch");
    [e.pageLabel, e.page] = choice("Page", EegTraces.PAGES_S, (v) => `${v} s`, this.view.page_s, (v) => this.set({ page_s: v }));
    e.negative = make("button", { type: "button", "aria-pressed": "true", title: "Turn the polarity (i)", onclick: () => this.set({ negativeUp: !this.view.negativeUp }) });
    const group = (label, ...inside) => make("div", { role: "group", "aria-label": label, class: "eeg-group" }, ...inside);
    e.bar = make("div", { class: "eeg-bar" },
      group("Pages", button("◀", "Previous page", "←", () => this.page(-1)), button("▶", "Next page", "→", () => this.page(1))),
      group("Events", button("◀ event", "Previous event", "p", () => this.step(-1)), button("event ▶", "Next event", "n", () => this.step(1))),
      group("Sensitivity", button("−", "Lower traces", "−", () => this.sensitivity(1)), (e.sensitivity = make("output", {})), button("+", "Higher traces", "+", () => this.sensitivity(-1))),
      group("Polarity and help", e.negative, button("?", "Keys and conventions", "?", () => this.help())),
      group("Page and display filters", e.pageLabel, e.highLabel, e.lowLabel, e.notchLabel));
    e.where = make("p", { class: "eeg-where" });
    e.status = make("p", { class: "eeg-status", role: "status" });
    e.eeg = make("canvas", { class: "eeg-traces", tabindex: "0", role: "img" });
    e.curve = make("canvas", { class: "eeg-curve", "aria-hidden": "true" });
    e.overview = make("canvas", { class: "eeg-overview", tabindex: "0", role: "slider", "aria-label": "Place in the recording", "aria-valuemin": "0", "aria-valuemax": String(Math.round(this.about.duration_s)) });
    e.legend = make("p", { class: "eeg-legend" });
    const { notes, clock_note, start_time, resolution, ch_names, file_names, recorded_hz } = this.about;
    e.keys = make("dl", {}, ...EEG_KEYS.flatMap(([keys, text]) => [make("dt", {}, ...keys.split(" ").flatMap((k) => [make("kbd", {}, k), " "])), make("dd", {}, text)]));
    const facts = [`${ch_names.length} channels, shown at ${Math.round(sfreq * 100) / 100} Hz${recorded_hz && Math.abs(recorded_hz - sfreq) > 0.5 ? ` (recorded at ${Math.round(recorded_hz * 100) / 100} Hz, brought down with an anti-alias filter)` : ""}${resolution ? `, ${resolution}` : ""}.`,
      "Sensitivity in µV/mm holds where a millimetre of the screen is one of the browser; the bar in the corner always holds. Traces are cut three rows from their own.",
      "Filters are for display: second-order Butterworth high- and low-pass and a notch, causal, as on an EEG machine. The detector saw the signal without them.",
      start_time ? `Clock: ${EegTraces.wallClock(start_time, 0, true)} at the start; ${clock_note}.` : "The file tells no time of day.", ...notes];
    const other = ch_names.map((name, i) => [name, file_names[i]]);
    e.help = make("details", { class: "eeg-help" }, make("summary", {}, "Keys, channels and conventions"),
      e.keys, make("ul", {}, ...facts.map((text) => make("li", {}, text))),
      make("table", {}, make("caption", {}, "Channels and what the file calls them"), make("tbody", {}, ...other.map(([name, file]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, file))))));
    e.list = make("tbody", {});
    e.table = make("div", { class: "eeg-events", tabindex: "0", role: "region", "aria-label": "Events" }, make("table", {}, make("caption", {}, "Events"), make("thead", {}, make("tr", {}, ...["Event", "Onset", "Offset", "Length", ...(start_time ? ["Clock"] : []), "Highest", "What"].map((text) => make("th", { scope: "col" }, text)))), e.list));
    if (this.options.list === false) e.table.hidden = true;
    this.root.append(e.bar, e.where, e.eeg, e.curve, e.overview, e.legend, e.status, e.table, e.help);
    this.make = make;
    this.listen();
  }

  listen() {
    const { eeg, curve, overview } = this.el, on = (element, name, does, more) => element.addEventListener(name, does, more);
    on(this.options.keys || this.root, "keydown", (key) => this.key(key));
    let down = null;
    on(eeg, "pointerdown", (p) => { if (p.button === 0) down = { x: p.offsetX, y: p.clientY, s: this.timeAt(p.offsetX), type: p.pointerType }; });
    on(eeg, "pointermove", (p) => {
      if (down && down.type !== "touch" && Math.abs(p.offsetX - down.x) > 4) { const s = this.timeAt(p.offsetX); this.selection = { from_s: Math.min(s, down.s), to_s: Math.max(s, down.s) }; this.draw(); }
    });
    on(window, "pointerup", (p) => {
      if (!down) return;
      const was = down, by = p.clientX - eeg.getBoundingClientRect().left - was.x;
      down = null;
      if (was.type === "touch" && Math.abs(by) > 40 && Math.abs(by) > 2 * Math.abs(p.clientY - was.y)) this.page(by < 0 ? 1 : -1);
      else if (was.type !== "touch" && Math.abs(by) > 4) this.setSelection(this.selection);
      else if (was.s !== null) { this.selection = null; this.setCursor(was.s); }
    });
    on(window, "pointercancel", () => { down = null; });
    const jump = (canvas, from, to) => (p) => { const s = from() + ((p.offsetX - this.margin) / (canvas.clientWidth - this.margin)) * (to() - from()); this.goTo(s - this.view.page_s / 2); };
    on(overview, "click", jump(overview, () => 0, () => this.about.duration_s));
    on(curve, "click", jump(curve, () => this.strip[0], () => this.strip[1]));
    new ResizeObserver(() => { if (this.root.clientWidth !== this.drawnWidth) this.draw(); }).observe(this.root);
    on(matchMedia("(prefers-color-scheme: dark)"), "change", () => this.draw());
    on(window, "beforeprint", () => { this.root.classList.add("eeg-print"); this.drawNow(); });
    on(window, "afterprint", () => { this.root.classList.remove("eeg-print"); this.drawNow(); });
  }

  // Where letters belong to what has the focus; a ticked box has none.
  static typing(target) {
    return Boolean(target.isContentEditable || target.matches?.("input:not([type=checkbox]), select, textarea"));
  }
  key(k) {
    if (k.ctrlKey || k.metaKey || k.altKey || EegViewer.typing(k.target)) return;
    if (this.options.onKey && this.options.onKey(k)) { k.preventDefault(); return; }
    if (!this.reads(k)) return;
    const cursor = (by) => this.setCursor((this.cursor_s === null ? this.view.from_s + this.view.page_s / 2 : this.cursor_s) + by);
    const does = k.shiftKey && { ArrowLeft: () => cursor(-0.1), ArrowRight: () => cursor(0.1) }[k.key] || {
      ArrowLeft: () => this.page(-1), PageUp: () => this.page(-1), ArrowRight: () => this.page(1), PageDown: () => this.page(1),
      Home: () => this.goTo(0), End: () => this.goTo(Infinity), n: () => this.step(1), p: () => this.step(-1),
      "+": () => this.sensitivity(-1), "=": () => this.sensitivity(-1), "-": () => this.sensitivity(1), "−": () => this.sensitivity(1), 0: () => this.sensitivity(0),
      t: () => this.set({ page_s: EegTraces.PAGES_S[(EegTraces.PAGES_S.indexOf(this.view.page_s) + 1) % EegTraces.PAGES_S.length] }),
      f: () => this.set({ filtering: !this.view.filtering }), i: () => this.set({ negativeUp: !this.view.negativeUp }), "?": () => this.help(),
    }[k.key.length === 1 ? k.key.toLowerCase() : k.key];
    if (does) { k.preventDefault(); does(); }
  }
  // A page around the viewer, and regions that scroll, keep their own keys.
  reads(k) {
    const region = k.target.closest?.('[tabindex="0"]'), { top, bottom } = this.el.eeg.getBoundingClientRect();
    if (k.key.length > 1 && region && region !== this.el.eeg && region !== this.el.overview) return false;
    return this.root.contains(k.target) || (bottom > 100 && top < window.innerHeight - 100);
  }
  help() {
    const { help } = this.el;
    help.open = !help.open;
    if (help.open) help.querySelector("summary").focus();
  }
  say(text) { this.el.status.textContent = text; }

  showList() {
    const { list } = this.el, { make } = this;
    if (!list) return;
    const { start_time } = this.about;
    const rows = [...this.events.map((event, i) => [event, String(i + 1)]), ...this.reference.map((event) => [event, "–"])];
    list.replaceChildren(...rows.map(([event, number]) => {
      const here = event === this.selected, [, , word] = EEG_KINDS[event.kind] || EEG_KINDS.detected;
      return make("tr", { class: here && "eeg-here" },
        make("td", {}, make("button", { type: "button", "aria-label": number === "–" ? "Go to the annotation" : `Go to event ${number}`, "aria-current": here && "true", onclick: () => this.select(event) }, number === "–" ? "go" : number)),
        ...[EegTraces.clock(event.onset_s, 1), EegTraces.clock(event.offset_s, 1), `${(event.offset_s - event.onset_s).toFixed(event.offset_s - event.onset_s < 10 ? 1 : 0)} s`, ...(start_time ? [EegTraces.wallClock(start_time, event.onset_s)] : []), event.confidence === undefined || event.confidence === null ? "" : event.confidence.toFixed(2), event.label || word].map((text) => make("td", {}, text)));
    }));
    if (!rows.length) list.replaceChildren(make("tr", {}, make("td", { colspan: "7" }, "none")));
  }

  // --- drawing ---

  get margin() { return this.el.eeg.clientWidth < 500 ? 46 : 64; }
  timeAt(x) {
    const s = this.view.from_s + ((x - this.margin) / (this.el.eeg.clientWidth - this.margin)) * this.view.page_s;
    return s < this.view.from_s || s > this.view.from_s + this.view.page_s ? null : s;
  }
  // Once before the next picture, however often it is asked for.
  draw() {
    if (this.pending) return;
    this.pending = requestAnimationFrame(() => { this.pending = 0; this.drawNow(); });
  }
  drawNow() {
    if (this.pending) { cancelAnimationFrame(this.pending); this.pending = 0; }
    this.drawnWidth = this.root.clientWidth;
    const style = getComputedStyle(this.root);
    this.colours = new Proxy({}, { get: (_, name) => style.getPropertyValue(`--eeg-${name}`).trim() || "#888" });
    this.colours = Object.fromEntries(["ink", "soft", "paper", "grid", "rule", "left", "right", "middle", "other", "faint", "mark", "reference", "curve", "window", "limit", "gap"].map((name) => [name, this.colours[name]]));
    this.drawEeg();
    this.drawCurve();
    this.drawOverview();
    this.showWords();
  }
  pen(canvas, height) {
    const scale = (this.scale = this.root.classList.contains("eeg-print") ? 2 : window.devicePixelRatio || 1), width = canvas.clientWidth;
    if (height && canvas.style.height !== `${height}px`) canvas.style.height = `${height}px`;
    const high = height || canvas.clientHeight;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(high * scale)) { canvas.width = Math.round(width * scale); canvas.height = Math.round(high * scale); }
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.fillStyle = this.colours.paper;
    pen.fillRect(0, 0, width, high);
    pen.font = "11px system-ui, sans-serif";
    return { pen, width, height: high };
  }
  marked() { return [...this.reference, ...this.events]; }

  drawEeg() {
    const { eeg } = this.el, names = this.about.ch_names, { from_s, page_s, negativeUp } = this.view, to_s = from_s + page_s, { colours } = this;
    const lanes = this.about.reference.length ? 34 : 18, room = 0.4, chains = EegTraces.chains(names).length;
    const units = names.length + 0.55 * (chains - 1), rowPx = Math.max(17, Math.min(38, (window.innerHeight * 0.66) / (units + 2 * room)));
    const { pen, width, height } = this.pen(eeg, Math.round(lanes + (units + 2 * room) * rowPx + 34));
    if (width < 40) return;
    const box = { left: this.margin, top: lanes, width: width - this.margin, height: height - lanes - 32 };
    const plan = EegTraces.layout(names, box.top + room * rowPx, box.top + box.height - room * rowPx), common = { box, ...plan, fromS: from_s, toS: to_s, colours };
    if (this.view.uvPerMm === null && this.shown) this.view.uvPerMm = EegTraces.fittingSensitivity(EegTraces.robustScale(this.shown.uv), plan.rowPx);
    this.uvPerMm = this.view.uvPerMm || 7;
    const x = (s) => box.left + ((s - from_s) / page_s) * box.width;
    this.bands(pen, x, box, 0.07);
    if (this.selection) { pen.globalAlpha = 0.18; pen.fillStyle = colours.ink; pen.fillRect(Math.max(box.left, x(this.selection.from_s)), box.top, x(this.selection.to_s) - Math.max(box.left, x(this.selection.from_s)), box.height); pen.globalAlpha = 1; }
    EegTraces.drawSeconds(pen, { ...common, text: (s) => EegTraces.clock(s), right: EegTraces.drawScale(pen, { ...common, uvPerMm: this.uvPerMm }) });
    const absent = new Set(this.shown ? names.keys() : []);
    if (this.shown) {
      const first = Math.max(0, Math.floor((from_s - this.shown.start_s) * this.shown.sfreq));
      this.shown.uv.forEach((v, c) => { if (v.subarray(first).some((sample) => sample === sample)) absent.delete(c); });
      EegTraces.drawTraces(pen, this.shown, { ...common, uvPerMm: this.uvPerMm, negativeUp, lineWidth: (this.root.classList.contains("eeg-print") ? 1.5 : 1) / this.scale });
    }
    const none = !this.shown || absent.size === names.length;
    EegTraces.drawLabels(pen, names, { ...common, absent: none ? new Set() : absent });
    if (none) {
      pen.fillStyle = colours.soft;
      pen.font = "14px system-ui, sans-serif";
      pen.textAlign = "center";
      pen.fillText(this.fault || (this.shown || this.source.stretches ? "The EEG of this stretch is not in this page" : "Reading …"), box.left + box.width / 2, box.top + box.height / 2);
      pen.font = "11px system-ui, sans-serif";
    }
    this.edges(pen, x, box);
    if (this.cursor_s !== null && this.cursor_s >= from_s && this.cursor_s <= to_s) {
      pen.strokeStyle = colours.ink; pen.lineWidth = 1; pen.setLineDash([1, 2]);
      pen.beginPath(); pen.moveTo(x(this.cursor_s), box.top); pen.lineTo(x(this.cursor_s), box.top + box.height); pen.stroke(); pen.setLineDash([]);
    }
    eeg.setAttribute("aria-label", `EEG from ${EegTraces.clock(from_s)} to ${EegTraces.clock(to_s)}, ${names.length} channels, ${this.uvPerMm} µV/mm, ${negativeUp ? "negative" : "positive"} up`);
  }
  bands(pen, x, { left, top, width, height }, alpha) {
    for (const event of this.marked()) {
      const a = Math.max(left, x(event.onset_s)), b = Math.min(left + width, x(event.offset_s));
      if (b <= a) continue;
      pen.globalAlpha = event === this.selected ? 1.6 * alpha : alpha;
      pen.fillStyle = this.colours[(EEG_KINDS[event.kind] || EEG_KINDS.detected)[0]];
      pen.fillRect(a, top, b - a, height);
    }
    pen.globalAlpha = 1;
  }
  // Onsets and offsets as lines with their words, detected ones in the upper lane, annotated ones in the lower. The selected event's words come first; where
  // there is no room for those of another, its lines stand alone.
  edges(pen, x, { left, top, width, height }) {
    const right = left + width, taken = [];
    const put = (words, y, places) => {
      const wide = pen.measureText(words).width;
      const free = places.map((at) => [at, at + wide]).find(([a, b]) => a >= left && b <= right && !taken.some(([c, d, lane]) => lane === y && a < d + 6 && b > c - 6));
      if (!free) return;
      taken.push([...free, y]);
      pen.textAlign = "left";
      pen.fillText(words, free[0], y);
    };
    pen.textBaseline = "middle";
    for (const event of this.marked().sort((a, b) => (b === this.selected) - (a === this.selected))) {
      const [colour, dashes, word] = EEG_KINDS[event.kind] || EEG_KINDS.detected, y = event.kind === "reference" && top > 20 ? 25 : 9, name = event.label || word;
      const a = x(event.onset_s), b = x(event.offset_s);
      if (b < left || a > right) continue;
      pen.strokeStyle = pen.fillStyle = this.colours[colour];
      pen.fillRect(Math.max(left, a), y + 7, Math.max(2, Math.min(b, right) - Math.max(left, a)), 2);
      pen.lineWidth = 2;
      pen.setLineDash(dashes);
      for (const px of [a, b]) if (px >= left - 0.5 && px <= right + 0.5) { pen.beginPath(); pen.moveTo(px, y - 7); pen.lineTo(px, top + height); pen.stroke(); }
      pen.setLineDash([]);
      const onset = `${name} onset ${EegTraces.clock(event.onset_s, 1)}`, offset = `${name} offset ${EegTraces.clock(event.offset_s, 1)}`;
      if (a >= left) put(onset, y, [a + 4, a - 4 - pen.measureText(onset).width]);
      if (b <= right) put(offset, y, [b - 4 - pen.measureText(offset).width, b + 4]);
      if (a < left && b > right) { const words = `${name} ${EegTraces.clock(event.onset_s)} to ${EegTraces.clock(event.offset_s)}`; put(words, y, [left + (width - pen.measureText(words).width) / 2]); }
    }
    pen.textBaseline = "alphabetic";
    pen.lineWidth = 1;
  }

  // The curve around the page: what decided.
  drawCurve() {
    const { curve } = this.el, { from_s, page_s } = this.view, { threshold, duration_s } = this.about, { colours } = this;
    curve.hidden = !this.curve.times.length && !this.windows.times.length;
    if (curve.hidden) return;
    const { pen, width, height } = this.pen(curve), left = this.margin, span = Math.min(duration_s, Math.max(120, 12 * page_s));
    const begin = Math.max(0, Math.min(from_s + page_s / 2 - span / 2, duration_s - span));
    this.strip = [begin, begin + span];
    const box = { left, top: 8, width: width - left, height: height - 26 }, x = (s) => left + ((s - begin) / span) * box.width, y = (p) => box.top + (1 - p) * box.height;
    pen.strokeStyle = colours.grid; pen.fillStyle = colours.soft; pen.textAlign = "right";
    for (const p of [0, 0.5, 1]) { pen.beginPath(); pen.moveTo(left, y(p)); pen.lineTo(width, y(p)); pen.stroke(); pen.fillText(`${100 * p} %`, left - 5, y(p) + 4); }
    this.bands(pen, x, box, 0.1);
    this.page_(pen, x, box);
    pen.save();
    pen.beginPath(); pen.rect(left, 0, box.width, height); pen.clip();
    pen.fillStyle = colours.window;
    this.within(this.windows, begin - 60, begin + span + 60, (s, p) => { if (p === p) { pen.beginPath(); pen.arc(x(s), y(p), 2, 0, 7); pen.fill(); } });
    pen.strokeStyle = colours.curve; pen.lineWidth = 2; pen.beginPath();
    let end = NaN; // steps: a value holds for its second, so the line meets the threshold where an event begins
    const { step_s } = this.curve;
    this.within(this.curve, begin - step_s, begin + span + step_s, (s, p, next) => {
      if (p !== p) { end = NaN; return; }
      if (Math.abs(s - end) < 1e-3) pen.lineTo(x(s), y(p)); else pen.moveTo(x(s), y(p));
      end = next - s < 1.5 * step_s ? next : s + step_s;
      pen.lineTo(x(end), y(p));
    });
    pen.stroke();
    if (threshold !== null) { pen.strokeStyle = colours.limit; pen.lineWidth = 1.4; pen.setLineDash([6, 4]); pen.beginPath(); pen.moveTo(left, y(threshold)); pen.lineTo(width, y(threshold)); pen.stroke(); pen.setLineDash([]); }
    pen.restore();
    this.times(pen, x, begin, span, box);
  }
  within({ times, values }, from, to, use) {
    let low = 0, high = times.length;
    while (low < high) { const middle = (low + high) >> 1; if (times[middle] < from) low = middle + 1; else high = middle; }
    for (; low < times.length && times[low] <= to; low++) use(times[low], values[low], low + 1 < times.length ? times[low + 1] : Infinity);
  }
  page_(pen, x, { top, height }) {
    const a = x(this.view.from_s), wide = Math.max(3, x(this.to_s) - a);
    pen.fillStyle = pen.strokeStyle = this.colours.ink;
    pen.globalAlpha = 0.12; pen.fillRect(a, top, wide, height); pen.globalAlpha = 1;
    pen.lineWidth = 1.5; pen.strokeRect(a, top, wide, height); pen.lineWidth = 1;
  }
  times(pen, x, from, span, { left, top, width, height }) {
    const every = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400].find((s) => (s / span) * width > 70) || 43200;
    pen.textAlign = "center"; pen.fillStyle = this.colours.soft; pen.font = "11px system-ui, sans-serif";
    for (let s = Math.ceil(from / every) * every; s <= from + span; s += every) if (x(s) > left + 18 && x(s) < left + width - 22) pen.fillText(EegTraces.clock(s), x(s), top + height + 13);
  }

  // The whole recording: the highest of the curve in each pixel, events, gaps, what has EEG here, the page.
  drawOverview() {
    const { overview } = this.el, { duration_s, threshold, gaps } = this.about, { colours } = this;
    const { pen, width, height } = this.pen(overview), left = this.margin, box = { left, top: 4, width: width - left, height: height - 22 };
    const x = (s) => left + (s / duration_s) * box.width, y = (p) => box.top + (1 - p) * box.height;
    pen.fillStyle = colours.soft; pen.textAlign = "right"; pen.fillText("whole", left - 5, box.top + box.height / 2 + 4);
    pen.strokeStyle = colours.rule; pen.strokeRect(left + 0.5, box.top + 0.5, box.width - 1, box.height);
    pen.fillStyle = colours.gap;
    for (const [a, b] of gaps) pen.fillRect(x(a), box.top, Math.max(1, x(b) - x(a)), box.height);
    const { times, values } = this.curve;
    pen.strokeStyle = colours.curve; pen.beginPath();
    let column = -1, most = NaN, open = false;
    const put = () => { if (column < 0) return; if (most !== most) { open = false; return; } if (open) pen.lineTo(column + 0.5, y(most)); else pen.moveTo(column + 0.5, y(most)); open = true; };
    for (let i = 0; i < times.length; i++) { const at = Math.floor(x(times[i])); if (at !== column) { put(); column = at; most = values[i]; } else if (!(most >= values[i])) most = values[i] === values[i] ? values[i] : most; }
    put();
    pen.stroke();
    if (threshold !== null) { pen.strokeStyle = colours.limit; pen.setLineDash([6, 4]); pen.beginPath(); pen.moveTo(left, y(threshold)); pen.lineTo(width, y(threshold)); pen.stroke(); pen.setLineDash([]); }
    for (const event of this.marked()) {
      const reference = event.kind === "reference", a = x(event.onset_s), wide = Math.max(3, x(event.offset_s) - a);
      pen.fillStyle = colours[(EEG_KINDS[event.kind] || EEG_KINDS.detected)[0]];
      pen.fillRect(a, reference ? box.top + box.height - 6 : box.top, wide, 6);
    }
    pen.fillStyle = colours.soft;
    if (this.source.stretches) for (const [a, b] of this.source.stretches) pen.fillRect(x(a), box.top + box.height + 1, Math.max(2, x(b) - x(a)), 3);
    this.page_(pen, x, box);
    this.times(pen, x, 0, duration_s, { ...box, height: box.height + 2 });
    overview.setAttribute("aria-valuenow", String(Math.round(this.view.from_s)));
    overview.setAttribute("aria-valuetext", `${EegTraces.clock(this.view.from_s)} of ${EegTraces.clock(duration_s)}`);
  }

  showWords() {
    const { from_s, filters, filtering, negativeUp, page_s } = this.view, { start_time } = this.about, { el } = this;
    const time = start_time ? ` · clock ${EegTraces.wallClock(start_time, from_s)} (file header)` : "", hertz = (v) => (v ? `${v} Hz` : "off");
    const usable = (kind) => (EegTraces.usable(filters[kind], this.about.sfreq) ? filters[kind] : 0);
    const shown = filtering && (usable("highPass") || usable("lowPass") || usable("notch"));
    const filter = shown ? `display filter: high-pass ${hertz(usable("highPass"))}, low-pass ${hertz(usable("lowPass"))}, notch ${hertz(usable("notch"))}` : "no display filter";
    const cursor = this.cursor_s === null ? "" : ` · cursor ${EegTraces.clock(this.cursor_s, 1)}`;
    const words = `${EegTraces.clock(from_s, from_s % 1 ? 1 : 0)} to ${EegTraces.clock(this.to_s, this.to_s % 1 ? 1 : 0)}${time} · ${this.uvPerMm} µV/mm · ${filter} · ${negativeUp ? "negative" : "positive"} up${cursor}`;
    if (el.where.textContent !== words) el.where.textContent = words;
    el.sensitivity.textContent = `${this.uvPerMm} µV/mm`;
    el.negative.textContent = negativeUp ? "Negative up" : "Positive up";
    el.negative.setAttribute("aria-pressed", String(negativeUp));
    el.page.value = String(page_s);
    for (const kind of ["highPass", "lowPass", "notch"]) el[kind].value = String(filtering ? usable(kind) : 0);
  }
  showLegend() {
    const { threshold, ch_names } = this.about, { make } = this, sides = new Set(EegTraces.chains(ch_names).map((chain) => chain.side)), item = (kind, text) => make("span", { class: `eeg-key eeg-key-${kind}` }, text);
    const marked = Object.entries(EEG_KINDS).filter(([kind, [colour]]) => colour === "mark" && this.events.some((e) => (e.kind in EEG_KINDS ? e.kind : "detected") === kind)).map(([, [, , word]]) => word);
    this.el.legend.replaceChildren(...[["left", "left side"], ["right", "right side"], ["middle", "midline"]].filter(([side]) => sides.has(side)).map(([side, text]) => item(side, text)),
      ...(this.curve.times.length ? [item("curve", "smoothed curve, which the threshold meets: it decides")] : []), ...(this.windows.times.length ? [item("window", "probability of each window")] : []),
      ...(threshold === null ? [] : [item("limit", `threshold ${Number(threshold.toPrecision(3))}`)]), item("mark", marked.join(", ") || "detected"), ...(this.about.reference.length ? [item("reference", "annotated (reference)")] : []));
  }
}

// All viewers of a page whose data lie in it; where there is one, it reads the page's keys.
function startViewers(options = {}) {
  const roots = [...document.querySelectorAll("[data-eeg-viewer]")];
  return (startViewers.made = roots.map((root) => {
    const data = root.querySelector('script[type="application/json"]');
    root.querySelector("noscript")?.remove();
    return new EegViewer(root, embeddedSource(JSON.parse(data.textContent), root), { keys: roots.length === 1 ? document : root, ...options });
  }));
}
