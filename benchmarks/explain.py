"""Which probes find planted evidence, and what explaining costs.

Small models are trained on planted evidence, three a task (kept in ``cache/planted``).  Every
registered probe is asked about windows that hold evidence and a distractor of the same waveform.
Speed is that of a full-size BIOT, in processor seconds of one thread.
"""

from __future__ import annotations

import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from _bench import RESULTS, arguments, interleave, limit, publish, summarise

SEEDS = (0, 1, 2)
TESTS = ("planted-distractor", "planted-background")
MUST, MUST_NOT, BOUND = ("token-ig", "token-occlusion", "grad-attention"), ("energy", "random"), 0.9
N_CHANS, SFREQ, SECONDS, STEPS = 16, 200, 10, 32
FORWARD, ATTENTION = "forward pass, braindecode", "attention"
BACKWARD, TOKEN_IG, CAPTUM = "forward-backward pass", "token-ig, 32 steps", "captum's IntegratedGradients, 32 steps"


# --- planted evidence -----------------------------------------------------------------------------


def planted_rows(seeds: tuple[int, ...], notes: list[str]) -> list[dict[str, Any]]:
    """Return the AUC of every probe by seed: against the distractor, against the background, and
    against a distractor that says nothing.
    """
    from biot_bd import registry
    from biot_bd.probes import PlantedTask

    speaking, silent = (areas(PlantedTask(distractor_says=says), seeds, notes) for says in ("class 0", "nothing"))
    columns = {
        "evidence against distractor": speaking[TESTS[0]],
        "evidence against background": speaking[TESTS[1]],
        "evidence against a distractor that says nothing": silent[TESTS[0]],
    }
    rows = []
    for probe in registry.probes:
        if any(probe not in found for found in columns.values()):
            continue
        row: dict[str, Any] = {"way": probe}
        for words, found in columns.items():
            row[words] = " ".join(f"{value:.2f}" for value in found[probe])
            row[f"median {words}"] = statistics.median(found[probe])
        rows.append(row)
    return rows


def areas(task: Any, seeds: tuple[int, ...], notes: list[str]) -> dict[str, dict[str, list[float]]]:
    """Return for each planted test the areas of every probe, one a seed."""
    from biot_bd import registry
    from biot_bd.probes import evaluate, train_planted

    start = time.process_time()
    models = train_planted(seeds=seeds, task=task, folder=RESULTS.parent / "cache" / "planted")
    notes.append(
        f"models for a distractor that says {task.distractor_says}: accuracy "
        f"{', '.join(f'{one.accuracy:.3f}' for one in models)} on new windows, seeds {', '.join(map(str, seeds))}; "
        f"{time.process_time() - start:.0f} processor seconds to train or load"
    )
    tables = [evaluate(one.model, task.both(2).x, tests=TESTS, planted=[one]) for one in models]
    found: dict[str, dict[str, list[float]]] = {test: {} for test in TESTS}
    for test in TESTS:
        for probe in registry.probes:
            results = [table.of(probe, test) for table in tables]
            if all(result.value is not None for result in results):
                found[test][probe] = [float(result.value) for result in results]
            elif test == TESTS[0]:
                notes.append(f"{probe}: {results[0].outcome}: {results[0].reason}")
    return found


