"""Could members of different sizes share one image? What a second reduction changes of the pretrained model's input.

python studies/shared_pixels.py DATA [IMAGES]
"""

import random
import sys
from pathlib import Path

import numpy as np

from hilum.data.images import is_image_file, read_picture, reduce
from hilum.serving.predictor import Predictor

SIDES = (96, 128)  # of the image that would be shared


def main(folder: Path, count: int) -> None:
    """Print how far bytes and probabilities of images reduced twice are from those of images reduced once."""
    predictor = Predictor()
    size = predictor.model_file.size
    files = sorted(file for file in folder.rglob("*") if file.is_file() and is_image_file(file))
    pictures = [read_picture(file).pixels for file in random.Random(0).sample(files, count)]
    once = np.stack([predictor.model_file.reduce(pixels) for pixels in pictures])
    stated = predictor.run(once)
    for side in SIDES:
        shared = (reduce(pixels, side).astype(np.float32) / 255 for pixels in pictures)
        twice = np.stack([predictor.model_file.reduce(pixels) for pixels in shared])
        apart = predictor.run(twice)
        moved = np.abs(apart - stated)
        print(
            f"{side} -> {size}: {(once != twice).mean():.1%} of bytes differ; probabilities by {moved.mean():.4f} on "
            f"average, {moved.max():.3f} at most; {(apart.argmax(1) != stated.argmax(1)).sum()} of {count} labels"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200)
