"""Pages in a real browser: opened under watch, and what every one of them owes its readers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

PHONE, DESK = 390, 1280

SIDEWAYS = """() => {
  const shown = (e) => e.checkVisibility({ visibilityProperty: true, contentVisibilityAuto: false }) && e.getClientRects().length;
  const page = document.scrollingElement, wide = page.clientWidth, faults = [];
  const say = (e) => e.outerHTML.replace(/\\s+/g, " ").slice(0, 90);
  if (page.scrollWidth > wide) faults.push(`the page is ${page.scrollWidth} px wide in a window of ${wide} px`);
  for (const e of document.querySelectorAll("table, figure, img, svg, canvas, video, pre, button, input, select, textarea, a[href]")) {
    if (!shown(e) || e.closest("svg") !== (e.tagName === "svg" ? e : null)) continue;
    let { left, right } = e.getBoundingClientRect();
    if (right - left <= 1) continue;
    for (let up = e.parentElement; up && up !== document.documentElement; up = up.parentElement) {
      const box = up.getBoundingClientRect(), way = getComputedStyle(up).overflowX;
      if (way === "visible" || up === document.body || (left >= box.left - 1 && right <= box.right + 1)) continue;
      if (way === "hidden" || way === "clip") { if (box.width > 1) faults.push(`cut off: ${say(e)}`); }
      else if (up.tabIndex < 0) faults.push(`scrolls sideways without the keyboard: ${say(e)}`);
      left = Math.max(left, box.left); right = Math.min(right, box.right);
    }
    if (right > wide + 1 && left < wide) faults.push(`beyond the right edge (${Math.round(right)} px): ${say(e)}`);
  }
  return faults;
}"""

STOPS = """() => {
  document.documentElement.style.scrollBehavior = "auto"; // no waiting for a page that glides
  const look = (e) => { const s = getComputedStyle(e); return [s.outlineStyle, s.outlineWidth, s.outlineColor, s.boxShadow, s.borderColor, s.borderWidth, s.backgroundColor, s.textDecoration].join(); };
  const all = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex], [contenteditable=true]")];
  const stops = all.filter((e) => e.tabIndex >= 0 && !e.disabled && !e.closest("[inert]") && e.type !== "hidden"
    && e.checkVisibility({ visibilityProperty: true, contentVisibilityAuto: false }));
  window.__stops = { stops, look, plain: stops.map(look), seen: new Set() };
  return stops.length;
}"""

STOP = """() => {
  const { stops, look, plain, seen } = window.__stops, e = document.activeElement, at = stops.indexOf(e);
  if (at < 0) return { at, tag: e ? e.tagName : null };
  const again = seen.has(e); seen.add(e);
  if (e.type === "radio") for (const other of stops) if (other.type === "radio" && other.name === e.name) seen.add(other);
  const box = e.getBoundingClientRect();
  return { at, again, marked: look(e) !== plain[at], inside: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
    says: e.outerHTML.replace(/\\s+/g, " ").slice(0, 90) };
}"""

UNSEEN = (
    """() => window.__stops.stops.filter((e) => !window.__stops.seen.has(e)).map((e) => e.outerHTML.slice(0, 90))"""
)

# axe-core leaves text in SVG alone: its colour is a fill, and so is what lies behind it.
SVG_CONTRAST = """() => {
  const faults = new Set(), pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => { pen.clearRect(0, 0, 1, 1); pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); const d = pen.getImageData(0, 0, 1, 1).data; return [d[0], d[1], d[2], d[3] / 255]; };
  const over = (top, below) => top.map((v, i) => i < 3 ? v * top[3] + below[i] * (1 - top[3]) : 1);
  const light = (c) => { const [r, g, b] = c.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const base = matchMedia("(prefers-color-scheme: dark)").matches && getComputedStyle(document.documentElement).colorScheme.includes("dark") ? [0, 0, 0, 1] : [255, 255, 255, 1];
  for (const text of document.querySelectorAll("svg text")) {
    if (!text.checkVisibility() || !text.textContent.trim()) continue;
    text.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
    const box = text.getBoundingClientRect(), s = getComputedStyle(text);
    const behind = document.elementsFromPoint(box.left + box.width / 2, box.top + box.height / 2), layers = [];
    const begin = behind.findIndex((e) => e === text || text.contains(e));
    for (const e of behind.slice(begin + 1)) {
      const style = getComputedStyle(e), shape = e instanceof SVGGeometryElement;
      if (e instanceof SVGElement && !shape && e.tagName !== "svg") continue;
      if (shape && style.fill === "none") continue;
      const c = rgba(shape ? style.fill : style.backgroundColor);
      layers.push([c[0], c[1], c[2], c[3] * (shape ? style.fillOpacity * style.opacity : 1)]);
      if (layers.at(-1)[3] === 1) break;
    }
    const back = layers.reverse().reduce((below, top) => over(top, below), base), fill = rgba(s.fill);
    const front = over([fill[0], fill[1], fill[2], fill[3] * s.fillOpacity * s.opacity], back);
    const [a, b] = [light(front.slice(0, 3)), light(back.slice(0, 3))].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) faults.add(`${ratio.toFixed(2)} to 1 (${s.fill} on ${back.slice(0, 3).map(Math.round)}), text of class "${text.getAttribute("class") || ""}"`);
  }
  return [...faults];
}"""


@contextmanager
def open_page(browser, where: Path | str, *, width: int = DESK, dark: bool = False, ignored: str = "(?!)") -> Iterator:
    """Open a file or an address; at the end nothing may have failed or been asked of another host.

    ``ignored`` is a pattern of console errors that the test itself brings about.
    """
    url = where.resolve().as_uri() if isinstance(where, Path) else where
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
    problems, asked = [], []
    page.on("pageerror", lambda error: problems.append(f"page error: {error}"))
    page.on("console", lambda said: problems.append(f"console: {said.text}") if said.type == "error" else None)
    page.on("request", lambda sent: asked.append(sent.url))
    try:
        page.goto(url)
        yield page
        _none([text for text in problems if not re.search(ignored, text)])
        _none(strangers(asked, url))
    finally:
        page.close()


def strangers(asked: list[str], url: str) -> list[str]:
    """Return the requests of a page that left its own file, or its own host."""
    own = urlsplit(url)
    return [
        sent
        for sent in asked
        if (parts := urlsplit(sent)).scheme not in ("data", "blob")
        and (parts.scheme, parts.netloc, parts.path if own.scheme == "file" else "")
        != (own.scheme, own.netloc, own.path if own.scheme == "file" else "")
    ]


def open_all(page) -> None:
    """Open everything that unfolds, so that it is checked, too."""
    page.evaluate("() => document.querySelectorAll('details').forEach((e) => { e.open = true; })")


def check_reachable(page) -> None:
    """The document does not scroll sideways, and what is wider than it lies in a region that Tab reaches."""
    _none(page.evaluate(SIDEWAYS))


def check_keyboard(page) -> None:
    """Tab reaches everything that can be used, marks where it is, stays in the window and is caught nowhere."""
    n, faults, last = page.evaluate(STOPS), [], -2
    for _ in range(2 * n + 4):
        page.keyboard.press("Tab")
        stop = page.evaluate(STOP)
        if stop["at"] < 0:
            last = -1
            continue
        if stop["at"] == last and n > 1:
            faults.append(f"Tab stays at {stop['says']}")
            break
        if stop["again"]:
            break
        if not stop["marked"]:
            faults.append(f"focus is not visible: {stop['says']}")
        if not stop["inside"]:
            faults.append(f"focus is outside the window: {stop['says']}")
        last = stop["at"]
    faults += [f"Tab never comes to {html}" for html in page.evaluate(UNSEEN)] if n > 1 else []
    _none(faults)


def check_contrast(page) -> None:
    """Text stands out from what is behind it by at least 4.5 to 1 (3 to 1 where it is large), also in pictures."""
    _none(_violations(page, {"type": "rule", "values": ["color-contrast"]}))
    _none(page.evaluate(SVG_CONTRAST))


def check_accessible(page) -> None:
    """What axe-core finds of WCAG 2.1 AA and good practice: names, roles, headings, landmarks, contrast."""
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
    _none(_violations(page, {"type": "tag", "values": tags}))


def check_page(page) -> None:
    """Everything that every page owes, with all that unfolds unfolded."""
    open_all(page)
    check_reachable(page)
    check_keyboard(page)
    check_contrast(page)
    check_accessible(page)


def _none(faults: list[str]) -> None:
    assert not faults, "\n".join(faults)


def _violations(page, run_only: dict) -> list[str]:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    found = axe.run(page, options={"runOnly": run_only, "resultTypes": ["violations"]}).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:90]} ({'; '.join(check['message'] for check in node['any'] + node['all'] + node['none'])})"
        for rule in found
        for node in rule["nodes"]
    ]
