"""Lines of the log, whoever writes at the same time."""

import json
import sys
import threading
import time

from hilum.serving.json_log import JsonLog


class Slow:
    """A file whose every call lets other threads run."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        time.sleep(0.0005)
        self.text += text

    def flush(self):
        time.sleep(0)


def test_threads_do_not_write_into_each_others_lines():
    file = Slow()
    log = JsonLog(file)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [
            threading.Thread(target=lambda k=k: [log.write("event", number=k) for _ in range(20)]) for k in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    lines = [json.loads(line) for line in file.text.splitlines()]
    assert sorted(line["number"] for line in lines) == sorted(list(range(8)) * 20)
