"""The viewer in Chromium: what is decoded, filtered, scaled and drawn, by what keys, and what every page owes."""

import base64
import json

import numpy as np
import pytest
import scipy.signal
from browser_pages import DESK, PHONE, check_page, open_page

from biot_bd.viewer import Traces, ViewedRecording, samples_message, viewer_about, viewer_json, write_viewer
from biot_bd.viewer.encoding import RESOLUTIONS, Samples

pytestmark = pytest.mark.slow
SFREQ = 128.0
NAMES = (
    "Fp1-F7 F7-T7 T7-P7 P7-O1 Fp2-F8 F8-T8 T8-P8 P8-O2 Fp1-F3 F3-C3 C3-P3 P3-O1 Fp2-F4 F4-C4 C4-P4 P4-O2 Fz-Cz Cz-Pz"
).split()


def waves(n_chans, seconds, sfreq=SFREQ, seed=0):
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * sfreq)) / sfreq
    x = 40 * np.sin(2 * np.pi * (3 + np.arange(n_chans)[:, None] / 4) * t) + 8 * rng.standard_normal((n_chans, t.size))
    return x.astype(np.float32)


EVENTS = [{"onset_s": 20.0, "offset_s": 32.5, "confidence": 0.9}, {"onset_s": 150.25, "offset_s": 171.0}]


def recording(**change):
    times = np.arange(300) + 0.5
    curve = np.clip(np.interp(times, [0, 15, 25, 35, 145, 155, 175, 300], [0.1, 0.1, 1, 0.2, 0.1, 0.9, 0.1, 0.1]), 0, 1)
    given = {
        "name": "night <1>",
        "duration_s": 300.0,
        "start_time": "2021-03-04T23:58:00",
        "sfreq": 256.0,
        "events": EVENTS,
        "reference": [{"onset_s": 18.0, "offset_s": 33.0}],
        "gaps": [(280.0, 300.0)],
        "curve_times_s": times,
        "curve": curve,
        "window_times_s": times[4::5],
        "window_probabilities": np.r_[np.nan, curve[9::5]],
        "threshold": 0.6,
    }
    return ViewedRecording(**given | change)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    pieces = [Traces(waves(18, 100), SFREQ, 0.0, NAMES), Traces(waves(18, 60, seed=1), SFREQ, 140.0, NAMES)]
    return write_viewer(tmp_path_factory.mktemp("viewer") / "viewer.html", recording(), pieces)


@pytest.fixture
def page(browser, path):
    with open_page(browser, path) as page:
        page.evaluate("() => { globalThis.viewer = startViewers.made[0]; return viewer.ready; }")
        yield page


def where(page):
    page.evaluate("viewer.loading")
    return page.evaluate("[viewer.view.from_s, viewer.view.page_s, viewer.uvPerMm]")


@pytest.mark.parametrize("resolution", [RESOLUTIONS[0], RESOLUTIONS[4], RESOLUTIONS[-1]])
def test_the_browser_decodes_what_python_encoded(page, resolution):
    rng = np.random.default_rng(3)
    sets = [
        rng.normal(0, 50, (3, 200)),
        np.cumsum(rng.normal(0, 300, (2, 500)), axis=1),
        np.full((2, 7), np.nan),
        np.where(rng.random((4, 90)) < 0.3, np.nan, rng.normal(1e5, 20, (4, 90))),
        np.array([[32767.0 * 0.1, -32767.0 * 0.1, 0.0, 9e5]]),
        np.zeros((1, 1)),
    ]
    for values in sets:
        values = values.astype(np.float32)
        chunk = Samples(values).encode(resolution)
        rows = page.evaluate(
            "async ([c, n, s]) => (await EegTraces.decodeChunk(c, n, s)).map((x) => Array.from(x, (v) => (v === v ? v : null)))",
            [chunk, len(values), resolution.step_uv],
        )
        found = np.array(rows, dtype=float)
        for channel, (made, row) in enumerate(zip(found, values.astype(float), strict=True)):
            step = chunk.get("steps", {}).get(str(channel), resolution.step_uv)
            assert np.array_equal(np.isnan(made), np.isnan(row))
            known = ~np.isnan(row)
            most = np.abs(row[known]).max(initial=0)
            assert np.abs(made - row)[known].max(initial=0) <= step / 2 + 1e-6 * most


