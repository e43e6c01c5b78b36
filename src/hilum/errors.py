"""Every error that hilum raises on purpose.

::

    HilumError              exit code 1: the input cannot be used
    ├── DataError           a table, its labels, its splits or its cache
    │   ├── TableError      a folder or CSV that is not a labelled dataset
    │   ├── ImageError      one file that cannot be read as a radiograph
    │   │   └── PassingImageError   it may be readable another time
    │   ├── SplitError      splits that cannot be held out or do not fit together
    │   └── CacheError      the decoded images cannot be stored or found
    ├── RunError            a run folder that is missing, incomplete or in the way
    │   └── CheckpointError weights that do not belong to this network, or are damaged
    ├── CertificateError    a certificate that cannot be given, or that does not belong to this run
    ├── LedgerError         a ledger that is damaged, or cannot be written
    ├── ModelFileError      a file that is no model file, or a damaged one
    ├── DivergenceError     a training whose loss is no longer a number
    ├── ExtraError          an optional part of hilum that is not installed
    ├── EngineError         a cluster that does not answer, or cannot do the work
    ├── GateError           exit code 3: the audit found what it had to stop at
    └── UsageError          exit code 2: wrong usage
        ├── ArgumentError   an argument of a Python function that is of another type; a TypeError and ValueError, too
        └── RecipeError     a recipe with an unknown key or an impossible value

Every message says what was found, where, and the remedy. ``code`` names the kind of fault for programs: that of the
class (``table``, ``run``), or a finer one where several faults share a class (``several-datasets``).
"""

from pathlib import Path
from typing import ClassVar


class HilumError(Exception):
    """The root of the tree.

    Args:
        message: What was found, where, and the remedy; also ``str(error)``.
        code: Kind of fault in kebab-case, stable where the wording changes; that of the class by default.
        path: File or folder concerned, if it is one.

    Attributes:
        exit_code: What the command line returns.
    """

    exit_code: ClassVar[int] = 1
    code: str = "hilum"
    path: Path | None = None

    def __init__(self, message: str = "", *, code: str | None = None, path: str | Path | None = None):
        super().__init__(message)
        self.code = code or self.code
        self.path = None if path is None else Path(path)

    @property
    def message(self) -> str:
        """What was found, where, and the remedy."""
        return str(self)


class DataError(HilumError):
    """Something about the dataset prevents the work."""

    code = "data"


class TableError(DataError):
    """A folder or CSV file does not describe a labelled dataset."""

    code = "table"


class ImageError(DataError):
    """One file cannot be read as a radiograph."""

    code = "image"


class PassingImageError(ImageError):
    """The machine, not the file, is the reason: memory, permissions, a failing disk."""

    code = "passing"


class SplitError(DataError):
    """Splits cannot be held out, or do not fit together."""

    code = "split"


class CacheError(DataError):
    """Decoded images cannot be stored or found."""

    code = "cache"


class RunError(HilumError):
    """A run folder is missing, incomplete, or in the way."""

    code = "run"


class CheckpointError(RunError):
    """Stored weights are damaged, or belong to another network."""

    code = "checkpoint"


class CertificateError(HilumError):
    """A false-negative rate cannot be certified, or a certificate was changed or belongs to another run."""

    code = "certificate"


class LedgerError(HilumError):
    """The ledger of attempts and accesses is damaged, or cannot be read or written."""

    code = "ledger"


class ModelFileError(HilumError):
    """A file is no model file, is damaged, or was made by another version."""

    code = "model-file"


class DivergenceError(HilumError):
    """The training loss is no longer a finite number."""

    code = "divergence"


class ExtraError(HilumError):
    """What was asked for takes a library that comes with an extra, and it is not installed."""

    code = "extra"


class EngineError(HilumError):
    """A cluster does not answer, cannot be started, or lacks what the work takes."""

    code = "engine"


class GateError(HilumError):
    """An audit found what it had to stop at; everything was written all the same."""

    exit_code = 3
    code = "gate"


class UsageError(HilumError):
    """The command was called in a way that cannot work."""

    exit_code = 2
    code = "usage"


class ArgumentError(UsageError, TypeError, ValueError):
    """An argument of a public function is of another type, or none of the values that are allowed.

    Attributes:
        argument: Its name.
    """

    code = "argument"

    def __init__(
        self, message: str = "", *, code: str | None = None, path: str | Path | None = None, argument: str = ""
    ):
        super().__init__(message, code=code, path=path)
        self.argument = argument


class RecipeError(UsageError):
    """A recipe has an unknown key or an impossible value."""

    code = "recipe"
