"""A process that runs commands of hilum in forks of itself, and ends them by SIGKILL just before one of their writes.

It reads one request a line of standard input, as JSON, and answers each with one line. Forks begin with everything
imported, so that a hundred of them take no longer than their work.
"""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from killing import command, in_child


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
        ended = in_child(partial(run, request), Path(request["root"]), kill=request["kill"])
        answers.write(json.dumps({"code": ended.code, "output": ended.said, "events": ended.events}) + "\n")
        answers.flush()


def run(request):
    os.environ.update(request["environment"])
    if request["umask"] is not None:
        os.umask(request["umask"])
    command(*request["arguments"])()


if __name__ == "__main__":
    serve()
