"""JSON files of results, which know the version of their schema, and are read under the names of version 0.1, too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from hilum.earlier import current
from hilum.errors import RunError
from hilum.files import read_text


class Document(BaseModel):
    """A JSON file of results, with the version of its schema."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)
    schema_version: Literal[1] = 1

    def to_json(self) -> dict[str, Any]:
        """What the file holds: the fields that were given."""
        return {
            "schema_version": self.schema_version,
            **self.model_dump(mode="json", by_alias=True, exclude_unset=True),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, object] | str | bytes) -> Self:
        """Read what a file holds, also one of version 0.1.

        Raises:
            ValueError: It is no JSON, or does not hold what it should.
        """
        return cls.model_validate(current(json.loads(content) if isinstance(content, str | bytes) else content))

    @classmethod
    def read(cls, file: Path, remedy: str) -> Self:
        """Read a file.

        Args:
            file: As hilum wrote it.
            remedy: The command that writes it again.

        Raises:
            RunError: It is missing, damaged, or of a version whose results mean something else.
        """
        try:
            return cls.from_json(read_text(file))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            what = f"{cls.__name__.lower()} of hilum have another '{where}' ({first['msg'].lower()})"
            if first["loc"] == ("intervals",) and first["type"] == "missing":  # made otherwise; not mixed with today's
                what = "these metrics are of an earlier version of hilum with other intervals"
            cause: Exception = error
        except (OSError, ValueError, TypeError, RecursionError) as error:
            what, cause = f"not in hilum's format ({type(error).__name__})", error
        msg = f"{file}: {what}. Run `{remedy}` again."
        raise RunError(msg, code=f"damaged-{cls.__name__.lower()}", path=file) from cause
