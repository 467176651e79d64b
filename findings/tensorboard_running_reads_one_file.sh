#!/usr/bin/env bash
# tensorboard 2.21.0: two writers that write into one folder of a run at the same time.
#
# Behaviour: a TensorBoard that is running (its EventAccumulator, reloaded) goes through the event files of a folder
# one behind the other. As soon as the second writer's file has an event, the first file counts as read to its end:
# whatever its writer adds later is left out, with a line in the log and nothing on the page. A TensorBoard that is
# started afterwards shows everything, so the gap cannot be seen when one looks for it.
#
# What one would guess: all event files of a folder are read for as long as it is watched; two callbacks of one
# training, each with a writer of its own, are drawn beside each other, as they are after a restart.
#
# Why it matters: a picture or a score that a second callback writes into the training's folder stops the live curves
# at that moment; it looks as if training hung. Write through one writer, or into a sub-folder each.
#
# Source: seen by running it; tensorboard/backend/event_processing/directory_watcher.py goes to the next path and
# only warns when a file that was left behind grows.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tensorboard==2.21.0 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
cd "$folder"
cat > run.py <<'PY'
import time

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter


def write(writer, tag, step):
    value = Summary.Value(tag=tag, simple_value=1.0)
    writer.add_event(Event(wall_time=float(step), step=step, summary=Summary(value=[value])))
    writer.flush()


def seen(reader):
    return {tag: [event.step for event in reader.Scalars(tag)] for tag in sorted(reader.Tags()["scalars"])}


loss, running = EventFileWriter("run"), EventAccumulator("run")
write(loss, "loss", 1)
running.Reload()
time.sleep(1.1)  # names of event files hold the second
pictures = EventFileWriter("run", filename_suffix=".pictures")
write(pictures, "picture", 1)
running.Reload()
for step in (2, 3):
    write(loss, "loss", step)
    write(pictures, "picture", step)
    running.Reload()
fresh = EventAccumulator("run")
fresh.Reload()
print("running:", seen(running))
print("started afterwards:", seen(fresh))
PY
"$folder/venv/bin/python" -W ignore run.py 2>log | tee found
diff - found <<'SEEN'
running: {'loss': [1], 'picture': [1, 2, 3]}
started afterwards: {'loss': [1, 2, 3], 'picture': [1, 2, 3]}
SEEN
