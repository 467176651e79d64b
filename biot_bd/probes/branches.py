"""Which attention modules run side by side on parts of the features, as one layer."""

from __future__ import annotations

from biot_bd.models.attention.attention_maps import AttentionMaps


def branches(maps: AttentionMaps) -> tuple[tuple[int, ...], ...]:
    """Group the maps of a pass by layer.

    Where two modules of one block look along different axes, each at its part of the features
    (CBraMod: one half looks over channels, the other over time), they are heads of one layer.

    Parameters
    ----------
    maps : AttentionMaps
        Of one pass.

    Returns
    -------
    tuple of tuple of int
        The numbers of the maps of each layer, first layer first.
    """
    groups: list[list[int]] = []
    for number, record in enumerate(maps.records):
        before = maps.records[groups[-1][0]] if groups else None
        beside = (
            before is not None
            and {before.folded, record.folded} == {"channel", "frame"}
            and before.layer.rpartition(".")[0] == record.layer.rpartition(".")[0]
            and len(groups[-1]) == 1
        )
        if beside:
            groups[-1].append(number)
        else:
            groups.append([number])
    return tuple(tuple(group) for group in groups)
