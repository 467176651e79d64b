"""Recordings with pauses, written in each format that tests can write."""

import contextlib
import datetime as dt
import io
import struct

import mne
import numpy as np
import pybv
import scipy.io

from biot_bd import registry
from biot_bd.hookspecs import hookimpl
from biot_bd.io.readers import Reader

START = dt.datetime(2020, 3, 2, 10, 11, 12, tzinfo=dt.UTC)
TOLD = ("edf+d", "edf+c", "bdf+d", "brainvision", "eeglab", "persyst", "skips")
NOT_TOLD = ("bdf-status", "fif", "eeglab-unknown")
# A file of Nihon Kohden made by hand, and what MNE's readers of MFF and Neuralynx give.
BY_HAND = ("nihon", "mff", "neuralynx")


def write_with_pause(folder, kind, x_uv, names, cut, gap_s, sfreq=200):
    """Write microvolts ``(n_chans, n)``; recording paused ``gap_s`` before sample ``cut`` (a whole second)."""
    return write_with_pauses(folder, kind, x_uv, names, [(cut, gap_s)], sfreq)


def write_with_pauses(folder, kind, x_uv, names, pauses, sfreq=200, start=START):
    """Write microvolts with pauses (cut, gap_s) in order, each at a whole second; ``start`` is in UTC."""
    folder.mkdir(parents=True, exist_ok=True)
    return _WRITERS[kind.split("-")[0] if kind != "bdf-status" else kind](
        folder, kind, x_uv, names, pauses, sfreq, start
    )


def _lost_s(pauses, sample):
    return sum(gap_s for cut, gap_s in pauses if cut <= sample)


def _field(value, width):
    return str(value).encode().ljust(width)


