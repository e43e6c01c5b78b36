"""Images inside of one file (`.npz`, Parquet) become image files below the cache folder, once."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from hilum.data.cache_files import cache_folder, make_private
from hilum.errors import CacheError
from hilum.files import open_regular

FOLDER = "extracted"
COMPLETE = ".complete"
STEP = 2**20


def extracted(source: Path, write: Callable[[Path], None]) -> Path:
    """The folder with the images of a file; they are written where this was not done before.

    Args:
        source: The file; the folder's name is a hash of its contents.
        write: Writes the images into a folder.

    Raises:
        CacheError: The folder cannot be written.
        OSError: The source cannot be read.
    """
    digest = hashlib.sha256()
    with open_regular(source) as file:
        while part := file.read(STEP):
            digest.update(part)
    above = cache_folder() / FOLDER
    folder = above / digest.hexdigest()[:32]
    if (folder / COMPLETE).exists():
        return folder
    try:
        above.mkdir(parents=True, exist_ok=True)
        make_private(cache_folder())
        beginning = Path(tempfile.mkdtemp(dir=above, prefix=".making-"))
        try:
            write(beginning)
            (beginning / COMPLETE).touch()
            shutil.rmtree(folder, ignore_errors=True)
            beginning.rename(folder)
        except FileExistsError:  # another process was quicker
            pass
        finally:
            shutil.rmtree(beginning, ignore_errors=True)
    except OSError as error:
        msg = f"{above}: images of {source.name} cannot be written there ({error.strerror or error}). Set HILUM_CACHE."
        raise CacheError(msg) from error
    return folder
