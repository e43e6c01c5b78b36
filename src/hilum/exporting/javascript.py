"""Puts ES modules into one script, so that a page needs no second file."""

from __future__ import annotations

import re
from collections.abc import Mapping

SOME = re.compile(r'^import \{([^{}]*)\} from "\./([\w-]+)\.js";$', re.MULTILINE)
ALL = re.compile(r'^import \* as (\w+) from "\./([\w-]+)\.js";$', re.MULTILINE)
MARKED = re.compile(r"^export (?=(?:async )?(?:function|class|const) (\w+))", re.MULTILINE)
LISTED = re.compile(r"\bexport\s*\{([^{}]*)\};?\s*$")
LEFT = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)
SOURCE_MAP = re.compile(r"^//# sourceMappingURL=.*\n?", re.MULTILINE)


def bundle(modules: Mapping[str, str], entry: str) -> str:
    """One script that does what a module does.

    Each module becomes a function that runs once and returns what the module exports, so that names of two modules do
    not meet. This takes modules that import one another by ``import {...} from "./name.js"`` or ``import * as``, and
    export what they declare, or one list at their end.

    Args:
        modules: Their source by name, which is that of their file without ``.js``.
        entry: Name of the module that imports the others.

    Raises:
        ValueError: A module that is imported is missing, or imports or exports in another way.
    """
    done: dict[str, str] = {}
    _add(entry, modules, done)
    script = "\n".join(done.values())
    if "<!--" in script:
        msg = "a module holds '<!--', which ends a script within HTML otherwise than it should"
        raise ValueError(msg)
    return script.replace("</script", "<\\/script")


def _add(name: str, modules: Mapping[str, str], done: dict[str, str]) -> None:
    if name in done:
        return
    if name not in modules:
        msg = f"no module '{name}'"
        raise ValueError(msg)
    source = SOURCE_MAP.sub("", modules[name])
    for pattern in (SOME, ALL):
        for _, other in pattern.findall(source):
            _add(other, modules, done)
    exported = {found: found for found in MARKED.findall(source)}
    if listed := LISTED.search(source):
        for pair in filter(None, (text.strip() for text in listed[1].split(","))):
            inner, _, outer = pair.partition(" as ")
            exported[outer or inner] = inner
        source = source[: listed.start()]
    source = MARKED.sub("", source)
    source = SOME.sub(lambda found: f"const {{{found[1].replace(' as ', ': ')}}} = {_variable(found[2])};", source)
    source = ALL.sub(lambda found: f"const {found[1]} = {_variable(found[2])};", source)
    if left := LEFT.search(source):
        msg = f"module '{name}': '{left[0][:80]}' is not understood"
        raise ValueError(msg)
    given = ", ".join(f"{outer}: {inner}" for outer, inner in exported.items())
    done[name] = f"const {_variable(name)} = (() => {{\n{source.strip()}\nreturn {{ {given} }};\n}})();"


def _variable(name: str) -> str:
    return f"module_{name.replace('-', '_')}"
