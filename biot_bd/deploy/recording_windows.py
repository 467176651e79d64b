"""Windows of a recording as a detector cuts them, for whoever looks at single ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from biot_bd.deploy.detector import check_length
from biot_bd.deploy.model import Scorer
from biot_bd.deploy.signal_chain import SignalChain, WindowBatch
from biot_bd.exceptions import DetectionError, MissingChannelsError
from biot_bd.io.recordings import OpenRecording, read_blocks
from biot_bd.signals.planning import OnMissing, plan_recording
from biot_bd.signals.resampling import check_rate


@dataclass(frozen=True)
class RecordingWindows:
    """The windows of a recording, in order; iterated over as often as needed, with memory for some
    minutes of signal.

    Parameters
    ----------
    recording : OpenRecording
        What is read.
    scorer : Scorer
        The model whose montage, rate and length of windows they have.
    stride_s : float
        From one window's start to the next, in seconds.
    on_missing : {"raise", "drop", "interpolate"}
        Channels of the montage that the recording lacks.
    batch_size : int
        Most windows at once.

    Raises
    ------
    DetectionError
        While iterating: the recording lacks channels, is too short, or cannot be read.

    See Also
    --------
    biot_bd.Detector.detect : Finds seizures in the same windows.
    """

    recording: OpenRecording
    scorer: Scorer
    stride_s: float = 5.0
    on_missing: OnMissing = "raise"
    batch_size: int = 64

    def __iter__(self) -> Iterator[WindowBatch]:
        """Yield batches; starts are seconds since the first sample, pauses included."""
        where, scorer = self.recording.where, self.scorer
        try:
            plan = plan_recording(
                scorer.montage, self.recording.ch_names, self.on_missing, where, self.recording.unusable
            )
            reader, line = self.recording.reader(plan.needed)
            check_rate(reader.sfreq, scorer.sfreq)
        except MissingChannelsError as error:  # names the place itself
            raise DetectionError(str(error)) from error
        except ValueError as error:
            raise DetectionError(f"{where}: {error}") from error
        check_length(where, line, scorer.window_s)
        for segment in line.segments:
            chain = SignalChain(plan, reader.sfreq, scorer.sfreq, scorer.window_s, self.stride_s)
            for block in read_blocks(self.recording, plan.needed, segment.first_sample, segment.stop_sample, reader):
                chain.push(block)
                yield from self._ready(chain, segment.start_s)
            chain.finish()
            yield from self._ready(chain, segment.start_s)

    def _ready(self, chain: SignalChain, start_s: float) -> Iterator[WindowBatch]:
        while (batch := chain.pop(self.batch_size)) is not None:
            yield replace(batch, start_s=batch.start_s + start_s)