def scipy_filtered(x, sfreq, high_pass, low_pass, notch):
    """Each stretch without a gap by itself, from the state of a signal that was always its first value."""
    parts = []
    if high_pass:
        parts.append(scipy.signal.butter(2, high_pass, "highpass", fs=sfreq))
    if low_pass:
        parts.append(scipy.signal.butter(2, low_pass, "lowpass", fs=sfreq))
    if notch:
        parts.append(scipy.signal.iirnotch(notch, 30, fs=sfreq))
    y = x.astype(float)
    known = ~np.isnan(x)
    edges = np.flatnonzero(np.diff(np.r_[False, known, False].astype(int)))
    for first, stop in edges.reshape(-1, 2):
        piece = y[first:stop]
        for b, a in parts:
            piece, _ = scipy.signal.lfilter(b, a, piece, zi=scipy.signal.lfilter_zi(b, a) * piece[0])
        y[first:stop] = piece
    return y


@pytest.mark.parametrize("sfreq", [100.0, 128.0, 256.0])
@pytest.mark.parametrize(
    ("high_pass", "low_pass", "notch"), [(0.5, 0, 0), (1, 15, 0), (1.6, 35, 60), (0, 0, 50), (0, 70, 0)]
)
def test_display_filters_are_those_of_scipy(page, sfreq, high_pass, low_pass, notch):
    x = waves(1, 8, sfreq, seed=2)[0] + 300
    x[400:420] = np.nan
    x[0] = np.nan
    found = page.evaluate(
        """([x, sfreq, filters]) => Array.from(EegTraces.filtered(Float32Array.from(x, (v) => v === null ? NaN : v),
             EegTraces.sections(sfreq, filters)), (v) => v === v ? v : null)""",
        [
            [None if np.isnan(v) else float(v) for v in x],
            sfreq,
            {"highPass": high_pass, "lowPass": low_pass, "notch": notch},
        ],
    )
    usable = [hz if hz < 0.49 * sfreq else 0 for hz in (high_pass, low_pass, notch)]
    wanted = scipy_filtered(x, sfreq, *usable)
    assert np.allclose(np.array(found, float), wanted, rtol=0, atol=2e-3, equal_nan=True)


def test_one_artefact_does_not_change_the_scale(page):
    x = waves(18, 14)
    clean = page.evaluate("(x) => EegTraces.robustScale(x.map((row) => Float32Array.from(row)))", x.tolist())
    away = np.abs(x - np.median(x, axis=1, keepdims=True))
    assert clean == pytest.approx(float(np.median(np.percentile(away, 98, axis=1))), rel=0.02)
    x[3] = 5000 * np.sign(x[3])
    x[:, 200:210] += 3000
    loud = page.evaluate("(x) => EegTraces.robustScale(x.map((row) => Float32Array.from(row)))", x.tolist())
    assert loud == pytest.approx(clean, rel=0.1)
    fits = page.evaluate("[20, 90, 1e6, 0].map((uv) => EegTraces.fittingSensitivity(uv, 30))")
    assert fits == [7, 10, 1000, 7]  # 30 px are 7.9 mm, 1.3 rows 10.3 mm


def test_chains_and_sides_of_names(page):
    names = [*NAMES, "T7-FT9", "FT9-FT10", "EKG", "Fz", "C4", "T6", "X<1>", "A1-C3"]
    chains = page.evaluate("(names) => EegTraces.chains(names)", names)
    found = {chain["title"]: [names[i] for i in chain["rows"]] for chain in chains}
    assert found == {
        "Left temporal": ["Fp1-F7", "F7-T7", "T7-P7", "P7-O1", "T7-FT9", "A1-C3"],
        "Left parasagittal": ["Fp1-F3", "F3-C3", "C3-P3", "P3-O1"],
        "Midline": ["Fz-Cz", "Cz-Pz", "Fz"],
        "Right parasagittal": ["Fp2-F4", "F4-C4", "C4-P4", "P4-O2", "C4"],
        "Right temporal": ["Fp2-F8", "F8-T8", "T8-P8", "P8-O2", "T6"],
        "Across": ["FT9-FT10"],
        "Others": ["EKG", "X<1>"],
    }
    assert [chain["side"] for chain in chains] == ["left", "left", "middle", "right", "right", "middle", "other"]


