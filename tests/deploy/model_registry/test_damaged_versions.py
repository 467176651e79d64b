"""Whatever stands in ``artifact.json``: a version is read, or refused by one kind of error that names it."""

import copy
import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biot_bd.deploy import Registry, is_version, read_version
from biot_bd.deploy.model_registry import verify_version
from biot_bd.exceptions import ArtifactError, ModelRegistryError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)


def places(value, keys=()):
    """Yield the keys that lead to every value inside."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*keys, key)
        yield from places(value[key], (*keys, key))


@pytest.fixture(scope="module")
def broken(saved, tmp_path_factory):
    """Return the folder of a version that is broken again and again, and what its artifact.json held."""
    folder = tmp_path_factory.mktemp("broken") / "mine" / "1.0.0"
    shutil.copytree(saved.resolve("mine").folder, folder)
    (folder / "artifact.json").chmod(0o644)
    return folder, json.loads((folder / "artifact.json").read_text())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_in_any_place_is_read_or_refused_with_the_file_named(broken, data):
    folder, facts = broken
    changed = copy.deepcopy(facts)
    keys = data.draw(st.sampled_from(list(places(facts))))
    inner = changed
    for key in keys[:-1]:
        inner = inner[key]
    if data.draw(st.booleans()):
        inner[keys[-1]] = data.draw(VALUES)
    else:
        del inner[keys[-1]]
    (folder / "artifact.json").write_text(json.dumps(changed))
    told = str(folder)
    try:
        verify_version(folder, replay=False)
    except (ModelRegistryError, ArtifactError) as error:
        told = str(error)
    assert str(folder) in told
    assert len(told.splitlines()) == 1
    (listed,) = Registry(folder.parents[1]).list()
    assert listed.label == "mine/1.0.0"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"format": "biot_bd registered model"}', b"[" * 5000]
)
def test_a_file_that_is_no_description_is_named(broken, content):
    folder, facts = broken
    (folder / "artifact.json").write_bytes(content)
    with pytest.raises(ModelRegistryError, match=r"artifact\.json"):
        read_version(folder)
    (listed,) = Registry(folder.parents[1]).list()
    assert "artifact.json" in listed.problem
    assert is_version(folder) == (b"registered" in content)
    (folder / "artifact.json").write_text(json.dumps(facts))
    assert read_version(folder).label == "mine/1.0.0"
