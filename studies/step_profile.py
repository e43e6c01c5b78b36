"""Where the time of one training step of the original report's VGG goes, operator by operator.

    python studies/step_profile.py float32|bfloat16 [STEPS]

The step is hilum's: its network, memory format, freed memory that is kept, and fused Adam, on 64 random images of
150 x 150. Convolutions and matrix products are also compared with the rate of a matrix product of their precision,
which is measured between the steps.
"""

from __future__ import annotations

import sys
import time
from collections import Counter

import torch
from torch.profiler import ProfilerActivity, profile

from hilum.training.allocation import kept_memory
from hilum.training.initialisation import build_for
from hilum.training.recipe import load_recipe

BATCH, SIDE, LABELS = 64, 2048, ("a", "b", "c")
FLOP = BATCH * 3 * 2 * 6.64e9  # forward and twice that backward
KINDS = {
    "convolutions and matrix products": ("conv", "mkldnn", "mm", "linear"),
    "batch normalisation": ("batch_norm",),
    "pooling": ("pool",),
    "ReLU and dropout": ("relu", "threshold", "clamp", "dropout", "bernoulli"),
    "optimiser": ("adam", "zero_"),
    "copies and casts": ("copy", "to", "contiguous", "clone", "empty", "fill"),
}


def kind_of(operator: str) -> str:
    """Which part of a step an operator of PyTorch belongs to."""
    return next((kind for kind, parts in KINDS.items() if any(part in operator for part in parts)), "the rest")


def product_rate(kind: torch.dtype) -> float:
    """Floating-point operations a second of a matrix product; the best of eight."""
    a, b = (torch.randn(SIDE, SIDE).to(kind) for _ in range(2))
    seconds = []
    for _ in range(8):
        begin = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - begin)
    return 2 * SIDE**3 / min(seconds)


def main(precision: str, steps: int) -> None:
    recipe = load_recipe("vgg16-report", [f"precision={precision}"])
    network = build_for(recipe, LABELS).train()
    optimiser = torch.optim.Adam(network.parameters(), recipe.training.lr, fused=True)
    images = torch.rand(BATCH, 1, 150, 150).mul(2).sub(1).contiguous(memory_format=torch.channels_last)
    truth = torch.randint(0, len(LABELS), (BATCH,))

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = torch.nn.functional.nll_loss(network(images), truth)
        loss.backward()
        optimiser.step()

    rates, seconds, spent = [], [], Counter[str]()
    with kept_memory():
        step()
        for _ in range(steps):
            rates.append(product_rate(getattr(torch, precision)))
            with profile(activities=[ProfilerActivity.CPU]) as found:
                begin = time.perf_counter()
                step()
                seconds.append(time.perf_counter() - begin)
            for operator in found.key_averages():
                spent[kind_of(operator.key)] += operator.self_cpu_time_total / 1e6 / steps
    whole, rate = sum(seconds) / steps, sum(rates) / steps
    print(f"{precision}, {torch.get_num_threads()} threads: {whole:.2f} s a step, {BATCH / whole:.2f} images/s")
    print(f"matrix product: {rate / 1e9:.0f} GFLOP/s; the step reaches {FLOP / whole / rate:.2f} of it")
    first = next(iter(KINDS))
    print(f"{first} alone reach {FLOP / spent[first] / rate:.2f} of it")
    for kind, taken in spent.most_common():
        print(f"{kind}: {taken:.2f} s, {taken / whole:.0%}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if sys.argv[2:] else 3)
