"""Pictures of events: one at a time, however many there are."""

import gc
import weakref

import pytest
from deploy_files import write_edf
from test_detector import loudness

from biot_bd.deploy.event_figures import event_figures, write_event_pictures
from biot_bd.signals.montages import BIOT_16


@pytest.mark.slow
def test_no_figure_is_kept_once_it_is_written(tmp_path):
    detector = loudness(stride_s=1)
    detector.event_detector.set_params(threshold=1e-6, min_duration_s=0, merge_gap_s=0)
    found = detector.detect(write_edf(tmp_path / "a.edf", seconds=60, loud=(20, 30)))
    event = found.events[0]
    many = [event._replace(onset_s=float(at), offset_s=at + 2.0) for at in range(10, 50, 5)]
    found.events[:] = many
    alive, most = [], 0

    def watched():
        nonlocal most
        for figure in event_figures(found, BIOT_16):
            yield figure
            alive.append(weakref.ref(figure))
            del figure
            gc.collect()  # figures refer to themselves in circles
            most = max(most, sum(ref() is not None for ref in alive))

    written = write_event_pictures(watched(), tmp_path / "a_event")
    assert [path.name for path in written] == [f"a_event-{n:02d}.png" for n in range(1, 9)]
    assert most <= 2
    assert len(list(event_figures(found, BIOT_16, most=3))) == 3