def test_no_peak_is_lost_where_samples_outnumber_pixels(page):
    """A signal of one sample's height, at any place: the path reaches it, and is no longer than four corners a pixel."""
    spans = page.evaluate(
        """() => [17, 500, 4999, 9000].map((at) => {
          const x = new Float32Array(10000); x[at] = 900; x[at + 1] = -700;
          let low = Infinity, high = -Infinity, corners = 0;
          const pen = { moveTo(px, py) { this.lineTo(px, py); }, lineTo(px, py) { corners++; low = Math.min(low, py); high = Math.max(high, py); } };
          EegTraces.trace(pen, x, { sfreq: 500, startS: 0, fromS: 0, toS: 20, left: 10, width: 700, yOf: (v) => v });
          return [low, high, corners];
        })"""
    )
    for low, high, corners in spans:
        assert (low, high) == (-700, 900)
        assert corners <= 4 * 702


def test_negative_is_up_and_can_be_turned(page):
    """A deflection that is negative in the file goes up, by default; where the bar says so much, so far."""
    heights = page.evaluate(
        """() => [true, false].map((negativeUp) => {
          const x = new Float32Array(1280); x.fill(-100, 600, 700);
          const ys = [];
          const pen = { save() {}, restore() {}, beginPath() {}, rect() {}, clip() {}, stroke() {}, moveTo(x, y) { ys.push(y); }, lineTo(x, y) { ys.push(y); } };
          EegTraces.drawTraces(pen, { sfreq: 128, start_s: 0, uv: [x] }, { box: { left: 0, top: 0, width: 1000, height: 400 },
            rows: [{ channel: 0, side: "left", y: 200 }], rowPx: 60, fromS: 0, toS: 10, uvPerMm: 10, negativeUp, colours: {} });
          return negativeUp ? 200 - Math.min(...ys) : Math.max(...ys) - 200;
        })"""
    )
    assert heights == pytest.approx([10 * 96 / 25.4] * 2)


def test_times_are_told(page):
    found = page.evaluate(
        """[EegTraces.clock(3725.96, 1), EegTraces.clock(59.96, 1), EegTraces.clock(86399.6), EegTraces.clock(-2),
            EegTraces.wallClock("2021-03-04T23:58:00", 150, true), EegTraces.wallClock("2020-02-28T23:59:59.500000", 0.5),
            EegTraces.wallClock(null, 5), EegTraces.wallClock("2021-03-04 23:58:00+02:00", 0)]"""
    )
    assert found == [
        "1:02:06.0",
        "0:01:00.0",
        "24:00:00",
        "−0:00:02",
        "2021-03-05 00:00:30",
        "00:00:00",
        "",
        "23:58:00",
    ]


def test_pages_events_and_settings_by_keyboard(page):
    assert where(page) == [17.0, 10, 7]  # the first event, three tenths into the page
    line = page.locator(".eeg-where")
    assert "0:00:17 to 0:00:27 · clock 23:58:17 (file header) · 7 µV/mm" in line.inner_text()
    assert "high-pass 0.5 Hz, low-pass off, notch off · negative up" in line.inner_text()
    steps = [
        ("ArrowRight", [27, 10, 7]), ("PageDown", [37, 10, 7]), ("ArrowLeft", [27, 10, 7]), ("Home", [0, 10, 7]),
        ("n", [17, 10, 7]), ("n", [147.25, 10, 7]), ("n", [147.25, 10, 7]), ("p", [17, 10, 7]), ("t", [17, 15, 7]),
        ("End", [285, 15, 7]), ("-", [285, 15, 10]), ("+", [285, 15, 7]), ("+", [285, 15, 5]),
    ]  # fmt: skip
    for key, wanted in steps:
        page.keyboard.press(key)
        assert where(page) == wanted, key
    page.keyboard.press("i")
    page.keyboard.press("f")
    where(page)
    page.wait_for_function(
        "document.querySelector('.eeg-where').textContent.includes('no display filter · positive up')"
    )
    page.keyboard.press("?")
    assert page.locator("details.eeg-help").evaluate("(e) => e.open")
    assert "brought down with an anti-alias filter" in page.locator("details.eeg-help").inner_text()


def test_stretches_without_eeg_are_gone_over_and_said(page):
    page.evaluate("viewer.goTo(95)")
    where(page)
    page.keyboard.press("ArrowRight")
    assert where(page)[0] == 140
    assert "went over" in page.locator(".eeg-status").inner_text()
    page.keyboard.press("ArrowLeft")
    assert where(page)[0] == 90
    page.evaluate("viewer.goTo(110)")
    page.evaluate("viewer.loading")
    assert page.evaluate("viewer.signal") is None


