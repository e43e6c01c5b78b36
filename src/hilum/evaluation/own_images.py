"""The images that a run was made from, for what is fitted to them afterwards."""

from __future__ import annotations

from hilum.data.cache import Images, open_images
from hilum.data.table import Table
from hilum.errors import DataError
from hilum.progress import Progress
from hilum.training.run import Run


def own_images(run: Run, table: Table, images: Images | None, progress: Progress) -> tuple[Images | None, str]:
    """The run's own images as the network takes them, or None and why there are none.

    Args:
        run: A finished run.
        table: Its own data, where they lie now.
        images: The same, where they are open already.
        progress: Told about long work.
    """
    try:
        images = images or open_images(table, run.recipe.preprocessing, progress=progress)
    except DataError:
        return None, f"the run's images are not in {table.root} any more"
    if images.digest != run.environment["data"]["digest"]:
        return None, f"the images in {table.root} are not those of the training"
    return images, ""
