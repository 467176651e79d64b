"""Names and versions of the model registry."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biot_bd.deploy.version_names import check_name, check_version, is_prerelease, precedence, split_label
from biot_bd.exceptions import ModelRegistryError

# https://semver.org, section 11 and its examples
IN_ORDER = [
    "0.9.9",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.9.0",
    "1.10.0",
    "1.11.0",
    "2.0.0",
    "2.1.0",
    "2.1.1",
]
# The regular expression that https://semver.org proposes.
SEMVER = re.compile(
    r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
    r"(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$"
)


def test_versions_are_in_the_order_of_semver_org():
    assert all(precedence(one) < precedence(other) for one, other in pairwise(IN_ORDER))


@given(st.text("0123456789.-abz+R ", max_size=12))
def test_a_version_is_one_of_semver_org_in_small_letters_without_a_build(text):
    wanted = bool(SEMVER.match(text)) and "\n" not in text and "+" not in text and text == text.lower()
    try:
        found = check_version(text) == text
    except ModelRegistryError:
        found = False
    assert found == wanted


@pytest.mark.parametrize(
    "version", ["1.0", "v1.0.0", "1.0.0+cpu", "1.0.0-RC1", "01.0.0", "1.0.0\n", "", "1.0.0/..", "١.0.0"]
)
def test_what_is_no_version_is_refused_with_an_example(version):
    with pytest.raises(ModelRegistryError, match=r"expected three numbers such as '1\.0\.0'"):
        check_version(version)


@pytest.mark.parametrize("name", ["Mine", "a b", "a/b", "..", ".hidden", "a..b", "-a", "a-", "", "ä", "a" * 65, "a\n"])
def test_what_is_no_name_on_every_system_is_refused(name):
    with pytest.raises(ModelRegistryError, match="cannot name a model"):
        check_name(name)


@pytest.mark.parametrize("name", ["con", "nul.small", "lpt1"])
def test_names_of_devices_of_windows_are_refused(name):
    with pytest.raises(ModelRegistryError, match="Windows"):
        check_name(name)


def test_the_name_of_a_published_checkpoint_is_refused():
    with pytest.raises(ModelRegistryError, match="published checkpoint"):
        check_name("prest-16")


def test_a_label_is_a_name_and_perhaps_a_version():
    assert split_label("mine/1.0.0-rc.1") == ("mine", "1.0.0-rc.1")
    assert is_prerelease("1.0.0-rc.1")
    with pytest.raises(ModelRegistryError, match="is no version"):
        split_label("mine/")
    with pytest.raises(ModelRegistryError, match="is no version"):
        split_label("mine/1.0.0/x")
