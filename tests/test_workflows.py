"""GitHub's files are valid, mirror what runs here, ask for few rights, and CITATION.cff is valid, too."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
yaml = pytest.importorskip("yaml")
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
FORMS = sorted(path for path in ROOT.glob(".github/ISSUE_TEMPLATE/*.yml") if path.name != "config.yml")
# Schemas that come with check-jsonschema: no network.
SCHEMAS = {
    "github-workflows": WORKFLOWS,
    "github-issue-forms": FORMS,
    "github-issue-config": [ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml"],
    "citation-file-format": [ROOT / "CITATION.cff"],
}
# What each workflow may do beyond reading.
RIGHTS = {"docs.yml": {"pages": "write", "id-token": "write"}, "release.yml": {"id-token": "write"}, "test.yml": {}}


def loaded(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def check(schema, *paths):
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *map(str, paths)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60)


def test_there_are_three_workflows_and_three_forms():
    assert {path.name for path in WORKFLOWS} == set(RIGHTS)
    assert len(FORMS) == 3


@pytest.mark.parametrize("schema", sorted(SCHEMAS))
def test_files_are_valid_by_their_schemas(schema):
    pytest.importorskip("check_jsonschema", reason="needs check-jsonschema (extra test)")
    done = check(schema, *SCHEMAS[schema])
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_broken_workflow_is_found(tmp_path):
    pytest.importorskip("check_jsonschema", reason="needs check-jsonschema (extra test)")
    broken = tmp_path / "broken.yml"
    broken.write_text(WORKFLOWS[0].read_text(encoding="utf-8").replace("runs-on:", "runs_on:"), encoding="utf-8")
    assert check("github-workflows", broken).returncode != 0


def test_the_jobs_are_the_lines_of_ci_run_and_the_packages():
    lines = re.findall(r"^make ([\w-]+)", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.M)
    job = loaded(ROOT / ".github" / "workflows" / "test.yml")["jobs"]["test"]
    assert job["strategy"]["matrix"]["target"] == [*lines, "dist"]
    assert job["steps"][-1]["run"] == "make ${{ matrix.target }}"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_and_rights_are_few(path):
    workflow = loaded(path)
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+@v\d+\.\d+\.\d+", step["uses"]) for step in steps if "uses" in step)
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 90 for job in workflow["jobs"].values())
    more = {}
    for job in workflow["jobs"].values():
        more |= job.get("permissions", {})
    assert more == RIGHTS[path.name]
    assert "secrets." not in path.read_text(encoding="utf-8")


def test_every_make_target_of_a_workflow_exists():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    used = {
        word
        for path in WORKFLOWS
        for step in (step for job in loaded(path)["jobs"].values() for step in job["steps"])
        for word in re.findall(r"^make ([\w-]+)", step.get("run", ""))
    }
    named = set(re.findall(r"\| `make ([\w-]+)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert {"docs", "dist"} <= used
    assert used <= targets
    assert named <= targets
