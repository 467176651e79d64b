"""Recordings with one pause, written in each format that tests can write."""

import datetime as dt

import mne
import numpy as np
import pybv
import scipy.io

START = dt.datetime(2020, 3, 2, 10, 11, 12, tzinfo=dt.UTC)
TOLD = ("edf+d", "edf+c", "bdf+d", "brainvision", "eeglab", "persyst", "skips")
NOT_TOLD = ("bdf-status", "fif", "eeglab-unknown")


def write_with_pause(folder, kind, x_uv, names, cut, gap_s, sfreq=200):
    """Write microvolts ``(n_chans, n)``; recording paused ``gap_s`` before sample ``cut`` (a whole second)."""
    folder.mkdir(parents=True, exist_ok=True)
    return _WRITERS[kind.split("-")[0] if kind != "bdf-status" else kind](folder, kind, x_uv, names, cut, gap_s, sfreq)


def _field(value, width):
    return str(value).encode().ljust(width)


def _edf(folder, kind, x_uv, names, cut, gap_s, sfreq):
    bdf, status = kind.startswith("bdf"), kind == "bdf-status"
    width, top = (3, 2**23 - 1) if bdf else (2, 2**15 - 1)
    seconds = x_uv.shape[1] // sfreq
    last = "Status" if status else f"{kind[:3].upper()} Annotations"
    labels, counts = [*names, last], [sfreq] * len(names) + [sfreq if status else 60 // width]
    head = (b"\xffBIOSEMI" if bdf else _field(0, 8)) + _field("X X X X", 80) + _field("Startdate 02-MAR-2020 X X X", 80)
    head += b"02.03.2010.11.12" + _field(256 * (len(labels) + 1), 8) + _field("24BIT" if status else kind.upper(), 44)
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
    with path.open("wb") as file:
        file.write(head)
        for k in range(seconds):
            part = digital[:, k * sfreq : (k + 1) * sfreq]
            file.write(part[..., None].view(np.uint8).reshape(*part.shape, 4)[..., :width].tobytes())
            if status:
                codes = np.full(sfreq, 0x100000)
                codes[0] |= 0x010000 if k in (0, cut // sfreq) else 0
                file.write(b"".join(int(code).to_bytes(3, "little") for code in codes))
            else:
                at = k + (gap_s if k * sfreq >= cut else 0)
                file.write(f"+{at}\x14\x14\0".encode().ljust(60, b"\0"))
    return path


def _brainvision(folder, kind, x_uv, names, cut, gap_s, sfreq):
    options = {"meas_date": START, "unit": "µV", "resolution": 0.1}
    pybv.write_brainvision(
        data=x_uv * 1e-6, sfreq=sfreq, ch_names=list(names), fname_base="rec", folder_out=str(folder), **options
    )
    on = START + dt.timedelta(seconds=cut / sfreq + gap_s)
    with (folder / "rec.vmrk").open("a") as file:
        file.write(f"Mk2=New Segment,,{cut + 1},1,0,{on:%Y%m%d%H%M%S%f}\n")
    return folder / "rec.vhdr"


def _raw(x_uv, names, sfreq):
    raw = mne.io.RawArray(x_uv * 1e-6, mne.create_info(list(names), sfreq, "eeg"), verbose="error")
    return raw.set_meas_date(START)


def _fif(folder, kind, x_uv, names, cut, gap_s, sfreq):
    raw = mne.concatenate_raws([_raw(x_uv[:, :cut], names, sfreq), _raw(x_uv[:, cut:], names, sfreq)], verbose="error")
    raw.save(folder / "rec_raw.fif", verbose="error")
    return folder / "rec_raw.fif"


def _skips(folder, kind, x_uv, names, cut, gap_s, sfreq):
    """Zeros where nothing was recorded, as MNE reads MFF, Neuralynx, and FIF of MEG systems."""
    zeros = np.zeros((len(x_uv), round(gap_s * sfreq)))
    raw = _raw(np.concatenate([x_uv[:, :cut], zeros, x_uv[:, cut:]], axis=1), names, sfreq)
    raw.set_annotations(mne.Annotations([cut / sfreq], [gap_s], ["BAD_ACQ_SKIP"], orig_time=START))
    raw.save(folder / "rec_raw.fif", verbose="error")
    return folder / "rec_raw.fif"


def _eeglab(folder, kind, x_uv, names, cut, gap_s, sfreq):
    n = x_uv.shape[1]
    event = np.array(
        [("boundary", cut + 0.5, 0.0 if kind.endswith("unknown") else gap_s * sfreq)],
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


def _persyst(folder, kind, x_uv, names, cut, gap_s, sfreq):
    np.rint(x_uv.T * 10).astype("<i2").tofile(folder / "rec.dat")
    noon_s = 10 * 3600 + 11 * 60 + 12
    lines = ["[FileInfo]", "File=rec.dat", "FileType=Interleaved", f"SamplingRate={sfreq}", "HeaderLength=0",
             "Calibration=0.1", f"WaveformCount={len(names)}", "DataType=0", "[ChannelMap]",
             *(f"{name}={i}" for i, name in enumerate(names, 1)), "[SampleTimes]", f"0={noon_s}.000000",
             f"{cut}={noon_s + cut / sfreq + gap_s:.6f}", "[Patient]", "First=", "Last=", "Sex=", "Hand=", "ID=",
             "BirthDate=01/02/80", "TestDate=03/02/2020", "TestTime=10:11:12", "[Comments]"]  # fmt: skip
    (folder / "rec.lay").write_text("\n".join(lines) + "\n")
    return folder / "rec.lay"


_WRITERS = {
    "edf+d": _edf, "edf+c": _edf, "bdf+d": _edf, "bdf-status": _edf, "brainvision": _brainvision, "fif": _fif,
    "eeglab": _eeglab, "persyst": _persyst, "skips": _skips,
}  # fmt: skip
