"""The original report's network: its own loop, hilum's trainer, and the limit of the machine's arithmetic."""

from __future__ import annotations

import json
from contextlib import ExitStack
from functools import partial

from benchmarks.child import Contestant
from benchmarks.measurement import Measurement, in_turn
from benchmarks.setting import Setting
from hilum.training.environment import computes_bfloat16

FLOP_AN_IMAGE = 3 * 2 * 6.64e9  # forward and twice that backward; 6.64 G multiply-adds at 150x150
SIDE = 2048


def measure(setting: Setting) -> list[Measurement]:
    batch, repeats = (32, 2) if setting.quick else (64, 6)
    ours, seed = "hilum", "the original report's own loop"
    # The first is what hilum trains in. A processor without bfloat16 emulates it, minutes for one product.
    kinds = ("bfloat16", "float32") if computes_bfloat16() else ("float32",)
    limit = f"{kinds[0]} matrix product"
    with ExitStack() as stack:
        products = {
            f"{kind} matrix product": stack.enter_context(Contestant("matrix", str(SIDE), kind)) for kind in kinds
        }
        theirs = stack.enter_context(Contestant("seed", str(setting.data), str(batch)))
        setting.say("the original report's loop is warm")
        settings = ("seed", str(repeats + 1), f"batch_size={batch}")
        mine = stack.enter_context(Contestant("hilum", str(setting.data), *settings))
        setting.say("hilum's trainer is warm")
        works = {
            ours: mine.step,
            seed: theirs.step,
            **{name: partial(_rate, product) for name, product in products.items()},
        }
        found = in_turn(works, repeats, setting.say)
        theirs.process.kill()  # the rest of hilum's training, one validation, shall not wait for it
        facts = json.loads(mine.end().splitlines()[-1])
    images = {ours: found[ours], seed: found[seed]}
    note = f"whole steps of batch {batch}: data, augmentation, forward, backward, optimiser"
    step = Measurement("training vgg16-bn at 150", "images/s", images, note)
    setting.seed_rate = step.median(seed)
    rates = {name: found[name] for name in products}
    matrix = Measurement(f"matrix product, {SIDE} a side", "GFLOP/s", rates)
    pairs = zip(found[ours], found[limit], strict=True)
    share = [rate * FLOP_AN_IMAGE / 1e9 / most for rate, most in pairs]
    return [
        step,
        matrix,
        Measurement(f"share of the {kinds[0]} product's rate", "share", {ours: share}, "40 GFLOP a training image"),
        Measurement("peak memory", "MiB", {ours: [mine.watch.peak], seed: [theirs.watch.peak]}),
        Measurement("share of training that waits for data", "share", {ours: [facts["data_wait_share"]]}),
    ]


def _rate(product: Contestant) -> float:
    return product.step() * 2 * SIDE**3 / 1e9
