"""Detect, stream and score in an environment without torch, and compare with what torch found.

``python tests/runtime/try_runtime.py FOLDER``, by the Python of that environment; FOLDER is what
``make_models.py`` wrote.
"""

import csv
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

MUST_FAIL = ("torch", "braindecode", "skorch")
ENGINES = {"onnx": ["onnx", "openvino"], "openvino": ["openvino"]}
DROP = ("--on-missing", "drop")
FAR = 2e-5  # a probability; the bound of fp32 at export, and rounding of the table


def check(condition: bool, what: str) -> None:
    if not condition:
        raise SystemExit(f"runtime: {what}")


def run(*arguments: object, fails: bool = False, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment; stop where it ends otherwise than expected."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MNE_LOGGING_LEVEL": "ERROR", **variables}
    done = subprocess.run([str(one) for one in arguments], capture_output=True, text=True, env=environment)
    check((done.returncode != 0) == fails, f"{' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")
    check("Traceback" not in done.stderr, f"{' '.join(map(str, arguments))}: a traceback\n{done.stderr}")
    return done


def biot_bd(*arguments: object, **options: bool) -> subprocess.CompletedProcess[str]:
    return run(Path(sys.executable).with_name("biot-bd"), *arguments, **options)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def same_events(expected: Path, found: Path) -> int:
    """Compare the tables of two folders; return how many seizures they have."""
    n_events = 0
    tables = sorted(path.relative_to(expected) for path in expected.rglob("*_events.tsv"))
    check(len(tables) > 3, f"{expected}: only {len(tables)} tables")
    for table in tables:
        one, other = rows(expected / table), rows(found / table)
        names = ("onset", "duration", "eventType", "recordingDuration")
        same = [[row[name] for name in names] for row in one] == [[row[name] for name in names] for row in other]
        check(same, f"other events in {found / table} than torch found:\n{one}\n{other}")
        n_events += sum(row["eventType"] == "sz" for row in one)
        probabilities = table.with_name(table.name.replace("_events", "_probabilities"))
        pairs = zip(rows(expected / probabilities), rows(found / probabilities), strict=True)
        column = next(name for name in rows(expected / probabilities)[0] if name.startswith("prob"))
        far = max((abs(float(a[column]) - float(b[column])) for a, b in pairs if a[column] != "n/a"), default=0.0)
        check(far < FAR, f"{found / probabilities}: probabilities differ from torch's by {far:.2g}")
    return n_events


def scores(reference: Path, results: Path) -> dict[str, object]:
    return json.loads(biot_bd("score", reference, results, "--json").stdout)["macro"]


def live(folder: Path, exported: str) -> None:
    """Decide from the past alone, and as a stream: the same onsets as torch's."""
    loud = folder / "recordings" / "p01" / "loud.edf"
    expected = rows(folder / "torch-causal" / "p01" / "loud_events.tsv")
    streamed, options = folder / "out" / f"{exported}.tsv", ("--engine", exported, "--stride-s", "5")
    biot_bd("stream", folder / exported, loud, "--speed", "max", *options, "-o", streamed)
    check([row["onset"] for row in rows(streamed)] == [row["onset"] for row in expected], f"{streamed}: other events")
    print(f"runtime: {exported}: a stream found what torch finds from the past alone", flush=True)


def contained(folder: Path, exported: str) -> None:
    """Run what the container runs."""
    table = folder / "out" / f"container-{exported}.tsv"
    source = folder / "recordings" / "p01" / "loud.edf"
    begin = time.perf_counter()
    variables = {"INPUT": str(source), "OUTPUT": str(table), "MODEL": str(folder / exported)}
    run(sys.executable, "-m", "biot_bd.deploy.container", **variables)
    print(f"runtime: the container's command took {time.perf_counter() - begin:.1f} s", flush=True)
    expected = rows(folder / "torch" / "p01" / "loud_events.tsv")
    check([row["onset"] for row in rows(table)] == [row["onset"] for row in expected], f"{table}: other events")


def board(folder: Path) -> None:
    """Run what ``docker/szcore`` runs, with the demonstration model that is installed."""
    from biot_bd.deploy.demo_model import shipped

    for source in sorted((folder / "board").glob("*.edf")):
        table = folder / "out" / f"board-{source.stem}.tsv"
        variables = {"INPUT": source.name, "OUTPUT": str(table), "DATA": str(source.parent)}
        run(sys.executable, "-m", "biot_bd.deploy.container", **variables, MODEL=str(shipped() / "exports" / "onnx"))
        found = rows(table)
        check(
            {row["recordingDuration"] for row in found} == {"2.00" if source.stem == "unipolar" else "60.00"},
            str(found),
        )
        check(
            all("demonstration" in row["model"] for row in found), f"{table}: does not say that it is a demonstration"
        )
    print("runtime: the container of the public board: three tables", flush=True)


def main(folder: Path) -> None:
    for name in MUST_FAIL:
        check(importlib.util.find_spec(name) is None, f"{name} can be imported here")
    data, out = folder / "recordings", folder / "out"
    truth = scores(folder / "reference", folder / "torch")
    for exported, engines in ENGINES.items():
        for engine in engines:
            results, options = out / f"{exported}-{engine}", (*DROP, "--engine", engine, "--probabilities")
            pages = ["--html", "--viewer", "--plot"] if engine == "onnx" else []
            biot_bd("detect", folder / exported, data, "-o", results, *options, *pages)
            n_events = same_events(folder / "torch", results)
            check(n_events > 3, f"torch found {n_events} events, too few to compare")
            check(scores(folder / "reference", results) == truth, f"{results}: other scores than torch's results")
            if pages:
                check(any(results.rglob("*_report.html")), f"{results}: no page of a patient")
                check(any(results.rglob("*.png")), f"{results}: no picture of an event")
                again = biot_bd("detect", folder / exported, data, "-o", results, *options, "--resume", "--html")
                check("0 recordings done" in again.stdout, f"--resume detects again: {again.stdout}")
            print(
                f"runtime: {exported} by {engine}: {n_events} events as torch found them, and their scores", flush=True
            )
        live(folder, exported)
        contained(folder, exported)
        biot_bd("models", "audit", folder / exported)
    board(folder)
    for command in (
        ["detect", folder / "model", data, "-o", out / "saved"],
        ["doctor", data],
        ["prepare", "recordings-folder", data, "-o", out / "windows"],
        ["bench"],
    ):
        told = biot_bd(*command, fails=True).stderr.strip().splitlines()[-1]
        check("is not installed" in told, f"{command[0]}: expected which package is missing, found {told}")
        print(f"runtime: {told}", flush=True)
    packages = Path(importlib.util.find_spec("numpy").origin).parents[1]
    sizes = {
        path.name: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6
        for path in packages.iterdir()
    }
    largest = ", ".join(f"{name} {sizes[name]:.0f}" for name in sorted(sizes, key=sizes.__getitem__)[:-7:-1])
    print(f"runtime: {sum(sizes.values()):.0f} MB installed (MB: {largest})", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
