"""Pictures as alike as radiographs are, and changed copies of some of them."""

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter


def pictures(number, seed=0):
    """Pictures with coarse shapes and fine detail, a pair of which is as alike as two radiographs are."""
    generator = np.random.default_rng(seed)
    common = gaussian_filter(generator.normal(size=(64, 64)), 10)
    made = np.empty((number, 64, 64), np.uint8)
    for i in range(number):
        coarse, fine = (gaussian_filter(generator.normal(size=(64, 64)), width) for width in (5, 1))
        mixed = sum(part / part.std() * weight for part, weight in ((common, 30), (coarse, 30), (fine, 12)))
        made[i] = np.clip(128 + mixed, 0, 255)
    return made


def cropped(image, generator):
    left, right, top, bottom = (round(64 * share) for share in generator.uniform(0, 0.08, 4))
    part = Image.fromarray(image[top : 64 - bottom, left : 64 - right])
    return np.asarray(part.resize((64, 64), Image.Resampling.BILINEAR))


def pairs(copies):
    return {(min(i, j), max(i, j)) for i, j in zip(copies.first.tolist(), copies.second.tolist(), strict=True)}


def with_copies(images, each, seed=1):
    generator = np.random.default_rng(seed)
    chosen = generator.choice(len(images), 4 * each, replace=False)
    changes = [
        lambda x: cropped(x, generator),
        lambda x: x[:, ::-1],
        lambda x: 255 - x,
        lambda x: (255 * (x / 255) ** 0.8).astype(np.uint8),
    ]
    copies = [changes[n % 4](images[i]) for n, i in enumerate(chosen)]
    return np.concatenate([images, copies]), {(int(i), len(images) + n) for n, i in enumerate(chosen)}
