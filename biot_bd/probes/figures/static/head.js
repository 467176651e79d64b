"use strict";
// Colours are styles, not attributes, which the style of the page around would win over.
// A head that is turned by pointer, finger or keys; the figure's own data, no address outside.
(function (root) {
  const about = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const svg = root.querySelector("svg");
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const number = part("number"), channel = part("channel"), told = part("told"), counted = part("counted");
  const VIEWS = { above: [0, 90], left: [90, 10], right: [-90, 10], behind: [0, 15], front: [180, 15] };
  const NEAREST = 10, FARTHEST = 90, STEP = 8;
  let yaw = 0, pitch = 90, chosen = -1, shown = [];

  function make(kind, into, attributes) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
    for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
    into.appendChild(made);
    return made;
  }

  // x to the right, y up, z towards the eye; the head has its nose at +y and its vertex at +z.
  function turned(point) {
    const a = yaw * Math.PI / 180, b = pitch * Math.PI / 180;
    const x = point[0] * Math.cos(a) - point[1] * Math.sin(a), y = point[0] * Math.sin(a) + point[1] * Math.cos(a);
    return [x, -(y * Math.sin(b) + point[2] * Math.cos(b)), point[2] * Math.sin(b) - y * Math.cos(b)];
  }

  function line(points) {
    return points.map((p, k) => `${k ? "L" : "M"}${p[0].toFixed(4)} ${p[1].toFixed(4)}`).join("");
  }

  const back = make("g", svg), body = make("g", svg), front = make("g", svg), nodes = make("g", svg);
  make("circle", body, { r: 1, style: `fill:#fff;fill-opacity:${about.on_head ? 0.72 : 0};stroke:none` });
  const ring = make("circle", body, { r: 1, class: "line", style: "fill:none" });
  if (!about.on_head) ring.remove();
  const outlines = about.outlines.map(() => make("path", body, { class: "line" }));
  const points = about.names.map((name, k) => {
    const group = make("g", nodes);
    const hit = make("circle", group, { r: 0.09, class: "hit" });
    const dot = make("circle", group, { r: 0.03, class: about.present[k] ? "node" : "gone" });
    const text = make("text", group);
    const lines = (about.present[k] ? [name] : [name, "absent"]).map((said, row) => {
      const line = make("tspan", text, { dy: `${1.05 * row}em` });
      line.textContent = said;
      return line;
    });
    hit.addEventListener("click", () => choose(chosen === k ? -1 : k));
    return { group, hit, dot, text, lines, long: Math.max(...lines.map((line) => line.textContent.length)) };
  });

  function choose(k) {
    chosen = k;
    channel.value = String(k);
    select();
  }

  function select() {
    const mine = about.links.filter(([from, to]) => chosen < 0 || from === chosen || to === chosen);
    const most = Math.max(1, mine.length);
    number.max = Math.min(most, 120);
    shown = mine.slice(0, Number(number.value));
    counted.textContent = `${shown.length} of ${chosen < 0 ? about.n_links : mine.length}`;
    if (chosen < 0) {
      told.textContent = about.alt;
    } else {
      const name = about.names[chosen];
      const list = (here, there) => mine.filter((one) => one[here] === chosen).slice(0, 3)
        .map((one) => `${about.names[one[there]]} (${one[2].toPrecision(3)})`).join(", ") || "none of these links";
      told.textContent = about.present[chosen]
        ? `${name} looks most at ${list(0, 1)}; it is looked at most by ${list(1, 0)}. In brackets: times an even share.`
        : `${name} is absent.`;
    }
    draw();
  }

  function draw() {
    back.replaceChildren();
    front.replaceChildren();
    about.outlines.forEach((outline, k) => outlines[k].setAttribute("d", line(outline.map(turned))));
    for (let k = shown.length - 1; k >= 0; k -= 1) {
      const [, , , colour, way] = shown[k];
      const seen = way.map(turned), end = seen[seen.length - 1];
      // The line ends where the arrowhead begins.
      const long = (p) => Math.hypot(end[0] - p[0], end[1] - p[1]);
      const size = 0.035, last = Math.max(2, seen.filter((p) => long(p) > 2 * size).length);
      const before = seen.map((p) => !about.on_head || p[2] > -0.12 || Math.hypot(p[0], p[1]) > 0.97);
      make("path", back, { d: line(seen.slice(0, last)), style: `stroke:${colour}` });
      for (let from = 0; from < last; from += 1) {
        if (!before[from]) continue;
        let to = from;
        while (to < last && before[to]) to += 1;
        make("path", front, { d: line(seen.slice(from, to)), style: `stroke:${colour}` });
        from = to;
      }
      const into = before[seen.length - 1] ? front : back;
      const base = seen[last - 1], u = (end[0] - base[0]) / (long(base) || 1), v = (end[1] - base[1]) / (long(base) || 1);
      const head = [end, [end[0] - 2.2 * size * u - size * v, end[1] - 2.2 * size * v + size * u],
        [end[0] - 2.2 * size * u + size * v, end[1] - 2.2 * size * v - size * u]];
      make("path", into, { d: `${line(head)}Z`, style: `fill:${colour};stroke:none` });
    }
    const places = [];
    about.xyz.forEach((place, k) => {
      const [x, y, z] = turned(place), { group, hit, dot, text } = points[k];
      for (const one of [hit, dot]) {
        one.setAttribute("cx", x);
        one.setAttribute("cy", y);
      }
      dot.setAttribute("class", k === chosen ? "chosen" : about.present[k] ? "node" : "gone");
      const seen = !about.on_head || z > -0.12 || Math.hypot(x, y) > 0.97;
      group.style.opacity = seen ? 1 : 0.3;
      // What lies behind the head is not named, or it would be read as lying in front.
      const named = seen && (about.names.length <= 24 || k === chosen || shown.some((one) => one[0] === k || one[1] === k));
      text.style.display = named ? "" : "none";
      if (named) places.push([k, x, y]);
    });
    // A name lies at the outer side of its channel, farther out where another one lies already.
    const high = svg.clientWidth < 420 ? 0.085 : 0.064, taken = [];
    places.sort((a, b) => Math.hypot(b[1], b[2]) - Math.hypot(a[1], a[2]));
    for (const [k, x, y] of places) {
      const { text, lines, long } = points[k], far = Math.hypot(x, y) || 1, u = x / far, v = y / far;
      const side = u > 0.4 ? 1 : u < -0.4 ? -1 : 0, wide = 0.62 * high * long;
      let place;
      for (let step = 0; step < 5; step += 1) {
        place = [x + u * (0.065 + 1.1 * high * step), y + v * (0.065 + 1.1 * high * step)];
        const middle = place[0] + side * wide / 2;
        if (taken.every(([a, b, w]) => Math.abs(middle - a) > (wide + w) / 2 || Math.abs(place[1] - b) > high)) break;
      }
      taken.push([place[0] + side * wide / 2, place[1], wide]);
      for (const line of lines) line.setAttribute("x", place[0]);
      text.setAttribute("y", place[1]);
      text.setAttribute("text-anchor", side > 0 ? "start" : side < 0 ? "end" : "middle");
    }
  }

  function turn(by, tilt) {
    yaw += by;
    pitch = Math.min(FARTHEST, Math.max(-NEAREST, pitch + tilt));
    draw();
  }

  let held = null;
  svg.addEventListener("pointerdown", (event) => {
    held = [event.pointerId, event.clientX, event.clientY];
  });
  svg.addEventListener("pointermove", (event) => {
    if (held === null || held[0] !== event.pointerId) return;
    const scale = 180 / svg.clientWidth;
    turn((event.clientX - held[1]) * scale, (event.clientY - held[2]) * scale);
    held = [event.pointerId, event.clientX, event.clientY];
  });
  for (const end of ["pointerup", "pointercancel", "pointerleave"]) {
    svg.addEventListener(end, () => { held = null; });
  }
  svg.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
    if (by) turn(...by);
    else if (event.key === "Home") [yaw, pitch] = VIEWS.above;
    else if (event.key === "Escape") choose(-1);
    else return;
    event.preventDefault();
    draw();
  });
  for (const button of root.querySelectorAll("button[data-view]")) {
    button.addEventListener("click", () => {
      [yaw, pitch] = VIEWS[button.dataset.view];
      draw();
    });
  }
  number.addEventListener("input", select);
  channel.addEventListener("change", () => choose(Number(channel.value)));
  select();
})(document.getElementById(HEAD3D));