def _edf(folder, kind, x_uv, names, pauses, sfreq, start):
    bdf, status = kind.startswith("bdf"), kind == "bdf-status"
    width, top = (3, 2**23 - 1) if bdf else (2, 2**15 - 1)
    seconds = x_uv.shape[1] // sfreq
    last = "Status" if status else f"{kind[:3].upper()} Annotations"
    labels, counts = [*names, last], [sfreq] * len(names) + [sfreq if status else 60 // width]
    head = b"\xffBIOSEMI" if bdf else _field(0, 8)
    head += _field("X X X X", 80) + _field(f"Startdate {start:%d-%b-%Y} X X X".upper().replace("STARTDATE", "Startdate"), 80)  # fmt: skip
    head += f"{start:%d.%m.%y%H.%M.%S}".encode()
    head += _field(256 * (len(labels) + 1), 8) + _field("24BIT" if status else kind.upper(), 44)
    head += _field(seconds, 8) + _field(1, 8) + _field(len(labels), 4)
    for values, size in (
        (labels, 16),
        ("", 80),
        ("uV", 8),
        (-3000, 8),
        (3000, 8),
        (-top, 8),
        (top, 8),
        ("", 80),
        (counts, 8),
        ("", 32),
    ):
        head += b"".join(_field(values[i] if isinstance(values, list) else values, size) for i in range(len(labels)))
    digital = np.rint(x_uv / 3000 * top).astype("<i4")
    path = folder / f"rec.{'bdf' if bdf else 'edf'}"
    begins = {0, *(cut // sfreq for cut, _ in pauses)}
    with path.open("wb") as file:
        file.write(head)
        for k in range(seconds):
            part = digital[:, k * sfreq : (k + 1) * sfreq]
            file.write(part[..., None].view(np.uint8).reshape(*part.shape, 4)[..., :width].tobytes())
            if status:
                codes = np.full(sfreq, 0x100000)
                codes[0] |= 0x010000 if k in begins else 0
                file.write(b"".join(int(code).to_bytes(3, "little") for code in codes))
            else:
                file.write(f"+{k + _lost_s(pauses, k * sfreq):.9g}\x14\x14\0".encode().ljust(60, b"\0"))
    return path


def _brainvision(folder, kind, x_uv, names, pauses, sfreq, start):
    options = {"meas_date": start, "unit": "µV", "resolution": 0.1}
    pybv.write_brainvision(
        data=x_uv * 1e-6, sfreq=sfreq, ch_names=list(names), fname_base="rec", folder_out=str(folder), **options
    )
    with (folder / "rec.vmrk").open("a") as file:
        for number, (cut, _) in enumerate(pauses, 2):
            on = start + dt.timedelta(seconds=cut / sfreq + _lost_s(pauses, cut))
            file.write(f"Mk{number}=New Segment,,{cut + 1},1,0,{on:%Y%m%d%H%M%S%f}\n")
    return folder / "rec.vhdr"


def _raw(x_uv, names, sfreq, start):
    raw = mne.io.RawArray(x_uv * 1e-6, mne.create_info(list(names), sfreq, "eeg"), verbose="error")
    return raw.set_meas_date(start)


def _parts(x_uv, pauses):
    return np.split(x_uv, [cut for cut, _ in pauses], axis=1)


def _fif(folder, kind, x_uv, names, pauses, sfreq, start):
    parts = [_raw(part, names, sfreq, start) for part in _parts(x_uv, pauses)]
    mne.concatenate_raws(parts, verbose="error").save(folder / "rec_raw.fif", verbose="error")
    return folder / "rec_raw.fif"


def _with_zeros(x_uv, pauses, sfreq):
    """Return the signal with zeros where nothing was recorded, and (first sample, how many) of these."""
    first, *others = _parts(x_uv, pauses)
    done, spans = [first], []
    for (_, gap_s), part in zip(pauses, others, strict=True):
        spans.append((sum(piece.shape[1] for piece in done), round(gap_s * sfreq)))
        done += [np.zeros((len(x_uv), spans[-1][1])), part]
    return np.concatenate(done, axis=1), np.array(spans)


def _skips(folder, kind, x_uv, names, pauses, sfreq, start):
    """Zeros where nothing was recorded, as MNE reads FIF of MEG systems."""
    x_uv, spans = _with_zeros(x_uv, pauses, sfreq)
    raw = _raw(x_uv, names, sfreq, start)
    raw.set_annotations(mne.Annotations(*(spans / sfreq).T, ["BAD_ACQ_SKIP"] * len(spans), orig_time=start))
    raw.save(folder / "rec_raw.fif", verbose="error")
    return folder / "rec_raw.fif"


def _eeglab(folder, kind, x_uv, names, pauses, sfreq, start):
    n = x_uv.shape[1]
    known = not kind.endswith("unknown")
    event = np.array(
        [("boundary", cut + 0.5, gap_s * sfreq if known else 0.0) for cut, gap_s in pauses],
        dtype=[("type", object), ("latency", float), ("duration", float)],
    )
    eeg = {
        "setname": "x", "nbchan": len(names), "trials": 1, "pnts": n, "srate": float(sfreq), "xmin": 0.0, "xmax": (n - 1) / sfreq,
        "data": x_uv.astype(np.float32), "chanlocs": np.array([(name,) for name in names], dtype=[("labels", object)]),
        "event": event, "icawinv": [], "icasphere": [], "icaweights": [], "icaact": [], "epoch": [], "times": [],
        "ref": "common", "filename": "rec.set", "urevent": [], "history": "",
    }  # fmt: skip
    scipy.io.savemat(folder / "rec.set", {"EEG": eeg}, appendmat=False)
    return folder / "rec.set"


def _persyst(folder, kind, x_uv, names, pauses, sfreq, start):
    np.rint(x_uv.T * 10).astype("<i2").tofile(folder / "rec.dat")
    day_s = start.hour * 3600 + start.minute * 60 + start.second
    times = [(0, day_s), *((cut, (day_s + cut / sfreq + _lost_s(pauses, cut)) % 86400) for cut, _ in pauses)]
    lines = ["[FileInfo]", "File=rec.dat", "FileType=Interleaved", f"SamplingRate={sfreq}", "HeaderLength=0",
             "Calibration=0.1", f"WaveformCount={len(names)}", "DataType=0", "[ChannelMap]",
             *(f"{name}={i}" for i, name in enumerate(names, 1)), "[SampleTimes]",
             *(f"{cut}={time_s:.6f}" for cut, time_s in times), "[Patient]", "First=", "Last=", "Sex=", "Hand=", "ID=",
             "BirthDate=01/02/80", f"TestDate={start:%m/%d/%Y}", f"TestTime={start:%H:%M:%S}", "[Comments]"]  # fmt: skip
    (folder / "rec.lay").write_text("\n".join(lines) + "\n")
    return folder / "rec.lay"


def _nihon(folder, kind, x_uv, names, pauses, sfreq, start):
    """An EEG-1100C of one control block, with a block for each segment and names in a ``.21E``."""
    data = bytearray(0x1800)
    data[0:16] = data[0x81:0x91] = b"EEG-1100C V01.00"
    data[0x17FE] = data[0x91] = 1
    data[0x92:0x96] = struct.pack("<I", 0x400)
    parts = _parts(x_uv, pauses)
    data[0x400 + 17] = len(parts)
    for i, (first, part) in enumerate(zip([0, *(cut for cut, _ in pauses)], parts, strict=True)):
        data[0x400 + 18 + 20 * i : 0x400 + 22 + 20 * i] = struct.pack("<I", len(data))
        clock = start + dt.timedelta(seconds=first / sfreq + _lost_s(pauses, first))
        block = bytearray(0x27 + 10 * len(names))
        block[0:17] = b"\x01" + f"TIME{clock:%H%M%S}000000".encode()
        block[0x14:0x1A] = bytes.fromhex(f"{clock:%y%m%d%H%M%S}")
        block[0x1A:0x1C] = struct.pack("<H", 0xC000 | sfreq)
        block[0x1C:0x20] = struct.pack("<I", part.shape[1] * 10 // sfreq)
        block[0x26] = len(names)
        for channel in range(len(names)):
            block[0x27 + 10 * channel] = channel
        steps = np.rint(np.vstack([part / (6400 / 65536), np.zeros(part.shape[1])])).astype(int) + 32768
        data += block + steps.T.astype("<u2").tobytes()
    (folder / "rec.EEG").write_bytes(data)
    listed = "".join(f"{i:04d}={name}\n" for i, name in enumerate(names))
    (folder / "rec.21E").write_text(f"[ELECTRODE]\n{listed}[REFERENCE]\n")
    return folder / "rec.EEG"


class RawNeuralynx(mne.io.RawArray):
    """What a recording is called that MNE's reader of Neuralynx gives; the time line knows its ways by the name."""


def _recorded(folder, kind, x_uv, names, pauses, sfreq, start):
    """What MNE's readers of MFF and Neuralynx give, for the reader of :func:`recorded_readers`."""
    x_uv, spans = _with_zeros(x_uv, pauses, sfreq)
    with (folder / f"rec.made-{kind}").open("wb") as file:
        file.write(f"MADE {kind} ".encode())
        np.savez(file, x_uv=x_uv, names=list(names), spans=spans, sfreq=sfreq, start=start.isoformat())
    return folder / f"rec.made-{kind}"


def _read_recorded(path):
    kind = path.suffix.removeprefix(".made-")
    told = np.load(io.BytesIO(path.read_bytes()[len(f"MADE {kind} ") :]))
    sfreq = float(told["sfreq"])
    info = mne.create_info(told["names"].tolist(), sfreq, "eeg")
    make = RawNeuralynx if kind == "neuralynx" else mne.io.RawArray
    raw = make(told["x_uv"] * 1e-6, info, verbose="error")
    raw.set_meas_date(dt.datetime.fromisoformat(str(told["start"])))
    onset, n = told["spans"].T.astype(float)
    # mne.io.egi sets them half a sample early, mne.io.neuralynx ends them a sample early.
    onset, n = (onset - 0.5, n) if kind == "mff" else (onset, n - 1)
    return raw.set_annotations(mne.Annotations(onset / sfreq, n / sfreq, ["BAD_ACQ_SKIP"] * len(onset)))


@contextlib.contextmanager
def plugged(readers):
    """Add readers (a dict by their names) by hand, and take them away again."""

    class Plugin:
        @hookimpl
        def register_readers(self, register):
            for name, reader in readers.items():
                register(name, reader)

    name = f"plugin-{'-'.join(readers)}"
    registry.add_plugin(Plugin(), name)
    try:
        yield
    finally:
        registry._manager.unregister(name=name)
        for known in registry.registries.values():
            known._remove_all_of(name)
        del registry._plugins[name]


def recorded_readers():
    """Return a context in which files of the kinds ``mff`` and ``neuralynx`` are read."""
    return plugged(
        {
            f"made-{kind}": Reader((f".made-{kind}",), lambda head, k=kind: head.startswith(f"MADE {k}".encode()), _read_recorded)
            for kind in ("mff", "neuralynx")
        }
    )  # fmt: skip


_WRITERS = {
    "edf+d": _edf, "edf+c": _edf, "bdf+d": _edf, "bdf-status": _edf, "brainvision": _brainvision, "fif": _fif,
    "eeglab": _eeglab, "persyst": _persyst, "skips": _skips, "nihon": _nihon, "mff": _recorded, "neuralynx": _recorded,
}  # fmt: skip
