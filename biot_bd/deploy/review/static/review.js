"use strict";

const byId = (id) => document.getElementById(id);
const make = (tag, attributes = {}, ...inside) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (name.startsWith("on")) element.addEventListener(name.slice(2), value); else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  element.append(...inside);
  return element;
};
const hundredth = (s) => Math.round(s * 100) / 100;
const later = (ms) => new Promise((done) => setTimeout(done, ms));
const span = (m) => `${EegTraces.clock(m.onset_s, 1)} to ${EegTraces.clock(m.offset_s, 1)}`;

// --- the server ---

let token = document.querySelector('meta[name="review-token"]').content;
async function get(path, query = {}) {
  const answer = await fetch(`${path}?${new URLSearchParams(query)}`);
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer.json();
}
const post = (body) => fetch("/review", { method: "POST", headers: { "Content-Type": "application/json", "X-Review-Token": token }, body: JSON.stringify(body) });
// A server that was started again has another token; its page tells it.
async function renewToken() {
  const page = new DOMParser().parseFromString(await (await fetch("/")).text(), "text/html"), was = token;
  token = page.querySelector('meta[name="review-token"]')?.content || token;
  return token !== was;
}

// --- the marks of one recording: what is saved, and the changes that are not yet ---

const sameTimes = (a, b) => a && b && a[0] === b[0] && a[1] === b[1];
const sameMark = (a, b) => a.kind === b.kind && a.onset_s === b.onset_s && a.offset_s === b.offset_s && a.type === b.type && a.remark === b.remark && (sameTimes(a.detected, b.detected) || a.detected === b.detected);

// A change {before, after} of a mark (null: there is none), or {whole} of "read whole"; null where the marks are no longer as it expects them.
function changed(marks, { before = null, after = null }) {
  if (before) {
    const at = marks.findIndex((mark) => sameMark(mark, before));
    return at < 0 ? null : after ? marks.with(at, after) : marks.toSpliced(at, 1);
  }
  if (!after) return marks;
  return after.detected && marks.some((mark) => sameTimes(mark.detected, after.detected)) ? null : [...marks, after];
}

class Book {
  constructor(facts, told) {
    Object.assign(this, { facts, told, saved: facts.review, changes: [], done: [], conflicts: [], saving: false });
  }
  get marks() { return this.changes.reduce((marks, change) => changed(marks, change) || marks, this.saved.marks); }
  undecided(marks = this.marks) { return this.facts.detections.filter((d) => !marks.some((m) => sameTimes(m.detected, [d.onset_s, d.offset_s]))); }
  get readWhole() {
    const asked = this.changes.findLast((change) => "whole" in change);
    return (asked ? asked.whole : this.saved.read_whole) && !this.undecided().length;
  }
  // Detections and what was added, in the order of time.
  get items() {
    const marks = this.marks, found = this.facts.detections.map((d) => {
      const detected = [d.onset_s, d.offset_s];
      return { detected, confidence: d.confidence, mark: marks.find((m) => sameTimes(m.detected, detected)) || null };
    });
    for (const mark of marks) if (!found.some((item) => item.mark === mark)) found.push({ detected: mark.detected, confidence: null, mark });
    for (const item of found) {
      const { mark, detected } = item;
      Object.assign(item, { onset_s: mark ? mark.onset_s : detected[0], offset_s: mark ? mark.offset_s : detected[1], kind: mark ? mark.kind : "undecided" });
      item.key = detected ? `d${detected}` : `a${mark.onset_s},${mark.offset_s}`;
    }
    return found.sort((a, b) => a.onset_s - b.onset_s || a.offset_s - b.offset_s);
  }
  // Make a change; false where the marks do not allow it.
  change(change, undoable = true) {
    if (!("whole" in change) && !changed(this.marks, change)) return false;
    if (undoable) this.done.push("whole" in change ? { ...change, was: this.readWhole } : change);
    this.changes.push(change);
    this.save();
    return true;
  }
  undo() {
    const last = this.done.pop();
    if (!last) return null;
    const back = "whole" in last ? { whole: last.was } : { before: last.after || null, after: last.before || null };
    return this.change(back, false) ? back : null;
  }
  async save() {
    if (this.saving) return;
    this.saving = true;
    while (this.changes.length) {
      const n = this.changes.length, body = { recording: this.facts.recording, revision: this.saved.revision, marks: this.marks, read_whole: this.readWhole };
      this.told(this, "saving", "saving …");
      try {
        const answer = await post(body);
        if (answer.ok) {
          this.saved = await answer.json();
          this.changes.splice(0, n);
          this.told(this, "saved", `saved ${(this.saved.saved === "n/a" ? new Date() : new Date(this.saved.saved)).toLocaleTimeString("en-GB")}${this.merged ? ", with what another window saved" : ""}`);
          this.merged = false;
        } else if (answer.status === 409) await this.reread();
        else if (answer.status === 403 && (await renewToken())) continue;
        else if ([400, 404, 413, 415].includes(answer.status)) {
          const why = (await answer.text()).trim();
          this.changes = [];
          this.done = [];
          this.told(this, "fault", `not saved: ${why}`);
        } else throw new Error((await answer.text()).trim() || `the server answered ${answer.status}`);
      } catch (error) {
        this.told(this, "fault", `not saved: ${error instanceof TypeError ? "the server does not answer" : error.message}; trying again`);
        await later(2000);
      }
    }
    this.saving = false;
  }
  // Take what another window saved; own changes that it contradicts are kept for a decision.
  async reread() {
    const facts = await get("/recording", { recording: this.facts.recording });
    Object.assign(this, { saved: facts.review, done: [], merged: true });
    this.facts = { ...this.facts, detections: facts.detections };
    let marks = this.saved.marks;
    this.changes = this.changes.filter((change) => {
      const next = "whole" in change ? marks : changed(marks, change);
      if (!next) this.conflicts.push(change);
      marks = next || marks;
      return next;
    });
    this.told(this, "saved", "another window saved marks of this recording; they are shown");
  }
}