def planted_targets(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what had to be reached, and by the controls must not be."""
    medians = {row["way"]: row["median evidence against distractor"] for row in rows}
    spreads = {row["way"]: sorted(map(float, row["evidence against distractor"].split())) for row in rows}
    facts = {"wanted": BOUND, "floor": None, "unit": "AUC"}
    goals = []
    for probe in (*MUST, *MUST_NOT):
        what = f"{probe}: planted evidence against a distractor of the same waveform, median of 3 seeds"
        spread = [spreads[probe][0], spreads[probe][-1]] if probe in spreads else None
        measured = medians.get(probe, 0.0 if probe in MUST else 1.0)  # what was not measured is not reached
        goals.append({"what": what, "measured": measured, "spread": spread, **facts, "at_most": probe in MUST_NOT})
    return goals


# --- speed ----------------------------------------------------------------------------------------


def models() -> tuple[torch.nn.Module, torch.nn.Module]:
    """Return braindecode's BIOT and ours, full size, with the same weights."""
    from braindecode.models import BIOT as BraindecodeBIOT

    from biot_bd import BIOT

    torch.manual_seed(0)
    sizes = {"n_outputs": 2, "n_chans": N_CHANS, "n_times": SFREQ * SECONDS, "sfreq": SFREQ}
    theirs, ours = BraindecodeBIOT(**sizes).eval(), BIOT(**sizes).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


def forward(model: torch.nn.Module, x: torch.Tensor, batch: int) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([model(part) for part in x.split(batch)])


def attention_ways(n: int) -> dict[str, Callable[[], object]]:
    from biot_bd.probes import AttentionProbe

    theirs, ours = models()
    x = torch.randn(n, N_CHANS, SFREQ * SECONDS, generator=torch.Generator().manual_seed(1)) / 1.96
    probe = AttentionProbe()
    return {
        FORWARD: lambda: forward(theirs, x, n),
        f"{FORWARD}, in batches of 16": lambda: forward(theirs, x, 16),
        ATTENTION: lambda: probe(ours, x),
    }


def gradient_ways(n: int, notes: list[str]) -> dict[str, Callable[[], object]]:
    """Return integrated gradients on tokens, ours and captum's, and a forward-backward pass."""
    from captum.attr import IntegratedGradients

    from biot_bd import registry
    from biot_bd.models import token_site
    from biot_bd.probes.explained_output import explained_output

    _, model = models()
    x = torch.randn(n, N_CHANS, SFREQ * SECONDS, generator=torch.Generator().manual_seed(2)) / 1.96
    classes = torch.ones(n, dtype=torch.long)
    site, probe = token_site(model), registry.probes["token-ig"]()

    def backward() -> None:
        leaf = x.clone().requires_grad_()
        torch.autograd.grad(explained_output(model(leaf), classes).sum(), leaf)

    def captums() -> torch.Tensor:
        with torch.no_grad():
            tokens = site.read(model, x)
        baseline = tokens.mean(dim=1, keepdim=True).expand_as(tokens)

        def margin(tokens: torch.Tensor, x: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
            return explained_output(site.run(model, x, tokens), classes)

        found = IntegratedGradients(margin).attribute(
            tokens, baseline, additional_forward_args=(x, classes), n_steps=STEPS, internal_batch_size=16
        )
        return found.sum(dim=-1)

    layout = site.layout(model, x.shape[-1])
    ours, theirs = probe(model, x, 1).values, layout.grid(captums().detach().numpy())
    notes.append(
        f"token-ig and captum's differ by at most {abs(ours - theirs).max() / abs(theirs).max():.1e} of the largest"
    )
    return {BACKWARD: backward, TOKEN_IG: lambda: probe(model, x, 1), CAPTUM: captums}


def _watched(way: str, n: int, result: Any) -> None:
    """Run a way in this fresh process.

    Put the peak of resident memory above that before it, in MB.
    """
    import threading

    import psutil

    torch.set_num_threads(1)
    ways = attention_ways(n)
    small = attention_ways(1)
    small[way]()  # kernels and lazy imports are not what is compared
    del small
    gc.collect()
    process, done = psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    ways[way]()
    done.set()
    watcher.join()
    result.put((peak - before) / 2**20)


def peak_mb(way: str, n: int) -> float:
    context = multiprocessing.get_context("spawn")
    result = context.Queue()
    process = context.Process(target=_watched, args=(way, n, result))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{way}: the process that measures memory ended with {process.exitcode}")
    return float(result.get())


def speed(n: int, rounds: int, notes: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return rows and targets of time and memory."""
    torch.set_num_threads(1)
    times = interleave(attention_ways(n), rounds, clock=time.process_time)
    rows = summarise(times, [FORWARD])
    memory = {way: peak_mb(way, n) for way in (FORWARD, ATTENTION)}
    for row in rows:
        row["MB at the peak"] = memory.get(str(row["way"]))
    goals = [
        ratio_limit(
            f"attention, {n} windows of full-size BIOT: time of a forward pass", times, ATTENTION, FORWARD, 1.5
        ),
        limit("attention: memory of a forward pass", memory[ATTENTION] / memory[FORWARD], 2.0, "x"),
    ]
    gradients = interleave(gradient_ways(4, notes), max(rounds // 2, 1), clock=time.process_time)
    rows += summarise(gradients, [BACKWARD, CAPTUM])
    goals.append(
        ratio_limit("token-ig, 32 steps: time of forward-backward passes", gradients, TOKEN_IG, BACKWARD, 40.0)
    )
    return rows, goals


def ratio_limit(what: str, times: dict[str, list[float]], way: str, peer: str, most: float) -> dict[str, Any]:
    """Return a target: how many times the peer's time a way may take."""
    ratios = [a / b for a, b in zip(times[way], times[peer], strict=True)]
    return limit(what, statistics.median(ratios), most, "x", spread=[min(ratios), max(ratios)])


def main() -> None:
    options = arguments(__doc__ or "")
    notes: list[str] = []
    torch.set_num_threads(1)
    rows = planted_rows(SEEDS[:1] if options.quick else SEEDS, notes)
    goals = planted_targets(rows)
    timed, more = speed(16 if options.quick else 64, options.rounds, notes)
    notes.append(
        "AUC: share of pairs of tokens, one of the evidence and one of the other, in which the evidence has more; mean "
        "over 24 windows, by seed. Times: processor seconds, one thread. Memory: above that before the call, in a "
        "process of its own."
    )
    publish(
        "explain", "Probes on planted evidence; what explaining costs", rows + timed, notes, options.quick, goals + more
    )


if __name__ == "__main__":
    main()
