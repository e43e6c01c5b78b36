"""Small trees in the form of public datasets."""

import numpy as np
import pytest
from PIL import Image

from hilum.data.options import ReadOptions
from hilum.data.readers.read import read_table


@pytest.fixture
def tree(tmp_path):
    """Write a tree: by path, the text of a table, or None for an image."""

    def write(files):
        pixels = np.arange(48 * 48, dtype=np.uint8).reshape(48, 48)
        for path, content in files.items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                Image.fromarray(pixels).save(file)
            elif isinstance(content, bytes):
                file.write_bytes(content)
            else:
                file.write_text(content)
        return tmp_path

    return write


@pytest.fixture
def read():
    """Read a dataset with options by name."""
    return lambda data, **options: read_table(data, ReadOptions(**options))


def by_path(table, *columns):
    """Of each image, by the name of its file, some values."""
    return {
        row.path.rpartition("/")[2]: tuple(getattr(row, name, None) or row.extra.get(name, "") for name in columns)
        for row in table.rows
    }
