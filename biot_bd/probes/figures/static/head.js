"use strict";
// A head that is turned by pointer, finger or keys; the figure's own data, no address outside.
(function (root) {
  const about = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const svg = root.querySelector("svg");
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const number = part("number"), channel = part("channel"), told = part("told"), counted = part("counted");
  const VIEWS = { above: [0, 90], left: [90, 10], right: [-90, 10], behind: [0, 15], front: [180, 15] };
  const NEAREST = 10, FARTHEST = 90, STEP = 8, AHEAD = 16;
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
  make("circle", body, { r: 1, fill: "#fff", "fill-opacity": about.on_head ? 0.72 : 0 });
  const ring = make("circle", body, { r: 1, class: "line", fill: "none" });
  if (!about.on_head) ring.remove();
  const outlines = about.outlines.map(() => make("path", body, { class: "line" }));
  const points = about.names.map((name, k) => {
    const group = make("g", nodes);
    const hit = make("circle", group, { r: 0.09, class: "hit" });
    const dot = make("circle", group, { r: 0.03, class: about.present[k] ? "node" : "gone" });
    const text = make("text", group);
    text.textContent = about.present[k] ? name : `${name} (absent)`;
    hit.addEventListener("click", () => choose(chosen === k ? -1 : k));
    return { group, hit, dot, text };
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
      const seen = way.map(turned);
      const into = seen[AHEAD >> 1][2] < -0.05 ? back : front;
      make("path", into, { d: line(seen.slice(0, -2)), stroke: colour });
      const end = seen[seen.length - 1], before = seen[seen.length - 4];
      const dx = end[0] - before[0], dy = end[1] - before[1], long = Math.hypot(dx, dy) || 1;
      const [u, v] = [dx / long, dy / long], size = 0.035;
      const head = [end, [end[0] - 2.2 * size * u - size * v, end[1] - 2.2 * size * v + size * u],
        [end[0] - 2.2 * size * u + size * v, end[1] - 2.2 * size * v - size * u]];
      make("path", into, { d: `${line(head)}Z`, style: `fill:${colour};stroke:none` });
    }
    about.xyz.forEach((place, k) => {
      const [x, y, z] = turned(place), { group, hit, dot, text } = points[k];
      for (const one of [hit, dot]) {
        one.setAttribute("cx", x);
        one.setAttribute("cy", y);
      }
      dot.setAttribute("class", k === chosen ? "chosen" : about.present[k] ? "node" : "gone");
      text.setAttribute("x", x * 1.05);
      text.setAttribute("y", y * 1.05 - 0.045);
      // What lies behind the head is not named, or it would be read as lying in front.
      text.style.display = z > -0.2 || !about.on_head ? "" : "none";
      group.style.opacity = z > -0.2 || !about.on_head ? 1 : 0.3;
    });
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