def test_the_signal_shown_is_the_signal_given(page):
    page.evaluate("viewer.goTo(100 / 3)")
    page.evaluate("viewer.loading")
    start_s, row = page.evaluate("[viewer.signal.start_s, Array.from(viewer.signal.uv[5])]")
    first = round(start_s * SFREQ)
    assert start_s * SFREQ == pytest.approx(first, abs=1e-6)
    assert np.abs(waves(18, 100)[5, first : first + len(row)] - row).max() <= 0.05 + 1e-4
    assert len(row) / SFREQ == pytest.approx(14.1, abs=0.05)  # four seconds before, for the filters
    # Over the border of two chunks, a minute long each, and over the end of a stretch.
    page.evaluate("viewer.goTo(55)")
    page.evaluate("viewer.loading")
    start_s, row = page.evaluate("[viewer.signal.start_s, Array.from(viewer.signal.uv[17])]")
    first = round(start_s * SFREQ)
    assert np.abs(waves(18, 100)[17, first : first + len(row)] - row).max() <= 0.05 + 1e-4
    page.evaluate("viewer.goTo(95)")
    page.evaluate("viewer.loading")
    last = page.evaluate(
        "viewer.signal.uv[0].findLastIndex((v) => v === v) / viewer.signal.sfreq + viewer.signal.start_s"
    )
    assert last == pytest.approx(100 - 1 / SFREQ, abs=1e-6)


def test_the_curve_is_the_one_given(page):
    values, times = page.evaluate("[Array.from(viewer.curve.values), viewer.curve.times]")
    viewed = recording()
    assert np.abs(np.array(values) - viewed.curve).max() <= 0.5e-4 + 1e-6
    assert np.allclose(times, viewed.curve_times_s)
    assert page.evaluate("Number.isNaN(viewer.windows.values[0])")


def test_the_line_meets_the_threshold_where_the_first_second_reaches_it(page):
    """Every corner of the drawn line, in seconds and probabilities: a value holds for its second."""
    viewed = recording()
    page.evaluate("viewer.goTo(20)")
    page.evaluate("viewer.loading")
    corners = page.evaluate(
        """() => {
          const corners = [], own = viewer.pen.bind(viewer);
          let height, width;
          viewer.pen = (canvas) => {
            const made = own(canvas);
            ({ height, width } = made);
            let colour = "", path = [];
            const pen = new Proxy(made.pen, {
              set(pen, name, value) { if (name === "strokeStyle") colour = value; pen[name] = value; return true; },
              get(pen, name) {
                if (name === "beginPath") path = [];
                if (name === "moveTo" || name === "lineTo") return (x, y) => { path.push([x, y]); pen[name](x, y); };
                if (name === "stroke" && colour === viewer.colours.curve) { corners.push(...path); path = []; }
                return typeof pen[name] === "function" ? pen[name].bind(pen) : pen[name];
              },
            });
            return { ...made, pen };
          };
          viewer.drawCurve();
          delete viewer.pen;
          const [from, to] = viewer.strip, left = viewer.margin;
          return corners.map(([x, y]) => [from + ((x - left) / (width - left)) * (to - from), 1 - (y - 8) / (height - 26)]);
        }"""
    )
    seconds, values = np.array(corners).T
    first = next(t for t, p in zip(viewed.curve_times_s, viewed.curve, strict=True) if p >= 0.6)
    rising = np.flatnonzero((values[1:] >= 0.6) & (values[:-1] < 0.6))[0]
    assert seconds[rising] == pytest.approx(seconds[rising + 1], abs=1e-6)
    assert seconds[rising] == pytest.approx(first, abs=1e-3)
    inside = (viewed.curve_times_s >= 1) & (viewed.curve_times_s < 100)
    for t, p in zip(viewed.curve_times_s[inside], viewed.curve[inside], strict=True):
        held = values[(seconds > t - 0.01) & (seconds < t + 1.01)]
        assert np.abs(held - p).min() < 1e-3


