"""Checkpoints from the Hub, tested against a local server that stands in for it."""

import importlib
import json

import numpy as np
import pytest
import torch
from braindecode.models import BIOT as BraindecodeBIOT
from checkpoint_files import Cut, hub_server
from huggingface_hub import constants

from biot_bd.exceptions import CheckpointError, HubError
from biot_bd.models import BIOT, provenance_of
from biot_bd.models.checkpoints import hub as hub_module
from biot_bd.models.checkpoints.hub import cached, fetch
from biot_bd.models.checkpoints.loading import load_checkpoint
from biot_bd.models.checkpoints.published import KNOWN
from biot_bd.models.checkpoints.resolve import find_source, is_repository

REPOSITORY = KNOWN["prest-16"].repository
SUBJECTS = {"trained_on": [{"dataset": "set", "subjects": ["set/01"], "how": "supervised"}]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What braindecode itself writes for the Hub."""
    torch.manual_seed(3)
    model = BraindecodeBIOT(n_outputs=2, n_chans=16, n_times=2000, sfreq=200).eval()
    path = tmp_path_factory.mktemp("hub") / "biot"
    model.save_pretrained(path)
    x = torch.randn(2, 16, 2000)
    return path, x.numpy(), model(x).detach().numpy()


@pytest.fixture
def hub(folder, tmp_path, monkeypatch):
    path, _, _ = folder
    files = {name: (path / name).read_bytes() for name in ("config.json", "model.safetensors")}
    repositories = {
        REPOSITORY: files,
        "me/mine": {**files, "trained_on.json": json.dumps(SUBJECTS).encode()},
        "me/nothing": {"README.md": b"empty"},
    }
    with hub_server(repositories) as (endpoint, log):
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield endpoint, log, repositories


def _use_as_hub(monkeypatch, endpoint):
    """Do what HF_ENDPOINT does; huggingface_hub reads that variable once, on import."""
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    file_download = importlib.import_module("huggingface_hub.file_download")
    monkeypatch.setattr(
        file_download, "HUGGINGFACE_CO_URL_TEMPLATE", constants.HUGGINGFACE_CO_URL_TEMPLATE, raising=False
    )


def test_a_folder_in_hub_layout_gives_braindecodes_outputs(folder):
    path, x, logits = folder
    model = BIOT.from_checkpoint(path).eval()
    np.testing.assert_allclose(model(torch.from_numpy(x)).detach().numpy(), logits, rtol=0, atol=1e-5)
    assert model.load_report.layout == "braindecode"
    assert model.load_report.head == "of the checkpoint (2 logits)"
    assert not provenance_of(path).known


def test_fetch_once_then_from_the_cache(hub, monkeypatch):
    endpoint, log, repositories = hub
    assert cached("prest-16") is None
    path = fetch("prest-16", endpoint=endpoint)
    assert sorted(p.name for p in path.iterdir()) == ["config.json", "model.safetensors"]
    requests = len(log)
    assert fetch("prest-16", offline=True) == path
    assert cached("prest-16") == path
    assert len(log) == requests
    repositories.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert find_source("prest-16") == path
    model = BIOT.from_checkpoint("prest-16", n_outputs=3)
    assert model.load_report.published == "prest-16"
    # The copy of an encoder in a whole model has a head that nobody trained.
    assert model.load_report.head.startswith("fresh")
    assert model.n_outputs == 3


def test_the_endpoint_of_huggingface_hub_is_used(hub, monkeypatch, folder):
    endpoint, _, _ = hub
    _use_as_hub(monkeypatch, endpoint)
    _, x, logits = folder
    model = BIOT.from_checkpoint("me/mine").eval()
    np.testing.assert_allclose(model(torch.from_numpy(x)).detach().numpy(), logits, rtol=0, atol=1e-5)
    assert provenance_of("me/mine").saw(["set/01", "set/02"]) == ["set/01"]


def test_offline_without_a_copy_says_where_to_get_the_file(hub):
    with pytest.raises(HubError, match=r"not reached.*EEG-PREST-16-channels\.ckpt by hand from https://github"):
        fetch("prest-16", offline=True)
    assert cached("me/mine") is None


def test_no_network_is_one_line(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    with pytest.raises(HubError, match="by hand") as caught:
        fetch("prest-16", endpoint="http://127.0.0.1:9")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "reason"), [("me/absent", "no such repository"), ("me/nothing", "holds none of")])
def test_repositories_without_weights(hub, name, reason):
    with pytest.raises(HubError, match=reason):
        fetch(name, endpoint=hub[0])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((401, "RepoNotFound"), r"no such repository \(check the name\), or it is private \(set HF_TOKEN\)"),
        ((403, "GatedRepo"), "is gated: accept its terms on its page of the Hub, and set HF_TOKEN"),
        ((404, "RevisionNotFound"), "has no branch, tag or commit 'v9'; leave it out for the newest"),
        ((403, ""), r"refuses the token of HF_TOKEN \(403\): make a new one"),
        ((500, ""), "the Hub answers .*500.*; try again later"),
    ],
)
def test_what_the_hub_refuses_is_one_line_with_the_cure(hub, monkeypatch, answer, reason):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    hub[2]["me/refused"] = answer
    with pytest.raises(HubError, match=reason) as caught:
        fetch("me/refused", endpoint=hub[0], revision="v9")
    assert str(caught.value).startswith("Hub repository me/refused: ")
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("or download its folder by hand and give its path")


def test_a_download_that_breaks_off_is_one_line_with_the_cure(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    endpoint, _, repositories = hub
    whole = repositories["me/mine"]
    repositories["me/cut"] = {**whole, "model.safetensors": Cut(whole["model.safetensors"])}
    with pytest.raises(
        HubError, match=r"model.safetensors: did not come whole \(.*\); the same command goes on"
    ) as caught:
        fetch("me/cut", endpoint=endpoint)
    assert "\n" not in str(caught.value)
    repositories["me/cut"] = whole
    assert (fetch("me/cut", endpoint=endpoint) / "model.safetensors").read_bytes() == whole["model.safetensors"]


def test_a_copy_that_contradicts_the_facts_is_refused(hub, monkeypatch, folder):
    endpoint, _, repositories = hub
    config = json.loads((folder[0] / "config.json").read_text())
    repositories[REPOSITORY] = {
        **repositories[REPOSITORY],
        "config.json": json.dumps({**config, "num_heads": 16}).encode(),
    }
    fetch("prest-16", endpoint=endpoint)
    with pytest.raises(CheckpointError, match=r"num_heads is 8 by .*prest-16, but 16"):
        load_checkpoint("prest-16")


def test_the_folder_of_the_cache_is_known_too(hub):
    path = fetch(REPOSITORY, endpoint=hub[0])
    assert provenance_of(path) == KNOWN["prest-16"].provenance


def test_an_old_copy_without_safetensors(hub, folder):
    endpoint, _, repositories = hub
    path, _, _ = folder
    repositories["me/old"] = {name: (path / name).read_bytes() for name in ("config.json", "pytorch_model.bin")}
    found = fetch("me/old", endpoint=endpoint)
    assert load_checkpoint(found).file.name == "pytorch_model.bin"
    assert fetch("me/old", offline=True) == found


def test_without_huggingface_hub(monkeypatch):
    real = importlib.import_module

    def without(name, *args):
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(hub_module.importlib, "import_module", without)
    with pytest.raises(HubError, match=r"pip install 'biot-bd\[hub\]'"):
        fetch("prest-16")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("me/mine", True),
        ("hf://me/mine", True),
        ("me/mine.ckpt", False),
        ("prest-16", False),
        ("./me/mine", False),
        ("a/b/c", False),
    ],
)
def test_what_reads_as_a_repository(source, expected):
    assert is_repository(source) is expected