// --- the page ---

const books = new Map();
let list = [], book = null, viewer = null, current = null, adding = null;

const say = (text) => { byId("now").textContent = text; };
function told(which, state, text) {
  const box = byId("saved"), name = which === book ? "" : `${which.facts.recording}: `;
  box.dataset.state = state;
  box.textContent = name + text;
  if (which === book && state !== "saving") show();
  showList();
}

function showList() {
  const known = (row) => {
    const own = books.get(row.recording);
    if (!own) return row;
    return { ...row, n_events: own.facts.detections.length, n_decided: own.facts.detections.length - own.undecided().length, n_added: own.marks.filter((m) => m.kind === "added").length, read_whole: own.readWhole };
  };
  const rows = list.map(known), total = (name) => rows.reduce((sum, row) => sum + Number(row[name]), 0);
  byId("overall").textContent = `· ${total("n_decided")} of ${total("n_events")} events decided, ${total("read_whole")} of ${rows.length} recordings read whole`;
  byId("done").textContent = `${rows.length}, with undecided events: ${rows.filter((row) => row.n_decided < row.n_events).length}`;
  const had = document.activeElement?.dataset?.recording;
  byId("rows").replaceChildren(...rows.map((row) => {
    const here = book && row.recording === book.facts.recording;
    const cells = row.fault ? [make("td", { class: "fault", colspan: "3" }, row.fault)] : [`${row.n_decided} of ${row.n_events}`, row.n_added ? String(row.n_added) : "", row.read_whole ? "yes" : ""].map((text) => make("td", {}, text));
    return make("tr", { class: here && "here" }, make("td", {}, make("button", { type: "button", "data-recording": row.recording, "aria-current": here && "true", onclick: () => open(row.recording) }, row.recording)), ...cells);
  }));
  if (had) [...byId("rows").querySelectorAll("button")].find((button) => button.dataset.recording === had)?.focus();
}

function words(item) {
  const highest = item.confidence === null ? "" : `, highest ${item.confidence.toFixed(2)}`;
  const was = item.kind === "moved" ? ` (detected ${EegTraces.clock(item.detected[0], 1)} to ${EegTraces.clock(item.detected[1], 1)})` : "";
  return `${span(item)}, ${(item.offset_s - item.onset_s).toFixed(1)} s${highest}: ${item.kind}${was}`;
}

