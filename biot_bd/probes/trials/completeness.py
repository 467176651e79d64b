"""Whether signed values add up to the change of the output that they say they share out."""

from __future__ import annotations

import numpy as np

from biot_bd.probes.trials.base import Candidate, Case, NotApplicable, Trial


class Completeness(Trial):
    """``info["difference"]`` holds output(x) - output(baseline) of each window."""

    name = "completeness"
    title = "its values add up to the change of the output"
    bound = 0.05
    at_least = False

    def measure(self, candidate: Candidate, case: Case) -> tuple[float, str]:
        """Return the value and what it is of; see :class:`Trial`."""
        found = candidate.found
        if not found.signed:
            raise NotApplicable("its values have no sign, so they share out nothing")
        difference = found.info.get("difference")
        if difference is None:
            raise NotApplicable('it names no change of the output that its values share out (info["difference"])')
        wanted = np.asarray(difference, dtype=float)
        special = 0.0 if found.special is None else np.nansum(found.special, axis=1)
        sums = np.nansum(found.values.reshape(len(found), -1), axis=1) + special
        if wanted.shape != sums.shape:
            raise ValueError(f'info["difference"] must hold one number for each of {len(sums)} windows')
        error = float(np.abs(sums - wanted).sum() / max(np.abs(wanted).sum(), 1e-12))
        return error, f"distance from the change of the output, relative to it, over {len(sums)} windows"
