"""Every error that hilum raises on purpose.

::

    HilumError              exit code 1: the input cannot be used
    ├── DataError           a table, its labels, its splits or its cache
    │   ├── TableError      a folder or CSV that is not a labelled dataset
    │   ├── ImageError      one file that cannot be read as a radiograph
    │   │   └── PassingImageError   it may be readable another time
    │   ├── SplitError      splits that cannot be carved or do not fit together
    │   └── CacheError      the decoded images cannot be stored or found
    ├── RunError            a run folder that is missing, incomplete or in the way
    │   └── CheckpointError weights that do not belong to this network, or are damaged
    ├── CertificateError    a certificate that cannot be given, or that does not belong to this run
    ├── LedgerError         a ledger that is damaged, or cannot be written
    ├── BundleError         a file that is no bundle, or a damaged one
    ├── DivergenceError     a training whose loss is no longer a number
    ├── ExtraError          an optional part of hilum that is not installed
    ├── GateError           exit code 3: the audit found what it was told to stop at
    └── UsageError          exit code 2: wrong usage
        └── RecipeError     a recipe with an unknown key or an impossible value

Every message says what was found, where, and the remedy.
"""


class HilumError(Exception):
    """The root of the tree; ``exit_code`` is what the command line returns."""

    exit_code = 1


class DataError(HilumError):
    """Something about the dataset prevents the work."""


class TableError(DataError):
    """A folder or CSV file does not describe a labelled dataset."""


class ImageError(DataError):
    """One file cannot be read as a radiograph."""


class PassingImageError(ImageError):
    """The machine, not the file, is the reason: memory, permissions, a failing disk."""


class SplitError(DataError):
    """Splits cannot be carved, or do not fit together."""


class CacheError(DataError):
    """Decoded images cannot be stored or found."""


class RunError(HilumError):
    """A run folder is missing, incomplete, or in the way."""


class CheckpointError(RunError):
    """Stored weights are damaged, or belong to another network."""


class CertificateError(HilumError):
    """A miss rate cannot be certified, or a certificate was changed or belongs to another run."""


class LedgerError(HilumError):
    """The ledger of attempts and accesses is damaged, or cannot be read or written."""


class BundleError(HilumError):
    """A file is no bundle, is damaged, or was made by another version."""


class DivergenceError(HilumError):
    """The training loss is no longer a finite number."""


class ExtraError(HilumError):
    """What was asked for takes a library that comes with an extra, and it is not installed."""


class GateError(HilumError):
    """An audit found what it was told to stop at; everything was written all the same."""

    exit_code = 3


class UsageError(HilumError):
    """The command was called in a way that cannot work."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe has an unknown key or an impossible value."""
