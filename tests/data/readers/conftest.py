"""Datasets that tests of readers write: tables with their files, and trees of folders."""

import pytest

from folder_trees import picture


@pytest.fixture
def write(tmp_path):
    """Write a table in a folder of its own, and files of the names that are given."""

    def make(text, *files, name="metadata.csv", encoding="utf-8"):
        root = tmp_path / "d"
        root.mkdir(exist_ok=True)
        (root / name).write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        for file in files:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).touch()
        return root

    return make


@pytest.fixture
def tree(tmp_path):
    """Write folders with so many images each, or with the files that are named; text is the content of a file."""

    def write(spec):
        root = tmp_path / "data"
        number = 0
        for name, content in spec.items():
            if isinstance(content, str):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(content)
                continue
            (root / name).mkdir(parents=True, exist_ok=True)
            for file in [f"i{k}.png" for k in range(content)] if isinstance(content, int) else content:
                (root / name / file).write_bytes(picture(number, mask="mask" in f"{name}/{file}".lower()))
                number += 1
        return root

    return write
