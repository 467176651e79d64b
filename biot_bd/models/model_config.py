"""BIOT as a pydantic model, as braindecode has them for its own models."""

from __future__ import annotations

import warnings
from typing import Any, Literal

from biot_bd.models.biot import BIOT

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "TypedDict class 'ChsInfoType'")  # of pydantic, about braindecode's own type
    from braindecode.models.config import make_model_config

    _Fields: Any = make_model_config(BIOT, ["n_outputs", "n_chans", "n_times"])


class BIOTConfig(_Fields):  # type: ignore[misc]
    """The constructor parameters of :class:`biot_bd.models.BIOT`, checked by pydantic.

    What ``braindecode.models.config.make_model_config(BIOT, ...)`` gives looks its model up by
    class name when it builds one, and finds braindecode's BIOT; this one builds ours.

    Parameters
    ----------
    embed_dim, num_heads, num_layers, sfreq, hop_length, n_outputs, n_chans : optional
        As for :class:`biot_bd.models.BIOT`, by name.
    chs_info, n_times, input_window_seconds, activation, drop_prob : optional
        As there.
    max_seq_len, att_drop_prob, att_layer_drop_prob, channel_ids, n_channel_tokens : optional
        As there.
    class_token, token_drop_prob : optional
        As there.
    model_name_ : str
        Tells configurations apart: ``"biot_bd.BIOT"``.

    Raises
    ------
    pydantic.ValidationError
        A ``ValueError``: a field is unknown, missing or of another type, or sizes contradict.

    See Also
    --------
    biot_bd.models.BIOT.get_config : The parameters of a model that exists.

    Examples
    --------
    >>> from biot_bd.models import BIOTConfig
    >>> config = BIOTConfig(
    ...     n_chans=2,
    ...     n_times=400,
    ...     n_outputs=2,
    ...     embed_dim=16,
    ...     num_heads=2,
    ...     channel_ids=[5, 0],
    ...     n_channel_tokens=18,
    ... )
    >>> text = config.model_dump_json()
    >>> BIOTConfig.model_validate_json(text).create_instance().channel_ids
    (5, 0)
    """

    model_name_: Literal["biot_bd.BIOT"] = "biot_bd.BIOT"

    def create_instance(self) -> BIOT:
        """Build the model, with fresh weights."""
        return BIOT(**self.model_dump(mode="python", exclude={"model_name_"}))
