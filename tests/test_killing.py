"""Children in which tests kill hilum: what the parent left does not end them, and one that hangs says where."""

import gc
import time

import onnxruntime

from killing import FAULT, in_child
from places import ROOT

PRETRAINED = next((ROOT / "src" / "hilum" / "serving" / "models").glob("*.onnx"))


def test_a_child_collects_nothing_of_its_parent(tmp_path):
    """To end a session of ONNX Runtime waits for its threads, which a fork does not have."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 3
    ring = [onnxruntime.InferenceSession(str(PRETRAINED), options)]
    ring.append(ring)
    gc.disable()
    del ring

    def collect():
        assert gc.isenabled()
        mine = []
        mine.append(mine)
        del mine
        assert gc.collect()

    try:
        assert in_child(collect, tmp_path).code == 0
    finally:
        gc.enable()


def test_a_child_that_hangs_says_where(tmp_path):
    def wait_for_what_never_comes():
        time.sleep(60)

    ended = in_child(wait_for_what_never_comes, tmp_path, patience=2)
    assert ended.code == FAULT
    assert "wait_for_what_never_comes" in ended.said
