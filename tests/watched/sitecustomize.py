"""Python imports this first where its folder is on PYTHONPATH: it forbids sockets, and notes what is written."""

import os
import sys

NETWORK = {
    "socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname",
    "socket.gethostbyaddr", "socket.getnameinfo", "urllib.Request", "http.client.connect", "ftplib.connect",
}  # fmt: skip
CHANGES = {"os.mkdir", "os.symlink", "os.link", "os.rename", "os.mkfifo"}
_log = os.open(os.environ["WATCH_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
_writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def _note(kind, what):
    what = os.fsdecode(what) if isinstance(what, (bytes, str, os.PathLike)) else repr(what)
    place = os.path.abspath(what) if kind == "write" else what  # noqa: PTH100 - nothing is imported here
    os.write(_log, f"{kind}\t{place}\n".encode(errors="replace"))


def _hook(event, arguments):
    if event in NETWORK:
        _note("network", f"{event} {arguments[1:]!r}")
        message = f"{event}: no connections in this test"
        raise PermissionError(message)
    if (
        event == "open"
        and isinstance(arguments[2], int)
        and arguments[2] & _writes
        and not isinstance(arguments[0], int)
    ):
        _note("write", arguments[0])
    elif event in CHANGES:
        _note("write", arguments[0 if event == "os.mkdir" else 1])


sys.addaudithook(_hook)
