"use strict";
// EEG as it is drawn: pure functions over arrays and a canvas's 2D context. Shared by all pages; nothing here knows of a page.
const EegTraces = (() => {
  const MM = 96 / 25.4; // CSS pixels a millimetre
  const SENSITIVITIES = [1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 1000]; // uV/mm
  const PAGES_S = [5, 10, 15, 20, 30];
  const FILTERS = { highPass: [0, 0.5, 1, 1.6], lowPass: [0, 15, 35, 70], notch: [0, 50, 60] }; // Hz, 0 for off
  const NOTCH_Q = 30, PAD_S = 4, MOST_ROWS_AWAY = 3, CHAIN_GAP = 0.55;

  // --- reading what Python wrote ---

  async function inflate(base64) {
    const text = atob(base64), bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const { readable, writable } = new DecompressionStream("deflate"), writer = writable.getWriter(), reader = readable.getReader(), parts = [];
    writer.write(bytes).then(() => writer.close()).catch(() => {}); // a fault comes out of the reader, too
    for (let part = await reader.read(); !part.done; part = await reader.read()) parts.push(part.value);
    const whole = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
    let at = 0;
    for (const part of parts) { whole.set(part, at); at += part.length; }
    return whole;
  }

  // The chunk's samples, one Float32Array a channel, NaN where there is no signal.
  async function decodeChunk(chunk, nChans, step) {
    const body = await inflate(chunk.data), n = chunk.n, high = nChans + nChans * n, channels = [];
    for (let c = 0; c < nChans; c++) {
      const q = new Int16Array(n), at = nChans + c * n;
      for (let i = 0; i < n; i++) {
        const z = body[at + i] | (body[high + c * n + i] << 8);
        q[i] = (z >>> 1) ^ -(z & 1);
      }
      for (let k = body[c]; k > 0; k--) for (let i = 1; i < n; i++) q[i] += q[i - 1]; // wraps around, as it was written
      const size = (chunk.steps || {})[c] || step, offset = (chunk.offset || {})[c] || 0;
      channels.push(Float32Array.from(q, (v) => v * size + offset));
    }
    for (const [c, first, stop] of chunk.absent || []) channels[c].fill(NaN, first, stop);
    return channels;
  }

  // A message of samples_message(): {start_s, sfreq, n, uv}.
  function decodeMessage(buffer) {
    const size = new DataView(buffer).getUint32(0, true), facts = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
    const all = new Int16Array(buffer, 4 + size), uv = [];
    for (let at = 0; at < all.length; at += facts.n) uv.push(Float32Array.from(all.subarray(at, at + facts.n), (v) => (v === -32768 ? NaN : v * facts.step_uv)));
    return { start_s: facts.start_s, sfreq: facts.sfreq, n: facts.n, uv };
  }

  // --- display filters: second-order Butterworth sections and a notch, causal ---

  // A section is [b0, b1, b2, a1, a2]. What lies above 0.49 of the rate is left out: the signal holds nothing there.
  function sections(sfreq, { highPass = 0, lowPass = 0, notch = 0 } = {}) {
    const made = [];
    const butter = (hz, high) => {
      const k = Math.tan((Math.PI * hz) / sfreq), norm = 1 / (1 + Math.SQRT2 * k + k * k), a1 = 2 * (k * k - 1) * norm, a2 = (1 - Math.SQRT2 * k + k * k) * norm;
      return high ? [norm, -2 * norm, norm, a1, a2] : [k * k * norm, 2 * k * k * norm, k * k * norm, a1, a2];
    };
    if (highPass && usable(highPass, sfreq)) made.push(butter(highPass, true));
    if (lowPass && usable(lowPass, sfreq)) made.push(butter(lowPass, false));
    if (notch && usable(notch, sfreq)) {
      const w = (2 * Math.PI * notch) / sfreq, gain = 1 / (1 + Math.tan(w / NOTCH_Q / 2)), mid = -2 * Math.cos(w) * gain;
      made.push([gain, mid, gain, mid, 2 * gain - 1]);
    }
    return made;
  }
  const usable = (hz, sfreq) => hz < 0.49 * sfreq;

  // Each run without a gap begins in the state of a signal that was always its first value.
  function filtered(x, made) {
    const y = Float32Array.from(x);
    for (const [b0, b1, b2, a1, a2] of made) {
      const level = (b0 + b1 + b2) / (1 + a1 + a2);
      let s1 = 0, s2 = 0, inside = false;
      for (let i = 0; i < y.length; i++) {
        const v = y[i];
        if (v !== v) { inside = false; continue; }
        if (!inside) { s2 = (b2 - a2 * level) * v; s1 = (b1 - a1 * level) * v + s2; inside = true; }
        const out = b0 * v + s1;
        s1 = b1 * v - a1 * out + s2;
        s2 = b2 * v - a2 * out;
        y[i] = out;
      }
    }
    return y;
  }

  // --- scale ---

  function quantile(values, q) {
    if (!values.length) return NaN;
    const sorted = Float32Array.from(values).sort();
    return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
  }
  const median = (x) => quantile(x.filter((v) => v === v), 0.5);

  // The 98th percentile of each channel's distance from its median, and of those the median channel's: one artefact, or one bad channel, changes nothing.
  function robustScale(channels) {
    const heights = [];
    for (const x of channels) {
      const known = x.filter((v) => v === v);
      if (!known.length) continue;
      const middle = quantile(known, 0.5), height = quantile(known.map((v) => Math.abs(v - middle)), 0.98);
      if (height > 0) heights.push(height);
    }
    return heights.length ? quantile(heights, 0.5) : 0;
  }

  // The finest sensitivity of the ladder at which such a signal keeps within `rows` of its row; none finer than `finest`.
  function fittingSensitivity(scaleUv, rowPx, { finest = 7, rows = 1.3 } = {}) {
    const wanted = scaleUv / ((rows * rowPx) / MM);
    return SENSITIVITIES.find((s) => s >= finest && s >= wanted * 0.999) || SENSITIVITIES[SENSITIVITIES.length - 1];
  }

  // --- chains ---

  const TEMPORAL = new Set("F7 F8 T3 T4 T5 T6 T7 T8 P7 P8 F9 F10 T9 T10 P9 P10 FT7 FT8 FT9 FT10 TP7 TP8 TP9 TP10 AF7 AF8 PO7 PO8 A1 A2 M1 M2".split(" "));
  const CHAINS = [["Left temporal", "left"], ["Left parasagittal", "left"], ["Midline", "middle"], ["Right parasagittal", "right"], ["Right temporal", "right"], ["Across", "middle"], ["Others", "other"]];

  function chainOf(name) {
    const electrodes = name.toUpperCase().split(/\s*-\s*/).map((e) => /^(FP|AF|FC|FT|CP|TP|PO|F|C|T|P|O|A|M)(Z|\d{1,2})$/.exec(e));
    if (!electrodes.every(Boolean) || electrodes.length > 2) return 6;
    const sides = new Set(electrodes.map((e) => (e[2] === "Z" ? "middle" : Number(e[2]) % 2 ? "left" : "right")));
    if (sides.has("left") && sides.has("right")) return 5;
    if (sides.size === 1 && sides.has("middle")) return 2;
    const temporal = electrodes.some((e) => TEMPORAL.has(e[0]));
    return sides.has("left") ? (temporal ? 0 : 1) : temporal ? 4 : 3;
  }

  // Channels in the order they are read: {title, side, rows: positions in names}, no chain empty.
  function chains(names) {
    return CHAINS.map(([title, side], k) => ({ title, side, rows: [...names.keys()].filter((i) => chainOf(names[i]) === k) })).filter((chain) => chain.rows.length);
  }

  // Where each channel's row lies between top and bottom: {rows: [{channel, side, y}], chains: [{title, side, top, bottom}], rowPx}.
  function layout(names, top, bottom) {
    const groups = chains(names), units = names.length + CHAIN_GAP * Math.max(0, groups.length - 1), rowPx = (bottom - top) / Math.max(1, units);
    const rows = [], spans = [];
    let y = top;
    for (const { title, side, rows: members } of groups) {
      spans.push({ title, side, top: y, bottom: y + members.length * rowPx });
      for (const channel of members) { rows.push({ channel, side, y: y + rowPx / 2 }); y += rowPx; }
      y += CHAIN_GAP * rowPx;
    }
    return { rows, chains: spans, rowPx };
  }

  // --- drawing ---

  // One trace into the path of `pen`: every sample as a corner, or, where samples outnumber pixels, each pixel's lowest and highest, so that nothing is lost.
  function trace(pen, x, { sfreq, startS, fromS, toS, left, width, yOf }) {
    const perS = width / (toS - fromS), step = perS / sfreq;
    const first = Math.max(0, Math.floor((fromS - startS) * sfreq) - 1), stop = Math.min(x.length, Math.ceil((toS - startS) * sfreq) + 2);
    const at = (i) => left + (startS + i / sfreq - fromS) * perS;
    let open = false;
    const go = (px, py) => { if (open) pen.lineTo(px, py); else pen.moveTo(px, py); open = true; };
    if (step >= 0.5) {
      for (let i = first; i < stop; i++) if (x[i] === x[i]) go(at(i), yOf(x[i])); else open = false;
      return;
    }
    for (let i = first; i < stop;) {
      if (x[i] !== x[i]) { open = false; i++; continue; }
      const column = Math.floor(at(i)), begin = x[i];
      let low = begin, high = begin, end = begin, lowLast = false;
      for (; i < stop && x[i] === x[i] && Math.floor(at(i)) === column; i++) {
        end = x[i];
        if (end < low) { low = end; lowLast = true; }
        if (end > high) { high = end; lowLast = false; }
      }
      go(column + 0.5, yOf(begin));
      go(column + 0.5, yOf(lowLast ? high : low));
      go(column + 0.5, yOf(lowLast ? low : high));
      go(column + 0.5, yOf(end));
    }
  }

  // All traces of a page. `signal` is {sfreq, start_s, uv}, `box` {left, top, width, height}, `rows` of layout(), `pixelsPerUv` with its sign: negative draws negative up.
  function drawTraces(pen, signal, { box, rows, rowPx, fromS, toS, uvPerMm, negativeUp, colours, faint = new Set(), lineWidth = 1, middles = null }) {
    const pixels = (MM / uvPerMm) * (negativeUp ? 1 : -1), most = MOST_ROWS_AWAY * rowPx;
    pen.save();
    pen.beginPath();
    pen.rect(box.left, box.top, box.width, box.height);
    pen.clip();
    pen.lineJoin = "round";
    pen.lineWidth = lineWidth;
    for (const { channel, side, y } of rows) {
      const x = signal.uv[channel], first = Math.max(0, Math.floor((fromS - signal.start_s) * signal.sfreq)), stop = Math.ceil((toS - signal.start_s) * signal.sfreq);
      const middle = middles ? middles[channel] : median(x.subarray(first, stop));
      if (middle !== middle) continue;
      pen.strokeStyle = faint.has(channel) ? colours.faint : colours[side];
      pen.beginPath();
      trace(pen, x, { sfreq: signal.sfreq, startS: signal.start_s, fromS, toS, left: box.left, width: box.width, yOf: (v) => y + Math.max(-most, Math.min(most, (v - middle) * pixels)) });
      pen.stroke();
    }
    pen.restore();
  }

  // Names in the margin; `absent` are channels without signal here.
  function drawLabels(pen, names, { box, rows, rowPx, colours, absent = new Set() }) {
    pen.save();
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    pen.font = `${Math.max(10, Math.min(13, Math.floor(rowPx * 0.62)))}px system-ui, sans-serif`;
    for (const { channel, side, y } of rows) {
      const gone = absent.has(channel);
      pen.fillStyle = gone ? colours.soft : colours[side];
      pen.fillText(names[channel], box.left - 5, y, box.left - 6);
      if (gone) { pen.textAlign = "left"; pen.fillText("no signal", box.left + 6, y); pen.textAlign = "right"; }
    }
    pen.restore();
  }

  // A line each second, a stronger one each five, and the time beside every one that has room.
  function drawSeconds(pen, { box, fromS, toS, colours, text, right = box.left + box.width }) {
    pen.save();
    pen.lineWidth = 1;
    pen.textAlign = "center";
    pen.textBaseline = "alphabetic";
    pen.font = "11px system-ui, sans-serif";
    const perS = box.width / (toS - fromS), every = [1, 2, 5, 10, 30, 60].find((s) => s * perS > 74) || 120;
    for (let s = Math.ceil(fromS - 1e-9); s <= toS + 1e-9; s++) {
      const x = Math.round(box.left + (s - fromS) * perS) + 0.5;
      pen.strokeStyle = s % 5 ? colours.grid : colours.rule;
      pen.beginPath();
      pen.moveTo(x, box.top);
      pen.lineTo(x, box.top + box.height);
      pen.stroke();
      const label = text(s);
      if (s % every === 0 && x > box.left + pen.measureText(label).width / 2 - 1 && x < right - pen.measureText(label).width / 2) {
        pen.fillStyle = colours.soft;
        pen.fillText(label, x, box.top + box.height + 13);
      }
    }
    pen.restore();
  }

  // Under the traces, at the right: an L of one second and a round number of microvolts. Returns its left end.
  function drawScale(pen, { box, fromS, toS, uvPerMm, colours }) {
    const pixels = MM / uvPerMm, uv = [10000, 5000, 2000, 1000, 500, 200, 100, 50, 20, 10, 5, 2].find((v) => v * pixels <= 26) || 1;
    const height = uv * pixels, second = box.width / (toS - fromS), x = box.left + box.width - 4 - second, y = box.top + box.height + 29;
    pen.save();
    pen.font = "bold 11px system-ui, sans-serif";
    pen.strokeStyle = pen.fillStyle = colours.ink;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.moveTo(x, y - height);
    pen.lineTo(x, y);
    pen.lineTo(x + second, y);
    pen.stroke();
    pen.textAlign = "right";
    pen.fillText(`${uv} µV`, x - 5, y - 2);
    pen.textAlign = "center";
    pen.fillText("1 s", x + second / 2, y - 4);
    pen.restore();
    return x - 60;
  }

  // --- time ---

  const two = (n) => String(n).padStart(2, "0");
  // Seconds as h:mm:ss, with so many digits behind.
  function clock(s, digits = 0) {
    const ticks = Math.round(Math.abs(s) * 10 ** digits), whole = Math.floor(ticks / 10 ** digits);
    const rest = digits ? `.${String(ticks % 10 ** digits).padStart(digits, "0")}` : "";
    return `${s < 0 && ticks ? "−" : ""}${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}${rest}`;
  }
  // Time of day so long after a start in ISO form, as the file has it (no time zone is applied); "" where there is none.
  function wallClock(start, s, withDate = false) {
    const found = /^(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(\.\d+)?)?/.exec(start || "");
    if (!found) return "";
    const [, year, month, day, hour, minute, second] = found.map(Number);
    const at = new Date(Date.UTC(year, month - 1, day, hour, minute, second || 0) + Math.floor(((found[7] ? Number(found[7]) : 0) + s + 1e-6) * 1000));
    const time = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())}`;
    return withDate ? `${at.getUTCFullYear()}-${two(at.getUTCMonth() + 1)}-${two(at.getUTCDate())} ${time}` : time;
  }

  return { MM, SENSITIVITIES, PAGES_S, FILTERS, PAD_S, decodeChunk, decodeMessage, sections, usable, filtered, median, robustScale, fittingSensitivity, chainOf, chains, layout, trace, drawTraces, drawLabels, drawSeconds, drawScale, clock, wallClock };
})();
