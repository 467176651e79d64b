"""Load model folders in a process that notes whatever they reach: files, folders, connections, programs, memory.

Reads a folder a line on stdin; answers a line of JSON, what became of each way to load it.
"""

import json
import os
import resource
import signal
import sys
import warnings
from pathlib import Path

sys.dont_write_bytecode = True
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
REACHING = (
    *(
        "os.mkdir",
        "os.rename",
        "os.remove",
        "os.rmdir",
        "os.link",
        "os.symlink",
        "os.truncate",
        "os.chmod",
        "shutil.rmtree",
    ),
    *("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request"),
    *("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.startfile"),
    *("pickle.find_class", "webbrowser.open", "ftplib.connect", "smtplib.connect", "sqlite3.connect"),
)
reached: list[str] = []


def note(event, args):
    if event == "open":
        path, mode, flags = args
        if (isinstance(mode, str) and set(mode) & set("wax+")) or (isinstance(flags, int) and flags & WRITES):
            reached.append(f"open {path!r} {mode}")
    elif event in REACHING:
        reached.append(f"{event} {args!r}"[:200])


def main():
    import torch

    from biot_bd.deploy import Detector
    from biot_bd.training import load_pipeline, load_scorer
    from biot_bd.training.persistence.audit import audit

    torch.compile = lambda *_, **__: reached.append("torch.compile")
    ways = {"load_pipeline": load_pipeline, "load_scorer": load_scorer, "Detector.load": Detector.load, "audit": audit}
    loaded = None
    for name in ways:  # what the first call imports is no fault of a folder's
        try:
            loaded = ways[name](sys.argv[1])
        except ValueError as error:
            sys.exit(f"{name} does not load the model that all others are made of: {error}")
    del loaded
    sys.addaudithook(note)
    Path(os.devnull).open("w").close()
    if len(reached) != 1:
        sys.exit(f"the watch does not see what is reached: {reached}")
    for line in sys.stdin:
        signal.alarm(60)  # a hang ends the process, and the test says so
        print(json.dumps({name: outcome(way, line.strip()) for name, way in ways.items()}), flush=True)


def outcome(load, folder):
    """Return what came of a call: its error or result in words, what it said, and what it reached."""
    reached.clear()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            found = load(folder)
            told = {
                "error": None,
                "problems": getattr(found, "problems", []),
                "left_out": getattr(found, "left_out", []),
            }
            if hasattr(found, "steps") and isinstance(found.steps, list):
                net = found.steps[-1][1] if isinstance(found.steps[-1], tuple) else None
                while hasattr(net, "steps"):
                    net = net.steps[-1][1]
                kept = ("callbacks", "log_dir", "restart_dir", "compile", "pretrained")
                told["params"] = {name: repr(getattr(net, name, None)) for name in kept}
        except Exception as error:
            told = {"error": f"{type(error).__name__}: {error}", "named": isinstance(error, (ValueError, OSError))}
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return told | {"said": [str(one.message) for one in said], "reached": list(reached), "more_mib": round(more)}


if __name__ == "__main__":
    main()
