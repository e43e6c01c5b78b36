"""Which values a sweep combines, as ``--set`` gives them, and what its trials are called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hilum.earlier import setting_of_today
from hilum.errors import RecipeError
from hilum.training.recipe import parse_value, resolve_key, short_key


def parse_grid(settings: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Divide ``--set`` values into what is fixed and what is swept.

    Args:
        settings: ``key=value`` or ``key=value,value,...``; commas within brackets, braces or quotes divide nothing.

    Returns:
        The fixed settings as they were given, and for each swept key (in full) its values.

    Raises:
        RecipeError: A key is unknown, swept and given once more, or none has several values.
    """
    fixed: list[str] = []
    swept: dict[str, list[str]] = {}
    given: set[str] = set()
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            msg = f"--set {setting}: write key=value,value, for example --set lr=0.001,0.01."
            raise RecipeError(msg, code="malformed-setting")
        full = resolve_key(setting_of_today(key.strip(), value)[0], value.strip())
        values = [setting_of_today(full, item)[1] for item in _divide(value)]
        if full in swept or (len(values) > 1 and full in given):
            msg = f"--set {setting}: {full} is given twice. Write all its values in one --set, separated by commas."
            raise RecipeError(msg, code="key-twice")
        given.add(full)
        if "" in values:
            msg = f"--set {setting}: a value is empty. Write the values separated by commas."
            raise RecipeError(msg, code="empty-value")
        if len(values) > 1:
            twice = next((v for i, v in enumerate(values) if parse_value(v) in map(parse_value, values[:i])), None)
            if twice is not None:
                msg = f"--set {setting}: the value {twice} occurs twice. Remove one."
                raise RecipeError(msg, code="value-twice")
            swept[full] = values
        else:
            fixed.append(f"{full}={value}")
    if not swept:
        msg = "a sweep needs a key with several values, for example --set lr=0.001,0.01,0.1,1.0."
        raise RecipeError(msg, code="nothing-swept")
    return fixed, swept


def trial_names(combinations: Sequence[Mapping[str, str]]) -> list[str]:
    """Folder names that say what a trial changes; numbered, so that they are unique and in order."""
    digits = len(str(len(combinations)))
    return [
        f"{number:0{digits}d}-"
        + re.sub(r"[^A-Za-z0-9=.,_+-]+", "_", ",".join(f"{short_key(k)}={v}" for k, v in chosen.items()))[:80]
        for number, chosen in enumerate(combinations, 1)
    ]


def _divide(values: str) -> list[str]:
    """At commas, but not within brackets, braces or quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in values:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        depth += (letter in "[{") - (letter in "]}") if not quote else 0
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]
