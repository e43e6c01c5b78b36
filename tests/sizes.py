"""How much of a long test runs: a part that tells in CI, with ``make test SLOW=full`` what the documents claim."""

import os

FULL = os.environ.get("HILUM_TESTS") == "full"


def sized(part, whole):
    """The part in CI, or the whole."""
    return whole if FULL else part
