"""Writers that come at once, are killed, or find no room: a version is there whole, or not at all."""

import errno
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from child_commands import bound_by_permissions

from biot_bd.deploy import Registry
from biot_bd.deploy.model_registry import places, verify_version
from biot_bd.exceptions import VersionExistsError


def names(root):
    return sorted(path.name for path in root.iterdir())


def test_of_many_writers_at_once_exactly_one_is_first(saved, tmp_path):
    """Renaming is the only lock: file systems without locks have it, too."""
    registry, source = Registry(tmp_path / "registry"), saved.resolve("mine")
    start, made, refused = threading.Barrier(8), [], []

    def write(number):
        with registry.incoming() as folder:
            for path in source.folder.iterdir():
                shutil.copyfile(path, folder / path.name)
            (folder / "who").write_text(str(number))
            start.wait()
            try:
                made.append((number, places.place(folder, registry.root, "mine", "1.0.0")))
            except VersionExistsError:
                refused.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ((number, folder),) = made
    assert len(refused) == 7
    assert (folder / "who").read_text() == str(number)
    assert names(registry.root) == ["mine"]


def test_what_a_killed_writer_left_is_never_listed_and_goes_when_it_is_old(registry, trained):
    for name, age_s in (("old", places.ABANDONED_S + 60), ("young", 60)):
        folder = registry.root / f"{places.INCOMING}{name}"
        shutil.copytree(registry.resolve("mine").folder, folder)
        for path in (*folder.rglob("*"), folder):
            os.utime(path, (time.time() - age_s,) * 2)
    assert [one.label for one in registry.list()] == ["mine/1.0.0"]
    registry.save(trained, "mine", "1.1.0")
    assert names(registry.root) == [f"{places.INCOMING}young", "mine"]


def test_a_full_disk_names_the_registry_and_leaves_nothing(registry, trained, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr("biot_bd.deploy.model_registry.model_contents.shutil.copyfile", full)
    with pytest.raises(OSError, match=r"No space left on device \(the model registry is full\)") as told:
        registry.save(trained, "mine", "1.1.0")
    assert (told.value.errno, told.value.filename) == (errno.ENOSPC, str(registry.root))
    assert names(registry.root) == ["mine"]


def test_a_registry_that_may_not_be_written_says_so_and_can_be_read(registry, trained):
    def bound():
        bound_by_permissions()  # of this thread alone, which ends with the test
        with pytest.raises(PermissionError) as told:
            registry.save(trained, "mine", "1.1.0")
        return registry.verify("mine", replay=False).n_files, told.value

    registry.root.chmod(0o555)
    with ThreadPoolExecutor(1) as thread:
        n_files, error = thread.submit(bound).result()
    registry.root.chmod(0o755)
    assert n_files == 6
    assert error.filename == str(registry.root)
    assert "the model registry cannot be written" in str(error)


@pytest.mark.parametrize(
    ("of_the_registry", "of_folders", "of_files"),
    [(0o700, 0o700, 0o400), (0o750, 0o750, 0o440), (0o2775, 0o755, 0o444), (0o755, 0o755, 0o444)],
)
def test_who_may_read_the_registry_may_read_its_versions_whatever_the_umask(
    saved, tmp_path, of_the_registry, of_folders, of_files
):
    root = tmp_path / "registry"
    root.mkdir()
    root.chmod(of_the_registry)
    before = os.umask(0o077)
    try:
        version = Registry(root).add(saved.resolve("mine").folder)
    finally:
        os.umask(before)
    assert stat.S_IMODE(version.folder.stat().st_mode) & 0o777 == of_folders
    assert {stat.S_IMODE(path.stat().st_mode) for path in version.folder.iterdir()} == {of_files}
    assert stat.S_IMODE(version.folder.parent.stat().st_mode) & 0o777 == of_the_registry & 0o777
    assert stat.S_IMODE(version.folder.parent.stat().st_mode) & stat.S_ISGID == of_the_registry & stat.S_ISGID


AT_EVERY_STEP = """
import os, signal, sys
from pathlib import Path
from biot_bd.deploy import Registry, read_version
from biot_bd.deploy.model_registry import places
from biot_bd.deploy.version_folder import check_files, copy_version

theirs, root = read_version(sys.argv[1]), Path(sys.argv[2])

def write(registry, dies_at):
    steps = 0
    def count(event, arguments):
        nonlocal steps
        steps += event.split(".")[0] in ("os", "open", "shutil")
        if steps == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    with registry.incoming() as folder:
        copy_version(theirs, folder)
        places.place(folder, registry.root, theirs.name, theirs.version)

n_absent = n_whole = 0
for dies_at in range(1, 1000):
    registry = Registry(root / str(dies_at))
    child = os.fork()
    if not child:
        write(registry, dies_at)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    found = registry.list()
    for version in found:
        assert version.problem is None, version.problem
        check_files(version)
    n_absent, n_whole = n_absent + (not found), n_whole + bool(found)
    if not os.WIFSIGNALED(status):
        break
print(n_absent, n_whole)
"""


def test_a_writer_that_is_killed_at_any_step_leaves_a_whole_version_or_none(saved, tmp_path):
    """Each run dies one call to the system later than the one before."""
    folder = saved.resolve("mine").folder
    found = subprocess.run([sys.executable, "-c", AT_EVERY_STEP, folder, tmp_path], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    n_absent, n_whole = map(int, found.stdout.split())
    assert n_absent > 20
    assert n_whole >= 1


WRITER = """
import sys
from biot_bd.deploy import Registry
registry, number = Registry(sys.argv[1]), 0
while True:
    registry.save(sys.argv[2], "mine", f"1.{number}.0")
    number += 1
    print("saved", flush=True)
"""


@pytest.mark.slow
def test_a_writer_that_is_killed_while_it_saves_leaves_whole_versions_alone(trained, tmp_path):
    for number in range(3):
        root = tmp_path / str(number)
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(root), str(trained)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout.readline() == "saved\n"
        time.sleep(0.3 + 0.17 * number)
        writer.kill()
        writer.communicate()
        registry = Registry(root)
        found = registry.list()
        assert found
        for version in found:
            assert version.problem is None
            verify_version(version.folder, replay=False)
        after = registry.save(trained, "mine", "9.0.0")
        assert registry.resolve("mine").digest == after.digest