def test_clicks_select_and_drags_mark(page):
    page.evaluate(
        """globalThis.said = []; for (const name of ["cursor", "selection", "view"])
           viewer.root.addEventListener(name, (e) => said.push([name, e.detail]))"""
    )
    box = page.locator("canvas.eeg-traces").bounding_box()
    left, width = box["x"] + 64 + 1, box["width"] - 64 - 2
    page.mouse.click(left + width / 2, box["y"] + 200)
    assert page.evaluate("viewer.cursor_s") == pytest.approx(22.0, abs=0.05)
    page.keyboard.press("Shift+ArrowRight")
    assert page.evaluate("viewer.cursor_s") == pytest.approx(22.1, abs=0.05)
    page.mouse.move(left + 0.2 * width, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(left + 0.4 * width, box["y"] + 100, steps=3)
    page.mouse.up()
    name, detail = page.evaluate("said.at(-1)")
    assert name == "selection"
    assert detail["from_s"] == pytest.approx(19.0, abs=0.05)
    assert detail["to_s"] == pytest.approx(21.0, abs=0.05)
    overview = page.locator("canvas.eeg-overview")
    overview.click(position={"x": 64 + 0.5 * (overview.bounding_box()["width"] - 64), "y": 20})
    assert where(page)[0] == pytest.approx(145.0, abs=0.6)


def test_events_can_be_set_by_the_page_around(page):
    page.evaluate("viewer.setEvents([{ onset_s: 5, offset_s: 9, kind: 'rejected', label: '<b>no</b>' }])")
    rows = page.locator(".eeg-events tbody tr").all_inner_texts()
    assert len(rows) == 2
    assert "<b>no</b>" in rows[0]
    assert "annotated" in rows[1]
    page.locator(".eeg-events tbody button").first.click()
    assert where(page)[0] == 2.0
    assert page.locator(".eeg-events [aria-current]").count() == 1


def test_annotations_are_gone_to_where_nothing_was_detected(browser, tmp_path):
    viewed = recording(events=[], reference=[{"onset_s": 12.0, "offset_s": 20.0}, {"onset_s": 40.0, "offset_s": 50.0}])
    path = write_viewer(tmp_path / "missed.html", viewed, [Traces(waves(18, 60), SFREQ, 0.0, NAMES)])
    with open_page(browser, path) as page:
        page.evaluate("() => { globalThis.viewer = startViewers.made[0]; return viewer.ready; }")
        assert where(page)[0] == 9.0
        page.keyboard.press("n")
        assert where(page)[0] == 37.0
        assert page.locator(".eeg-events [aria-current]").count() == 1
        page.locator(".eeg-events tbody button").first.click()
        assert where(page)[0] == 9.0


def test_a_swipe_turns_the_page(browser, path):
    page = browser.new_page(viewport={"width": PHONE, "height": 844}, has_touch=True)
    page.goto(path.as_uri())
    page.evaluate("() => { globalThis.viewer = startViewers.made[0]; return viewer.ready; }")
    before = where(page)
    assert before[1] == 5
    page.evaluate(
        """() => { const canvas = document.querySelector("canvas.eeg-traces"), at = canvas.getBoundingClientRect();
           const send = (name, x, on) => on.dispatchEvent(new PointerEvent(name, { pointerType: "touch", bubbles: true, clientX: at.left + x, clientY: at.top + 90, button: 0 }));
           send("pointerdown", 300, canvas); send("pointermove", 200, canvas); send("pointerup", 120, canvas); }"""
    )
    assert where(page)[0] == before[0] + 5
    assert min(page.evaluate("[...document.querySelectorAll('.eeg-bar button')].map((b) => b.offsetHeight)")) >= 40
    page.close()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_what_every_page_owes(browser, path, width, dark):
    with open_page(browser, path, width=width, dark=dark) as page:
        page.evaluate("startViewers.made[0].ready")
        check_page(page)


def test_a_source_that_asks_a_server(page):
    viewed = recording()
    about = viewer_about(viewed, NAMES, NAMES, SFREQ)
    x = waves(18, 300)
    x[:, 1280 : 1280 + 64] = np.nan
    messages = [
        base64.b64encode(
            samples_message(Traces(x[:, round(a * SFREQ) : round((a + 30) * SFREQ)], SFREQ, a, NAMES))
        ).decode()
        for a in range(0, 300, 30)
    ]
    start_s, row, asked, gap = page.evaluate(
        """async ([about, messages]) => {
          const asked = [], ask = async (url) => {
            asked.push(url);
            const text = atob(messages[Math.round(Number(url.split("=")[1]) / 30)]);
            return { ok: true, arrayBuffer: async () => Uint8Array.from(text, (c) => c.charCodeAt(0)).buffer };
          };
          const source = fetchSource(about, (from, to) => `signals?from=${from}`, { ask });
          await source.read(25, 40);
          const { start_s, uv } = await source.read(28, 41);
          const gap = await source.read(9, 11);
          return [start_s, Array.from(uv[3]), asked, [gap.start_s, Array.from(gap.uv[0], (v) => v === v)]];
        }""",
        [json.loads(json.dumps(about)), messages],
    )
    first = round(start_s * SFREQ)
    assert start_s == pytest.approx(28)
    assert np.abs(x[3, first : first + len(row)] - row).max() <= 0.05 + 1e-4
    assert asked == ["signals?from=0", "signals?from=30"]  # each once
    assert gap[1] == np.isfinite(x[0, round(gap[0] * SFREQ) :][: len(gap[1])]).tolist()


def test_a_server_that_fails_is_told_in_the_page(page):
    text = page.evaluate(
        """async () => {
          const about = { ...viewer.about, curve: null, windows: null }, root = document.body.appendChild(document.createElement("section"));
          root.className = "eeg-viewer";
          const other = new EegViewer(root, fetchSource(about, () => "x", { ask: async () => ({ ok: false, status: 503, statusText: "busy" }) }));
          await other.ready;
          return other.fault;
        }"""
    )
    assert text == "The EEG of this page cannot be read: the server answered 503 busy"


def test_a_page_that_was_cut_off_says_so(browser, path, tmp_path):
    text = path.read_text("utf-8")
    cut = tmp_path / "cut.html"
    cut.write_text(text[: text.rindex("<script type=")], "utf-8")
    with open_page(browser, cut) as page:
        page.evaluate("() => { globalThis.viewer = startViewers.made[0]; return viewer.ready; }")
        assert page.evaluate("viewer.fault") == ""
        page.evaluate("viewer.goTo(170)")
        page.evaluate("viewer.loading")
        assert page.evaluate("viewer.fault") == "The EEG of this page cannot be read: a part of this page is missing"


def test_two_viewers_in_a_page_keep_their_keys(browser, tmp_path):
    from biot_bd.viewer import viewer_assets, viewer_fragment

    css, js = viewer_assets()
    data = viewer_json(recording(), [Traces(waves(18, 60), SFREQ, 0.0, NAMES)])
    both = "".join(str(viewer_fragment(data, name)) for name in ("a", "b"))
    path = tmp_path / "two.html"
    path.write_text(
        f"<!DOCTYPE html><meta charset=utf-8><style>{css}</style>{both}<script>{js}; startViewers();</script>"
    )
    with open_page(browser, path) as page:
        page.evaluate("Promise.all(startViewers.made.map((v) => v.ready))")
        page.locator("canvas.eeg-traces").nth(1).focus()
        page.keyboard.press("ArrowRight")
        page.evaluate("startViewers.made[1].loading")
        assert page.evaluate("startViewers.made.map((v) => v.view.from_s)") == [17, 27]


def test_printing_is_light_in_a_dark_browser(browser, path):
    with open_page(browser, path, dark=True) as page:
        page.evaluate("() => { globalThis.viewer = startViewers.made[0]; return viewer.ready; }")
        corner = "Array.from(document.querySelector('canvas.eeg-traces').getContext('2d').getImageData(2, 2, 1, 1).data.slice(0, 3))"
        assert max(page.evaluate(corner)) < 60
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.evaluate(corner) == [255, 255, 255]
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert max(page.evaluate(corner)) < 60


def test_a_page_around_the_viewer_keeps_its_own_keys(browser, tmp_path):
    """Arrows scroll a region that scrolls, and PageDown a page whose EEG is not on the screen."""
    from biot_bd.viewer import viewer_assets, viewer_fragment

    css, js = viewer_assets()
    fragment = viewer_fragment(viewer_json(recording(), [Traces(waves(18, 60), SFREQ, 0.0, NAMES)]), "a")
    wide = '<div tabindex="0" id="wide" style="overflow:auto;width:9rem"><p style="width:99rem">wide</p></div>'
    path = tmp_path / "around.html"
    path.write_text(
        f"<!DOCTYPE html><meta charset=utf-8><style>{css}</style>{wide}<button id=own>own</button>{fragment}"
        f"<p style='height:300vh'></p><script>{js}; startViewers();</script>"
    )
    with open_page(browser, path) as page:
        page.evaluate("() => { globalThis.viewer = startViewers.made[0]; return viewer.ready; }")
        page.locator("#wide").focus()
        page.keyboard.press("ArrowRight")
        assert where(page)[0] == 17
        page.locator("#own").focus()
        page.keyboard.press("ArrowRight")
        assert where(page)[0] == 27
        page.evaluate("() => { document.activeElement.blur(); scrollTo(0, document.body.scrollHeight); }")
        page.keyboard.press("ArrowRight")
        assert where(page)[0] == 27
