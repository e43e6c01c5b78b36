"""A process that runs commands of hilum in forks of itself, and ends them by SIGKILL just before one of their writes.

It reads one request a line of standard input, as JSON, and answers each with one line. Forks begin with everything
imported, so that a hundred of them take no longer than their work.
"""

import json
import os
import subprocess
import sys
import traceback

WRITES = os.O_WRONLY | os.O_RDWR
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")


class Killer:
    """The other end: asks for a command, and gets its exit code, its output, and the writes that it did.

    Args:
        folder: Where the output of commands is kept for a moment.
        environment: Of the process.
    """

    def __init__(self, folder, **environment):
        self.folder = folder
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
        request |= {"log": str(self.folder / "killed"), "environment": environment}
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

    import hilum.cli
    import hilum.demo
    import hilum.evaluation.certify
    import hilum.evaluation.crossval
    import hilum.training.fit
    import hilum.training.sweep  # noqa: F401

    torch.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            run(request)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output, events = (read(request["log"] + suffix) for suffix in (".out", ".events"))
        answers.write(json.dumps({"code": code, "output": output, "events": events.splitlines()}) + "\n")
        answers.flush()


def read(file):
    with open(file, encoding="utf-8", errors="replace") as opened:  # noqa: PTH123
        return opened.read()


def run(request):
    """The fork: never returns."""
    handle = os.open(request["log"] + ".out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    events = os.open(request["log"] + ".events", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.environ.update(request["environment"])
    if request["umask"] is not None:
        os.umask(request["umask"])
    done, root = 0, os.path.abspath(request["root"])  # noqa: PTH100 - as strings, which are compared

    def watch(event, values):
        nonlocal done
        if event == "open":
            if not isinstance(values[2], int) or not values[2] & WRITES or isinstance(values[0], int):
                return
        elif event not in CHANGES:
            return
        path = os.path.abspath(os.fsdecode(values[0]))  # noqa: PTH100
        if path != root and not path.startswith(root + os.sep):
            return
        done += 1
        os.write(events, f"{event} {os.path.relpath(path, root)}\n".encode(errors="replace"))
        if done == request["kill"]:
            os.kill(os.getpid(), 9)

    sys.addaudithook(watch)
    import hilum.cli

    sys.argv = ["hilum", *request["arguments"]]
    code = 99
    try:
        hilum.cli.main()
    except SystemExit as stop:
        code = stop.code or 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve()
