"""Lab Streaming Layer on the loopback: the same events, lost connections, units, names."""

import sys
import threading
import time
import uuid

import numpy as np
import pytest
from deploy_files import BIPOLAR
from live_signals import loudness, recording, signal

from biot_bd.deploy.live import Chunk, Notice
from biot_bd.deploy.live.lsl import LslSource
from biot_bd.deploy.live.runner import make_live, run
from biot_bd.exceptions import LostStreamError

lsl = pytest.importorskip("mne_lsl.lsl", reason="needs the extra 'live' (mne-lsl)")
SFREQ = 256


class Sender:
    """An outlet that sends a signal, each piece stamped by its place."""

    def __init__(self, name=None, source_id="", ch_names=BIPOLAR, unit="uV", sfreq=SFREQ):
        self.name = name or f"test-{uuid.uuid4().hex[:8]}"
        info = lsl.StreamInfo(self.name, "EEG", len(ch_names), sfreq, "float32", source_id)
        if ch_names:
            info.set_channel_names(list(ch_names))
        if unit:
            info.set_channel_units([unit] * len(ch_names))
        self.outlet, self.begin = lsl.StreamOutlet(info, chunk_size=64), lsl.local_clock()

    def wait(self):
        assert self.outlet.wait_for_consumers(timeout=10)

    def send(self, x, start_s=0.0, size=128, rate=SFREQ):
        for begin in range(0, x.shape[1], size):
            part = np.ascontiguousarray(x[:, begin : begin + size].T, np.float32)
            stamps = self.begin + start_s + (begin + np.arange(len(part))) / rate
            self.outlet.push_chunk(part, stamps)

    def close(self):
        del self.outlet


def collect(source, needed, seconds, sink):
    """Take what comes in a thread of its own; return the thread."""

    def work():
        n = 0
        try:
            for item in source.chunks(needed):
                sink.append(item)
                n += item.x.shape[1] if isinstance(item, Chunk) else 0
                if n >= seconds * SFREQ:
                    source.stop()
        except Exception as error:
            sink.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def joined(items):
    return np.concatenate([item.x for item in items if isinstance(item, Chunk)], axis=1)


def test_events_of_a_stream_are_those_of_the_file():
    raw = recording(seconds=90, loud=((20, 55),))
    x = np.float32(raw.get_data() * 1e6)
    sender = Sender()
    source = LslSource(sender.name)
    lines = []
    live = make_live(loudness(), source, emit=lines.append)
    done = {}
    worker = threading.Thread(target=lambda: done.update(run=run(source, live, duration_s=90)))
    worker.start()
    sender.wait()
    sender.send(x)
    worker.join(timeout=60)
    ended = done["run"]
    assert (ended.reason, ended.error) == ("duration", None)
    offline = loudness().detect(raw)
    assert ended.result.detection.events == offline.events
    assert len(offline.events) == 1
    np.testing.assert_array_equal(ended.result.detection.probabilities, offline.probabilities)
    assert [line["type"] for line in lines if line["type"] != "lag"] == ["alarm", "event"]


def test_a_stream_that_is_slower_than_it_says_is_followed():
    x = signal(250, seconds=90, loud=((40, 65),))
    sender = Sender()
    source = LslSource(sender.name)
    lines = []
    live = make_live(loudness(), source, emit=lines.append)
    done = {}
    worker = threading.Thread(target=lambda: done.update(run=run(source, live)))
    worker.start()
    sender.wait()
    sender.send(x, rate=250)
    wait_for(lambda: live.time_s > 89.8)
    source.stop()
    worker.join(timeout=60)
    found = done["run"].result.detection
    assert [line["measured_hz"] for line in lines if line["type"] == "clock"] == [pytest.approx(250, abs=0.1)]
    assert np.isfinite(found.probabilities).all()
    assert [event.onset_s for event in found.events] == pytest.approx([43], abs=1)


def test_a_player_plays_volts():
    from mne_lsl.player import PlayerLSL

    raw = recording(seconds=20, loud=())
    name = f"player-{uuid.uuid4().hex[:8]}"
    with PlayerLSL(raw, chunk_size=32, n_repeat=1, name=name, source_id=name):
        source = LslSource(name)
        assert source.ch_names == list(BIPOLAR)
        items = []
        collect(source, BIPOLAR, 2, items).join(timeout=30)
        source.close()
    x = joined(items)
    assert 20 < x.std() < 40  # noise of 30 uV
    known = raw.get_data() * 1e6
    # What was played is somewhere in the recording, to the bit of its single precision.
    place = int(np.argmin(np.abs(known[0] - x[0, 0])))
    np.testing.assert_allclose(x[:, :100], known[:, place : place + 100], rtol=1e-5)


