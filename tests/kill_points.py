"""A process that runs commands of hilum in forks of itself, and ends them by SIGKILL just before one of their writes.

It reads one request a line of standard input, as JSON, and answers each with one line. Forks begin with everything
imported, so that a hundred of them take no longer than their work.
"""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from killing import command, in_child

SETTINGS = [
    part
    for setting in (
        "network.options.width=4",
        "network.options.blocks=[1, 1]",
        "preprocessing.size=32",
        "epochs=2",
        "batch_size=8",
        "lr=0.01",
        "keep_from=0",
        "training.seed=3",
    )
    for part in ("--set", setting)
]


class Killer:
    """The other end: asks for a command, and gets its exit code, its output, and the writes that it did.

    Args:
        environment: Of the process.
    """

    def __init__(self, **environment):
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120", **environment},
        )

    def __call__(self, *arguments, root, kill=0, umask=None, **environment):
        """Run a command.

        Args:
            arguments: Of the command line.
            root: Only writes below it count.
            kill: Number of the write before which it is killed, from 1; 0 for none.
            umask: Of the command.
            environment: Of the command, besides that of the process.

        Returns:
            ``code`` (-9 if it was killed), ``output``, and ``events``: kind and path of each write.
        """
        request = {"arguments": list(map(str, arguments)), "root": str(root), "kill": kill, "umask": umask}
        request["environment"] = environment
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=60)


def outcome(run):
    """What a training comes to, but for times."""
    facts = json.loads((run / "environment.json").read_text())
    history = [line.split(",") for line in (run / "history.csv").read_text().splitlines()]
    return (
        facts["weights_sha256"],
        facts["best"],
        (run / "split.csv").read_bytes(),
        [(*row[:6], row[7]) for row in history],
    )


def is_begun(run):
    return (run / "recipe.toml").exists()


def kill_training(killer, data, base, numbers, *, cold=False):
    """Kill a training at some of its writes; whether all of them go on to the same end."""
    command = ["train", data, "--patient-column", "who"]
    cache = {"HILUM_CACHE": str(base / "cache")}

    def ready():
        if cold:
            shutil.rmtree(base / "cache", ignore_errors=True)

    whole = killer(*command, "--out", base / "whole", *SETTINGS, root=base, **cache)
    assert whole["code"] == 0, whole["output"]
    ready()
    events = killer(*command, "--out", base / "again", *SETTINGS, root=base, **cache)["events"]
    expected, failed = outcome(base / "whole"), []
    assert outcome(base / "again") == expected
    for number in numbers(events):
        ready()
        out = base / f"killed-{number}"
        killed = killer(*command, "--out", out, *SETTINGS, root=base, kill=number, **cache)
        if cold and killed["code"] == 0:  # how many files of a cache it writes itself goes by the speed of its workers
            assert len(killed["events"]) < number
            assert outcome(out) == expected
            shutil.rmtree(out)
            continue
        assert killed["code"] == -9, killed["output"]
        # The recipe and how the data are read are the run's own. Where it has not begun, the command as it was.
        rest = ["train", data, "--out", out, "--resume"] if is_begun(out) else [*command, "--out", out, *SETTINGS]
        again = killer(*rest, root=base, **cache)
        if again["code"] or outcome(out) != expected:
            failed.append((events[number - 1], again["output"]))
        shutil.rmtree(out, ignore_errors=True)
    return len(events), failed


def serve():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever is printed while modules are imported is no answer
    import lightning  # noqa: F401 - for the forks
    import torch

    import hilum.cli.app
    import hilum.cli.demo
    import hilum.evaluation.certify
    import hilum.evaluation.crossval
    import hilum.training.loop
    import hilum.training.sweep  # noqa: F401

    torch.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        ended = in_child(partial(run, request), Path(request["root"]), kill=request["kill"], patience=1000)
        answers.write(json.dumps({"code": ended.code, "output": ended.said, "events": ended.events}) + "\n")
        answers.flush()


def run(request):
    os.environ.update(request["environment"])
    if request["umask"] is not None:
        os.umask(request["umask"])
    command(*request["arguments"])()


if __name__ == "__main__":
    serve()
