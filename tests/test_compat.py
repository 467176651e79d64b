"""The torchaudio guard, against made-up torchaudio packages whose extension loads or does not."""

import os
import subprocess
import sys
import textwrap

import pytest

EXTENSIONS = {
    "fits": "_IS_TORCHAUDIO_EXT_AVAILABLE = True\nORIGINAL = True\n",
    "broken": "ORIGINAL = True\nraise OSError('libcudart.so.13: cannot open shared object file')\n",
    "faulty": "raise ZeroDivisionError('a fault of its own')\n",
}
LOOK = """
import torchaudio
from torchaudio import _extension as e
from biot_bd._compat import torchaudio_guard_active
print(e._IS_TORCHAUDIO_EXT_AVAILABLE, e.__file__ is not None, hasattr(e, "fail_if_no_align"), torchaudio_guard_active())
"""


@pytest.fixture
def run(tmp_path):
    def run(extension, code):
        package = tmp_path / "torchaudio" / "_extension"
        package.mkdir(parents=True)
        (package.parent / "__init__.py").write_text("from torchaudio import _extension\n")
        (package / "__init__.py").write_text(EXTENSIONS[extension])
        env = dict(os.environ, PYTHONPATH=str(tmp_path))
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=env, timeout=120
        )

    return run


def test_an_extension_that_loads_is_left_alone(run):
    done = run("fits", "import biot_bd\n" + LOOK)
    assert done.stdout.split() == ["True", "True", "False", "None"], done.stderr


def test_an_extension_that_cannot_load_is_stood_in_for(run):
    done = run("broken", "import biot_bd\n" + LOOK)
    assert done.stdout.strip() == "False True True libcudart.so.13: cannot open shared object file", done.stderr


def test_without_the_guard_the_error_is_the_users(run):
    done = run("broken", "import torchaudio")
    assert done.returncode == 1
    assert "OSError: libcudart.so.13" in done.stderr


def test_another_error_of_the_extension_is_not_hidden(run):
    done = run("faulty", "import biot_bd, torchaudio")
    assert done.returncode == 1
    assert "ZeroDivisionError: a fault of its own" in done.stderr


def test_torchaudio_imported_before_biot_bd_stays_as_it_is(run):
    done = run("fits", "import torchaudio, biot_bd\n" + LOOK)
    assert done.stdout.split() == ["True", "True", "False", "None"], done.stderr


def test_the_stand_in_has_what_torchaudio_asks_of_it(run):
    code = """
    import biot_bd, torchaudio
    from torchaudio._extension import _IS_ALIGN_AVAILABLE, _check_cuda_version, fail_if_no_align
    print(_IS_ALIGN_AVAILABLE, _check_cuda_version(), fail_if_no_align(len) is len)
    """
    assert run("broken", code).stdout.split() == ["False", "None", "True"]


def test_worker_processes_have_the_guard(run, tmp_path):
    (tmp_path / "task.py").write_text(
        "import biot_bd\n"
        "def look(_):\n"
        "    import os, torchaudio\n"
        "    from biot_bd._compat import torchaudio_guard_active\n"
        "    return os.getpid(), torchaudio_guard_active()\n"
    )
    code = """
    import os, joblib, task
    with joblib.parallel_config("loky"):
        found = joblib.Parallel(n_jobs=2)(joblib.delayed(task.look)(i) for i in range(2))
    print(os.getpid() not in {pid for pid, _ in found}, {error for _, error in found})
    """
    done = run("broken", code)
    assert done.stdout.strip() == "True {'libcudart.so.13: cannot open shared object file'}", done.stderr


def test_the_guard_is_put_in_once(run):
    code = """
    import sys, biot_bd
    from biot_bd._compat import install_torchaudio_guard
    before = len(sys.meta_path)
    install_torchaudio_guard()
    print(len(sys.meta_path) - before, "torchaudio" in sys.modules)
    """
    assert run("fits", code).stdout.split() == ["0", "False"]


def test_the_real_torchaudio_imports_with_the_guard():
    code = "import biot_bd, torchaudio.functional; print('imported')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "imported", done.stderr