function show() {
  const items = book.items, marks = book.marks, undecided = book.undecided(marks);
  const now = items.find((item) => item.key === current) || null;
  if (viewer) {
    const events = items.map((item) => ({ ...item, kind: item.kind === "undecided" ? "detected" : item.kind }));
    viewer.selected = null;
    viewer.setEvents(events);
    viewer.selected = viewer.events.find((event) => event.key === current) || null;
    viewer.draw();
  }
  if (adding !== null) say(`Adding a seizure from ${EegTraces.clock(adding, 1)}: set the cursor at its end, press a or “Add missed” again; Esc gives it up.`);
  else if (now) say(`Event ${items.indexOf(now) + 1} of ${items.length}, ${words(now)}`);
  else if (book.facts.blind && !items.length) say("Blind: detections are hidden. Read the recording and add every seizure.");
  else say(items.length ? "No event chosen." : "Nothing was detected in this recording. Read it, add what was missed.");
  if (document.activeElement !== byId("remark")) byId("remark").value = now?.mark?.remark || "";
  byId("type").value = now?.mark?.type || "sz";
  const may = { confirm: now, reject: now, onset: now, offset: now, withdraw: now?.mark, undo: book.done.length, back: undecided.length, forth: undecided.length, add: viewer };
  for (const button of byId("marks").querySelectorAll("button")) button.disabled = !may[button.dataset.does];
  const had = document.activeElement?.dataset?.key;
  byId("events").replaceChildren(...items.map((item, i) => make("tr", { class: item === now && "here" },
    make("td", {}, make("button", { type: "button", "data-key": item.key, "aria-label": `Go to event ${i + 1}`, "aria-current": item === now && "true", onclick: () => choose(item) }, String(i + 1))),
    ...[EegTraces.clock(item.onset_s, 1), EegTraces.clock(item.offset_s, 1), `${(item.offset_s - item.onset_s).toFixed(1)} s`, item.confidence === null ? "" : item.confidence.toFixed(2)].map((text) => make("td", {}, text)),
    make("td", { class: `kind-${item.kind}` }, item.kind), make("td", {}, item.mark && item.kind !== "rejected" ? item.mark.type : ""), make("td", { class: "remark" }, item.mark?.remark || ""))));
  if (!items.length) byId("events").replaceChildren(make("tr", {}, make("td", { colspan: "8" }, "none")));
  if (had) [...byId("events").querySelectorAll("button")].find((button) => button.dataset.key === had)?.focus();
  byId("whole").checked = book.readWhole;
  byId("whole").disabled = undecided.length > 0;
  byId("why").textContent = undecided.length ? `(${undecided.length} undecided: decide them first)` : "";
  const clash = book.conflicts[0];
  byId("conflict").hidden = !clash;
  if (clash) byId("conflict").firstElementChild.textContent = `Another window marked this otherwise meanwhile, and what it saved is shown. Yours was: ${clash.after ? `${clash.after.kind}, ${span(clash.after)}` : "to take the mark back"}.`;
  const at = list.findIndex((row) => row.recording === book.facts.recording);
  byId("previous").disabled = at <= 0;
  byId("next").disabled = at >= list.length - 1;
}

// --- what the reviewer does ---

