"""On a full disk, which a limit of file sizes stands for, earlier results stay, and one message is said."""

import resource
import shutil
import signal
import warnings

import pytest

from killing import command, digests, in_child
from sizes import sized

CASES = {
    "evaluate": (["evaluate {run} --out {here}/out"], "evaluate {run} --out {here}/out --split val"),
    "report": (["evaluate {run}", "report {run}"], "report {run}"),
    "compare": (["compare {run} {run} --out {here}/out"], "compare {run} {run} --out {here}/out"),
    "audit": (["audit {data} --out {here}/out"], "audit {data}/test --out {here}/out"),
    "fix": (["audit {data} --out {here}/out"], "audit {data} --out {here}/out --clean {here}/mended.csv"),
    "export": (["export {run} {here}/m.onnx"], "export {run} {here}/m.onnx --name other"),
    "hub": (["export {run} {here}/m.onnx --hub-folder {here}/hub"],) * 2,
    "json": (["predict {data}/test --json {here}/a.json"], "predict {data}/train --json {here}/a.json"),
    "csv": (["predict {data}/test --csv {here}/a.csv"], "predict {data}/train --csv {here}/a.csv"),
    "explain": (["predict {data}/test/normal --explain {here}/e"],) * 2,
    "phantoms": ([], "phantoms {here}/ph --patients 12 --size 64"),
}


@pytest.mark.slow
@pytest.mark.usefixtures("small_evaluation")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CASES)
def test_earlier_results_stay(name, run_of, squares, tmp_path):
    before, then = CASES[name]
    then = then[0] if isinstance(then, list) else then
    here = tmp_path / "here"
    here.mkdir()
    shutil.copytree(run_of("flat").path, here / "run")
    words = {"run": here / "run", "here": here, "data": squares}

    def call(text):
        command(*(part.format(**words) for part in text.split()))()

    for text in before:
        ended = in_child(lambda text=text: call(text), here)
        assert ended.code == 0, ended.said
    old = digests(here)

    for limit in sized((300,), (0, 300, 3000)):

        def limited(limit=limit):
            warnings.simplefilter("ignore")  # joblib's, of the semaphores that it cannot make
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            call(then)

        ended = in_child(limited, here)
        if ended.code == 0:  # it fits
            assert limit
            assert not list(here.rglob("*.part"))
            return
        assert ended.code in (1, 2), ended.said
        assert "Traceback" not in ended.said
        assert len([line for line in ended.said.splitlines() if line.startswith(("error: ", "usage: "))]) == 1
        assert {name: content for name, content in digests(here).items() if name in old} == old
        left = {file.relative_to(here).as_posix() for file in here.rglob("*") if file.is_file()} - set(old)
        assert not [file for file in left if not file.endswith((".unfinished", ".lock", ".log"))]
    ended = in_child(lambda: call(then), here)  # there is room again
    assert ended.code == 0, ended.said
    assert not list(here.rglob("*.unfinished"))
