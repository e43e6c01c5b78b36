"""Where the time of one training step of the original report's VGG goes, operator by operator.

    python studies/step_profile.py float32|bfloat16 [STEPS]
    python studies/step_profile.py layers       its convolutions one by one, in float32 and both memory formats

The step is hilum's: its network, memory format, freed memory that is kept, and fused Adam, on 64 random images of
150 x 150. Convolutions and matrix products are also compared with the rate of a matrix product of their precision,
which is measured between the steps. As on a processor without AVX-512:

    ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 ATEN_CPU_CAPABILITY=avx2 python studies/step_profile.py ...
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from itertools import pairwise

import torch
from torch.profiler import ProfilerActivity, profile

from hilum.training.allocation import kept_memory
from hilum.training.initialisation import build_for
from hilum.training.recipe import load_recipe

BATCH, SIDE, LABELS = 64, 2048, ("a", "b", "c")
LAYERS = ((64, 150), (128, 75), (256, 37), (512, 18), (512, 9))  # channels in and out, and pixels a side
FORMATS = {"channels last": torch.channels_last, "contiguous": torch.contiguous_format}
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


def layers(images: int = 16) -> None:
    """Forward, gradient of the images and gradient of the weights, as shares of a matrix product's rate."""
    rate = product_rate(torch.float32)
    print(f"matrix product: {rate / 1e9:.0f} GFLOP/s")
    for channels, side in LAYERS:
        work = images * side**2 * channels**2 * 9 * 2
        for name, memory_format in FORMATS.items():
            layer = torch.nn.Conv2d(channels, channels, 3, padding=1).to(memory_format=memory_format)
            pixels = torch.randn(images, channels, side, side).contiguous(memory_format=memory_format).requires_grad_()
            seconds = []
            for _ in range(4):
                times = [time.perf_counter()]
                found = layer(pixels)
                times.append(time.perf_counter())
                for of in (pixels, layer.weight):
                    torch.autograd.grad(found, of, torch.ones_like(found), retain_graph=True)
                    times.append(time.perf_counter())
                seconds.append([end - begin for begin, end in pairwise(times)])
            shares = ", ".join(f"{work / min(each) / rate:.2f}" for each in zip(*seconds, strict=True))
            print(f"{channels} channels, {side} pixels, {name}: {shares}")


if __name__ == "__main__":
    if sys.argv[1] == "layers":
        layers()
    else:
        main(sys.argv[1], int(sys.argv[2]) if sys.argv[2:] else 3)