def test_a_lost_stream_is_found_again_and_a_channel_that_did_not_come_back_is_nan(monkeypatch):
    monkeypatch.setattr("biot_bd.deploy.live.lsl.SILENT_S", 3.0)
    first = Sender(source_id="amp-1")
    source = LslSource(first.name, reconnect_s=30)
    items = []
    thread = collect(source, BIPOLAR, 4, items)
    first.wait()
    x = signal(seconds=4, loud=())
    first.send(x[:, : 2 * SFREQ])
    wait_for(lambda: sum(i.x.shape[1] for i in items if isinstance(i, Chunk)) >= 2 * SFREQ)
    first.close()
    wait_for(lambda: any(isinstance(i, Notice) and i.fields["state"] == "lost" for i in items))
    second = Sender(first.name, source_id="amp-1", ch_names=BIPOLAR[1:])
    second.wait()
    second.send(x[1:, 2 * SFREQ :], start_s=2)
    thread.join(timeout=30)
    source.close()
    back = [i for i in items if isinstance(i, Notice) and i.fields["state"] == "back"]
    assert back[0].fields["missing"] == [BIPOLAR[0]]
    got = joined(items)
    expected = x.copy()
    expected[0, 2 * SFREQ :] = np.nan
    np.testing.assert_array_equal(got, expected)
    second.close()


def test_a_stream_that_stays_away_ends_the_run_with_what_was_found(monkeypatch):
    monkeypatch.setattr("biot_bd.deploy.live.lsl.SILENT_S", 3.0)
    sender = Sender(source_id="amp-2")
    source = LslSource(sender.name, reconnect_s=1)
    live = make_live(loudness(), source)
    done = {}
    worker = threading.Thread(target=lambda: done.update(run=run(source, live)))
    worker.start()
    sender.wait()
    sender.send(signal(seconds=60, loud=((15, 55),)))
    wait_for(lambda: live.time_s >= 60)
    sender.close()
    worker.join(timeout=30)
    ended = done["run"]
    assert ended.reason == "failed"
    assert isinstance(ended.error, LostStreamError)
    assert "not back within 1 s" in str(ended.error)
    assert len(ended.result.detection.events) == 1


def test_units():
    x = signal(seconds=2, loud=())
    for unit, told, factor in (("V", None, 1e6), ("", "mV", 1e3)):
        sender = Sender(unit=unit)
        source = LslSource(sender.name, unit=told)
        items = []
        thread = collect(source, BIPOLAR, 2, items)
        sender.wait()
        sender.send(x / factor)
        thread.join(timeout=20)
        np.testing.assert_allclose(joined(items), x, rtol=1e-5)
        source.close()
    silent = Sender(unit="")
    source = LslSource(silent.name)
    with pytest.raises(ValueError, match="does not say the unit of channel"):
        next(source.chunks(BIPOLAR))
    with pytest.raises(ValueError, match="expected V, mV, uV or nV"):
        LslSource(silent.name, unit="ohm")
    source.close()


@pytest.mark.parametrize(
    ("unit", "factor"), [("uv", 1), ("µV", 1), ("-6", 1), ("nV", 1e-3), ("mv", None), ("MV", None), ("ohm", None)]
)
def test_units_of_a_stream_are_spelled_as_in_files_or_refused(unit, factor):
    sender = Sender(unit=unit)
    source = LslSource(sender.name)
    if factor is None:
        with pytest.raises(ValueError, match=f"unit '{unit}' of channel 'FP1-F7' is not known; .*--lsl-unit"):
            next(source.chunks(BIPOLAR))
    else:
        assert source._places(BIPOLAR)[1] == [factor] * 16
    source.close()


def test_idle_chunks_come_while_nothing_comes():
    sender = Sender()
    source = LslSource(sender.name)
    item = next(source.chunks(BIPOLAR))
    assert item.x.shape == (len(BIPOLAR), 0)
    assert source.lag_s == 0
    source.close()


def test_what_waits_is_the_lag():
    sender = Sender()
    source = LslSource(sender.name)
    chunks = source.chunks(BIPOLAR)
    next(chunks)
    sender.send(signal(seconds=20, loud=()))
    wait_for(lambda: source.lag_s == pytest.approx(20))
    next(chunks)
    assert source.lag_s == pytest.approx(19)
    source.close()


def test_no_stream_of_that_name():
    with pytest.raises(LostStreamError, match=r"no LSL stream of the name 'nobody' answered within 0\.5 s"):
        LslSource("nobody", wait_s=0.5)


def test_two_streams_of_one_name():
    one = Sender(source_id="a")
    two = Sender(one.name, source_id="b")
    with pytest.raises(ValueError, match=r"source ids 'a', 'b'|source ids 'b', 'a'"):
        LslSource(one.name)
    chosen = LslSource(one.name, source_id="b")
    chosen.close()
    del two


def test_streams_that_are_no_signal():
    info = lsl.StreamInfo(f"none-{uuid.uuid4().hex[:8]}", "EEG", 2, 100, "float32", "")
    outlet = lsl.StreamOutlet(info)
    with pytest.raises(ValueError, match="does not name its 2 channels"):
        LslSource(info.name)
    irregular = lsl.StreamInfo(f"marks-{uuid.uuid4().hex[:8]}", "Markers", 1, 0, "float32", "")
    marks = lsl.StreamOutlet(irregular)
    with pytest.raises(ValueError, match="no signal of constant rate"):
        LslSource(irregular.name)
    del outlet, marks


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "mne_lsl", None)
    with pytest.raises(ImportError, match=r"pip install 'biot-bd\[live\]'"):
        LslSource("any")


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