const chosen = () => book.items.find((item) => item.key === current) || null;
function choose(item, go = true) {
  current = item ? item.key : null;
  show();
  const event = viewer && viewer.events.find((one) => one.key === current);
  if (event && go) viewer.select(event);
}
function step(by) {
  const items = book.items, from = items.findIndex((item) => item.key === current), open_ = items.filter((item) => item.kind === "undecided");
  if (!open_.length) { say("No event is undecided in this recording. Say below whether you read it whole."); return; }
  const after = (item) => items.indexOf(item) > from, before = (item) => items.indexOf(item) < from;
  settle();
  choose(by > 0 ? open_.find(after) || open_[0] : open_.findLast(before) || open_[open_.length - 1]);
}
function put(item, change, then) {
  const mark = { onset_s: item.onset_s, offset_s: item.offset_s, detected: item.detected, type: byId("type").value, remark: item.mark?.remark || byId("remark").value.trim(), time: new Date().toISOString(), ...change };
  if (!book.change({ before: item.mark, after: mark })) { say("Another window changed this event; it is shown as saved."); return; }
  current = mark.detected ? `d${mark.detected}` : `a${mark.onset_s},${mark.offset_s}`;
  show();
  if (then) then();
}
const onwards = () => { if (book.undecided().length) step(1); };
function edge(name) {
  const item = chosen(), s = viewer && viewer.cursor_s;
  if (!item) return;
  if (s === null) { say("No cursor yet: click into the EEG, or press Shift+→, then set the time."); return; }
  const times = { onset_s: item.onset_s, offset_s: item.offset_s, [name]: hundredth(s) };
  if (times.onset_s >= times.offset_s) { say(`The ${name === "onset_s" ? "onset would lie behind the offset" : "offset would lie before the onset"}; move the cursor.`); return; }
  const kind = !item.detected ? "added" : sameTimes(item.detected, [times.onset_s, times.offset_s]) ? "confirmed" : "moved";
  put(item, { ...times, kind });
}
const does = {
  confirm() {
    const item = chosen();
    if (!item) return;
    if (item.mark && item.kind !== "rejected") onwards(); // what was moved or added is a decision
    else put(item, { kind: "confirmed", onset_s: item.detected[0], offset_s: item.detected[1] }, onwards);
  },
  reject() {
    const item = chosen();
    if (!item) return;
    if (!item.detected) does.withdraw();
    else put(item, { kind: "rejected", onset_s: item.detected[0], offset_s: item.detected[1] }, onwards);
  },
  onset() { edge("onset_s"); },
  offset() { edge("offset_s"); },
  add() {
    if (!viewer) return;
    let times = viewer.selection && [viewer.selection.from_s, viewer.selection.to_s];
    if (!times && viewer.cursor_s === null) { say("Drag over the missed seizure, or set the cursor at its start (click, Shift+→) and press a."); return; }
    if (!times && adding === null) { adding = viewer.cursor_s; show(); return; }
    times = (times || [adding, viewer.cursor_s]).map(hundredth).sort((a, b) => a - b);
    times[1] = Math.min(times[1], book.facts.duration_s);
    if (times[0] >= times[1]) { say("The cursor is where it was: move it to the end of the seizure, then press a."); return; }
    adding = null;
    viewer.setSelection(null);
    put({ mark: null, detected: null, onset_s: times[0], offset_s: times[1] }, { kind: "added", type: "sz", remark: "" });
  },
  withdraw() {
    const item = chosen();
    if (!item || !item.mark) return;
    book.change({ before: item.mark, after: null });
    if (!item.detected) current = null;
    show();
  },
  undo() {
    const back = book.undo();
    if (!back) { say("Nothing to undo."); return; }
    const mark = back.after || back.before;
    if (mark) current = mark.detected ? `d${mark.detected}` : back.after ? `a${mark.onset_s},${mark.offset_s}` : null;
    choose(chosen());
  },
  back() { step(-1); },
  forth() { step(1); },
};
const KEYS = { Enter: "confirm", c: "confirm", x: "reject", "[": "onset", o: "onset", "]": "offset", e: "offset", a: "add", Delete: "withdraw", Backspace: "withdraw", u: "undo", n: "forth", p: "back" };
function onKey(k) {
  if (k.key === "Enter" && k.target.closest("button, a, summary, input, label")) return false;
  if (k.key === "N" || k.key === "P") { beside(k.key === "N" ? 1 : -1); return true; }
  if (k.key === "Escape" && (adding !== null || viewer?.selection)) { adding = null; viewer.setSelection(null); show(); return true; }
  const name = KEYS[k.key];
  if (name) does[name]();
  return Boolean(name);
}
const firstOpen = () => book.items.find((item) => item.kind === "undecided") || book.items[0] || null;
function beside(by) {
  const at = list.findIndex((row) => row.recording === book?.facts.recording) + by;
  if (at >= 0 && at < list.length) open(list[at].recording);
}

// --- opening a recording ---

