"""What can compute a model here: its own folder by torch, and what it was exported to.

``MODEL/exports/<name>/`` holds exported models of a saved one; those of other weights do not count.
Nothing here imports an engine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from biot_bd.deploy.saved_weights import saved_weights
from biot_bd.exceptions import ArtifactError, MissingExtraError
from biot_bd.export.artifact import ARTIFACT, Artifact, read_facts
from biot_bd.models.checkpoints.pipeline_folder import is_exported

EXPORTS = "exports"
PACKAGES = {"torch": "torch", "onnx": "onnxruntime", "openvino": "openvino", "pt2": "torch"}
"""What an engine needs; those of plugins are not listed."""


@dataclass(frozen=True)
class Candidate:
    """An engine in a precision that can compute a model.

    Parameters
    ----------
    folder : Path
        What the engine loads.
    engine : str
        Registered name.
    precision : str
        Precision to ask it for; ``"auto"``: the engine's own choice.
    checksum : str or None
        Of what is computed.
    difference : float or None
        Largest difference of a probability to the saved model in fp32 when it was exported; None:
        not known, or bounded by the engine itself.

    See Also
    --------
    find_candidates : Those of a folder.
    """

    folder: Path
    engine: str
    precision: str
    checksum: str | None = None
    difference: float | None = None

    @property
    def name(self) -> str:
        """Engine and precision, as tables and notes have them."""
        return f"{self.engine} {self.precision}"


def find_candidates(
    model: str | os.PathLike[str], engine: str = "auto", precision: str | None = "auto"
) -> tuple[list[Candidate], list[str]]:
    """Return what can compute a model, the one to prefer first, and what cannot here.

    Parameters
    ----------
    model : path
        Folder of :func:`biot_bd.save_pipeline` or :func:`biot_bd.export_model`.
    engine : str
        ``"auto"``: every engine; or the name of one.
    precision : str or None
        ``"auto"``: every precision that an exported model was proven in; or one; None: that of the
        folder itself, fp32 but for a model that was exported in int8.

    Returns
    -------
    candidates : list of Candidate
        At least one.
    left_out : list of str
        What was exported but cannot be used, each with its reason.

    Raises
    ------
    ArtifactError
        The folder is an exported model that is damaged.
    MissingExtraError
        No package is installed that could compute it.
    ValueError
        Nothing can compute it as asked; the message says what there is.
    """
    folder = Path(model)
    left_out: list[str] = []
    own: list[Candidate] = []
    if is_exported(folder):
        exported = [read_facts(folder)]
        precision = precision or exported[0].facts["graph"]["precision"]
    elif engine in ("auto", *PACKAGES):
        weights, precision = saved_weights(folder), precision or "fp32"
        exported = [] if engine == "torch" else list(_exports(folder, weights, left_out))
        if engine in ("auto", "torch"):
            own = _of_torch(folder, weights, precision, bool(exported))
    else:  # an engine of a plugin reads what it likes
        return [Candidate(folder, engine, precision or "fp32")], left_out
    known = own + _of_exports(exported)
    wanted = [
        one for one in known if engine in ("auto", one.engine) and (one in own or precision in ("auto", one.precision))
    ]
    usable = [one for one in wanted if find_spec(PACKAGES.get(one.engine, "biot_bd")) is not None]
    left_out += [f"{one.name} ({PACKAGES[one.engine]} is not installed)" for one in wanted if one not in usable]
    if not usable and wanted:
        packages = " or ".join(dict.fromkeys(PACKAGES[one.engine] for one in wanted))
        raise MissingExtraError(
            f"{folder}: nothing that is installed computes it: {', '.join(left_out)}; pip install {packages}, or export the "
            "model where torch is (`biot-bd export`) and give the exported folder"
        )
    if not usable:
        raise ValueError(_nothing(folder, engine, precision, known, left_out))
    return usable, left_out


def _of_torch(folder: Path, weights: str | None, precision: str, compared: bool) -> list[Candidate]:
    """Return the saved model itself; its own choice of a precision is another candidate where
    others are compared with it.
    """
    if precision.startswith("int8"):
        return []
    asked = ["fp32", "auto"] if precision == "auto" and compared else [precision]
    return [Candidate(folder, "torch", name, weights) for name in asked]


def _exports(folder: Path, weights: str | None, left_out: list[str]) -> Iterator[Artifact]:
    for file in sorted((folder / EXPORTS).glob(f"*/{ARTIFACT}")):
        where = f"{EXPORTS}/{file.parent.name}"
        try:
            artifact = read_facts(file.parent)
        except ArtifactError as error:
            left_out.append(f"{where} ({error})")
            continue
        if weights is None or artifact.facts["source"]["weights_sha256"] != weights:
            left_out.append(f"{where} (exported from other weights; export this model again)")
            continue
        yield artifact


def _of_exports(artifacts: list[Artifact]) -> list[Candidate]:
    """Return the proven runs; of two of an engine and precision that of the engine's own format."""
    found: dict[str, Candidate] = {}
    for artifact in sorted(artifacts, key=lambda one: one.facts["graph"]["format"] != "openvino"):
        facts = artifact.facts
        checksum = "-".join(facts["files"][name] for name in facts["graph"]["files"])
        for run in facts["runs"]:
            one = Candidate(artifact.folder, run["engine"], run["precision"], checksum, run["largest_difference"])
            found.setdefault(one.name, one)
    return sorted(found.values(), key=lambda one: one.engine)  # stable: the graph's own precision first


def _nothing(folder: Path, engine: str, precision: str, known: list[Candidate], left_out: list[str]) -> str:
    """Return why nothing can compute a model, in a line."""
    asked = f"engine {engine!r} in precision {precision!r}"
    if left_out:
        return f"{folder}: no {asked}: {'; '.join(left_out)}"
    if known:
        there = ", ".join(dict.fromkeys(one.name for one in known))
        return f"{folder}: no {asked}: it was proven in {there}; ask for one of these"
    return f"{folder}: no {asked}: {EXPORTS}/ holds no exported model for it; `biot-bd export` makes one, or take engine 'torch'"
