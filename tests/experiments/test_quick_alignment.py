"""``experiments/quick_alignment.py``: the other amplifier, and a small study end to end."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.signal import periodogram

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[2] / "experiments" / "quick_alignment.py"
    spec = importlib.util.spec_from_file_location("quick_alignment", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_other_amplifier_has_other_gains_line_noise_low_pass_and_drift(script):
    x = np.random.default_rng(0).normal(0, 20, (24, 4, 2000))
    found = script.other_amplifier(x, 200.0, seed=1)
    freqs, before = periodogram(x, 200.0)
    _, after = periodogram(found, 200.0)
    before, after = before.mean(axis=0), after.mean(axis=0)  # (n_chans, n_freqs)

    def power(of, low, high):
        return of[:, (freqs >= low) & (freqs < high)].mean(axis=1)

    kept = power(after, 8, 13) / power(before, 8, 13)
    gains = np.random.default_rng(1).uniform(0.5, 1.5, 4)
    np.testing.assert_allclose(np.sqrt(kept), gains, rtol=0.05)  # alpha passes: what is left is the gain
    assert (power(after, 70, 100) / power(before, 70, 100) < 0.02 * kept).all()
    assert (power(after, 49.5, 50.5) > 20 * power(after, 45, 49)).all()
    assert (power(after, 0.05, 0.5) > 10 * kept * power(before, 0.05, 0.5)).all()
    np.testing.assert_array_equal(found, script.other_amplifier(x, 200.0, seed=1))


@pytest.fixture(scope="module")
def done(script, tmp_path_factory):
    out = tmp_path_factory.mktemp("alignment")
    assert script.main(["--out", str(out), "--quick"]) == 0
    return out


@pytest.mark.slow
def test_a_small_study_measures_both_amplifiers_before_and_after_with_a_control(done):
    rows = pd.read_csv(done / "measured.csv")
    assert set(rows["encoder"]) == {"before", "aligned", "control"}
    assert set(rows["amplifier"]) == {"first amplifier", "other amplifier"}
    assert set(rows["what"]) == {"skill", "skill by band", "shift", "AUROC"}
    shift = rows[rows["what"] == "shift"].set_index(["amplifier", "encoder"])["value"]
    assert (shift["first amplifier"] == 0).all()  # of an amplifier from itself
    assert (shift["other amplifier"] > 0.1).all()
    # Tuning moved both encoders, by other windows to other places.
    skill = rows[rows["what"] == "skill"].groupby(["amplifier", "encoder"])["value"].mean()
    assert len(set(skill["other amplifier"].round(6))) == 3


@pytest.mark.slow
def test_tables_and_plot_say_what_they_are(done):
    text = (done / "alignment.md").read_text(encoding="utf-8")
    assert "Generated data: no clinical result." in text
    assert "AUROC, aligned - before, other amplifier:" in text
    assert text.index("skill by band: delta") < text.index("skill by band: gamma")
    assert (done / "alignment.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert (done / "alignment.png").stat().st_size > 10_000