let wanted = null;
// Marks and EEG together fill a screen; on opening the page a wide one shows its title and list, too.
const settle = () => byId("panel").scrollIntoView();
async function open(name, first = false) {
  wanted = name;
  byId("name").textContent = `Reading ${name} …`;
  let facts;
  try { facts = await get("/recording", { recording: name }); } catch (error) {
    if (wanted === name) { byId("name").textContent = name; byId("notices").replaceChildren(make("p", { class: "notice fault" }, error.message)); }
    return;
  }
  if (wanted !== name) return;
  const known = books.get(name);
  if (known && (known.saving || known.changes.length)) known.facts = { ...facts, detections: known.facts.detections };
  else books.set(name, Object.assign(new Book(facts, told), { conflicts: known?.conflicts || [] }));
  book = books.get(name);
  [current, adding, viewer] = [null, null, null];
  location.replace(`#${encodeURIComponent(name)}`);
  byId("name").textContent = name;
  document.title = `${name}: review`;
  const { in_training, demonstration, about, fault, types, model } = facts;
  if (!byId("type").options.length) byId("type").replaceChildren(...types.map(([code, text]) => make("option", { value: code, title: text }, `${code}: ${text}`)));
  const notices = [];
  if (fault) notices.push(make("p", { class: "notice fault" }, `The EEG cannot be shown: ${fault}`));
  if (demonstration) notices.push(make("p", { class: "notice" }, `${demonstration}.`));
  if (facts.blind) notices.push(make("p", { class: "notice" }, "Blind review: detections, probabilities and threshold are hidden."));
  else if (in_training.recording) notices.push(make("p", { class: "notice" }, `This recording trained the model ${model}: what it found here says nothing of how it does on others.`));
  else if (in_training.subject) notices.push(make("p", { class: "notice" }, `This subject trained the model ${model} (as ${in_training.subject}).`));
  byId("notices").replaceChildren(...notices);
  const root = make("section", { class: "eeg-viewer", "aria-label": `EEG of ${name}` });
  byId("eeg").replaceChildren(...(about ? [root] : []));
  if (about) {
    const urlOf = (from, to) => `/signals?${new URLSearchParams({ recording: name, from, to })}`, opening = firstOpen();
    about.events = opening ? [opening] : []; // the page that is drawn first
    const shown = new EegViewer(root, fetchSource(about, urlOf), { list: false, onKey, keys: root });
    viewer = shown;
    for (const [label, text] of [["Next event", "Next event, decided or not"], ["Previous event", "Previous event, decided or not"]]) root.querySelector(`[aria-label="${label}"]`)?.setAttribute("title", text);
    root.addEventListener("view", () => { if (viewer === shown && shown.selected && shown.selected.key !== current) { current = shown.selected.key; show(); } });
    await shown.ready;
    if (viewer !== shown) return;
  }
  showList();
  choose(firstOpen(), false);
  if (!first || window.innerWidth <= 640) settle();
}

byId("marks").addEventListener("click", (click) => { const name = click.target.closest("button")?.dataset.does; if (name) does[name](); });
byId("type").addEventListener("change", () => { const item = chosen(); if (item?.mark && item.kind !== "rejected") put(item, { kind: item.kind, type: byId("type").value }); });
byId("remark").addEventListener("change", () => { const item = chosen(); if (item?.mark) put(item, { kind: item.kind, type: item.mark.type, remark: byId("remark").value.trim() }); });
byId("whole").addEventListener("change", () => { book.change({ whole: byId("whole").checked }); show(); });
byId("previous").addEventListener("click", () => beside(-1));
byId("next").addEventListener("click", () => beside(1));
byId("theirs").addEventListener("click", () => { book.conflicts.shift(); show(); });
byId("mine").addEventListener("click", () => {
  const { after, before } = book.conflicts.shift(), mark = after || before;
  const theirs = book.marks.find((one) => sameTimes(one.detected, mark.detected)) || null;
  if (theirs || after) book.change({ before: theirs, after });
  show();
});
document.addEventListener("keydown", (k) => {
  if (viewer && !viewer.root.contains(k.target)) viewer.key(k);
  else if (!viewer && book && !k.ctrlKey && !k.metaKey && !k.altKey && !EegViewer.typing(k.target) && onKey(k)) k.preventDefault();
});
window.addEventListener("focus", () => {
  if (book && !book.saving && !book.changes.length) book.reread_ = get("/recording", { recording: book.facts.recording }).then((facts) => {
    if (facts.review.revision !== book.saved.revision && facts.recording === book.facts.recording) { book.saved = facts.review; book.done = []; told(book, "saved", "another window saved marks of this recording; they are shown"); }
  }).catch(() => {});
});
window.addEventListener("beforeunload", (leaving) => { if ([...books.values()].some((one) => one.changes.length)) leaving.preventDefault(); });

async function begin() {
  const keys = EEG_KEYS.find(([names]) => names === "n p");
  if (keys) keys[1] = "next, previous undecided event";
  try { list = await get("/recordings"); } catch (error) { byId("name").textContent = "The list of recordings cannot be read"; byId("notices").replaceChildren(make("p", { class: "notice fault" }, error.message)); return; }
  showList();
  let asked = "";
  try { asked = decodeURIComponent(location.hash.slice(1)); } catch { asked = ""; }
  const first = list.find((row) => row.recording === asked) || list.find((row) => !row.fault && (row.n_decided < row.n_events || !row.read_whole)) || list[0];
  await open(first.recording, true);
}
begin().finally(() => byId("work").removeAttribute("aria-busy"));
