"""Two process pools side by side: hilum's own (`hilum.data.process_pool`) and joblib's loky: ``python pool.py FOLDER``.

Each arm is a Python of its own that decodes the first N files of FOLDER (75x75, equalised), and is timed from before
its pool is imported until its last answer. Arms take turns; medians and ranges of ROUNDS are printed.
"""

import json
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

ROUNDS = 3
COUNTS = (16, 400, 5856)  # one request; a quick trial; the size of the public set of 2018
AT_ONCE = 64  # files a task of loky's
ARMS = ("none", "crew", "loky")


def decode(arm: str, folder: Path, paths: list[str]) -> float:
    """Seconds that one arm takes for all paths."""
    from hilum.data.cache_files import decode_files
    from hilum.data.preprocessing import Preprocessing

    work = partial(decode_files, folder, Preprocessing(size=75, equalise=True))
    begin = time.perf_counter()
    if arm == "none":
        done = [work(paths)]
    elif arm == "crew":
        from hilum.data.process_pool import Crew

        with Crew() as crew:
            done = [found for _, found in crew.map(work, paths)]
    else:
        from joblib import Parallel, delayed

        parts = [paths[first : first + AT_ONCE] for first in range(0, len(paths), AT_ONCE)]
        done = Parallel(n_jobs=-1, return_as="generator_unordered")(delayed(work)(part) for part in parts)
    assert sum(len(found.hashes) for found in done) == len(paths)
    return time.perf_counter() - begin


def main(folder: Path) -> None:
    files = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix in (".png", ".jpg", ".jpeg")
    )
    for count in COUNTS:
        paths = (files * (count // len(files) + 1))[:count]
        taken: dict[str, list[float]] = {arm: [] for arm in ARMS}
        for _ in range(ROUNDS):
            for arm in ARMS:
                given = json.dumps([arm, str(folder), paths])
                run = subprocess.run(
                    [sys.executable, __file__, "-"], input=given, capture_output=True, text=True, check=True
                )
                taken[arm].append(float(run.stdout))
        for arm, seconds in taken.items():
            rate = count / statistics.median(seconds)
            spread = f"{min(seconds):.3f} to {max(seconds):.3f} s"
            print(f"{count:5} files, {arm}: {statistics.median(seconds):.3f} s ({spread}), {rate:,.0f} images/s")


if __name__ == "__main__":
    if sys.argv[1] == "-":
        arm, folder, paths = json.load(sys.stdin)
        print(decode(arm, Path(folder), paths))
    else:
        main(Path(sys.argv[1]))
