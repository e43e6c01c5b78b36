"""Execute the notebook of the documentation: ``.venv/bin/python docs/execute_notebook.py`` renews its outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent / "tutorials" / "notebook.ipynb"


def executed(path: Path = NOTEBOOK) -> Any:
    """A notebook with the outputs of today; what depends on the moment is left out."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    for cell in notebook.cells:
        cell.metadata.clear()  # times of execution
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    return notebook


if __name__ == "__main__":
    nbformat.write(executed(), NOTEBOOK)
