"""The arguments of public functions, compared with their annotations: one error that names the argument."""

from __future__ import annotations

import inspect
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from numbers import Integral, Real
from os import PathLike
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from hilum.errors import ArgumentError, UsageError
from hilum.text import printable

P = ParamSpec("P")
R = TypeVar("R")
WORDS: Mapping[Any, str] = {
    str: "text",
    bytes: "bytes",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    NoneType: "None",
    PathLike: "a path",
}


def typed(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse arguments that do not fit the annotations of a function.

    A number of NumPy is a number, and an array of one dimension is a sequence. What has no annotation, or one that
    cannot be compared with a value (a protocol), is left to the function.

    Raises:
        ArgumentError: An argument is of another type, or none of the values that are allowed.
    """
    signature = inspect.signature(function)
    hints: dict[str, object] = {}

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not hints:
            named = {name: hint for name, hint in function.__annotations__.items() if name != "return"}
            hints.update(get_type_hints(SimpleNamespace(__annotations__=named), globalns=function.__globals__))
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            hint = hints.get(name, Any)
            if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD or fits(value, hint):
                continue
            place = _place(function, args)
            meaning = _meaning(function.__doc__ or type(args[0]).__doc__ or "", name)
            raise ArgumentError(_message(place, name, value, hint, meaning), code="wrong-argument", argument=name)
        return function(*args, **kwargs)

    return call


def _place(function: Callable[..., object], args: tuple[object, ...]) -> str:
    """A function's name as its caller knows it: a method by the class of the object, also where it is inherited."""
    if "." not in function.__qualname__.rsplit("<locals>.", 1)[-1] or not args:
        return function.__qualname__
    return f"{type(args[0]).__name__}.{function.__name__}".removesuffix(".__init__")


def fits(value: object, hint: Any) -> bool:
    """Whether a value is of the type that an annotation names."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inside)
    if origin is Literal:
        return isinstance(value, str | int) and value in inside
    if hint is bool:
        return type(value).__name__ in ("bool", "bool_")  # NumPy's, too
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    kind = origin or hint
    if hint is Any or not isinstance(kind, type) or getattr(kind, "_is_protocol", False):
        return True
    if kind in (Sequence, Iterable):
        several = isinstance(value, kind) or getattr(value, "ndim", 0) == 1
        return several and not isinstance(value, str | bytes) and _all_fit(value, inside[0])
    if kind is Mapping:
        return isinstance(value, Mapping) and _all_fit(value, inside[0]) and _all_fit(value.values(), inside[1])
    return isinstance(value, kind)


def refuse_ignored(why: str, given: Mapping[str, object]) -> None:
    """Refuse what a call would ignore.

    Args:
        why: When it would, such as ``with --predictions``.
        given: Values by option, as the command line spells it; None and what is empty was not given.

    Raises:
        UsageError: Something was given.
    """
    ignored = [name for name, value in given.items() if value not in (None, "", False, (), [], {})]
    if ignored:
        msg = f"{', '.join(ignored)}: without effect {why}. Leave {'it' if len(ignored) == 1 else 'them'} out."
        raise UsageError(msg, code="ignored-option")


def _all_fit(values: Any, hint: Any) -> bool:
    return hint is Any or all(fits(value, hint) for value in values)


def _message(place: str, name: str, value: object, hint: Any, meaning: str) -> str:
    kind = type(value).__name__
    shown = "" if value is None else f" ({kind})"
    return f"{place}: {name}={printable(reprlib.repr(value))}{shown}. Give {_described(hint)}{meaning}."


def _described(hint: Any) -> str:
    """What an annotation names, in words."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        *others, last = dict.fromkeys(map(_described, inside))
        return f"{', '.join(others)} or {last}" if others else last
    if origin is Literal:
        return " or ".join(map(repr, inside))
    kind = origin or hint
    if kind in WORDS:
        return WORDS[kind]
    if kind in (Sequence, Iterable):
        return f"a sequence of {_several(inside[0])}"
    if kind is Mapping:
        return f"a mapping of {_several(inside[0])} to {_several(inside[1])}"
    return f"a {getattr(kind, '__name__', kind)}"


def _several(hint: Any) -> str:
    if get_origin(hint) is Sequence:
        return "sequences"
    return {str: "texts", float: "numbers", int: "whole numbers", Any: "values"}.get(hint) or _described(hint)


def _meaning(doc: str, name: str) -> str:
    """The first sentence about a parameter in a docstring."""
    found = re.search(rf"^ +{name}: (.+(?:\n {{8,}}.+)*)", inspect.cleandoc(doc), re.MULTILINE)
    if not found:
        return ""
    sentence = re.split(r"\.(?:\s|$)", " ".join(found[1].split()))[0].replace("`", "")
    return f": {sentence[0].lower()}{sentence[1:]}" if sentence[1:2].islower() else f": {sentence}"
