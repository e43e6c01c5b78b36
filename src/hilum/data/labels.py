"""Labels: folder paths whose nesting is the taxonomy, such as ``infected/covid``; and what a label's name means.

Names are read by their words, whatever their case, punctuation and accents: ``Viral-COVID19`` names COVID-19 and
``non-covid`` does not; ``No_Findings`` is healthy and ``abnormal`` is not. What a name leaves open, such as ``0`` and
``1``, is not guessed: nothing is healthy there until somebody says so.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from hilum.printable import printable

# Spellings of the virus and its disease; SARS of 2003, MERS and `coronary` are others.
_COVID = re.compile(
    r"covid(?:[\W_]*(?:20)?19)?|sars[\W_]*cov[\W_]*2|(?:2019[\W_]*)?n[\W_]*cov(?!id)(?:[\W_]*2019)?|"
    r"cov[\W_]*19|corona(?:[\W_]*virus)?(?![a-z])",
    re.IGNORECASE,
)
_NOT_POSITIVE = re.compile(r"[\s(]*-[\s)]*")  # what is left of `COVID-` and `COVID (-)` behind the name
_WORD = re.compile(r"[^\W\d_]+|\d+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def _words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NOT = _words_of("no non not without negative neg un free than except excluding out ohne kein keine sin sans sem")
_BETWEEN = _words_of("a any the of for to sign signs evidence suspicion known")  # `no evidence of covid`
_NOT_AFTER = _words_of("negative neg free absent excluded unlikely control controls normal healthy")
_NOT_AT_THE_END = _words_of("no false none 0")
_DEGREES = _words_of(
    "positive pos yes true 1 mild moderate severe critical early late acute confirmed typical atypical ards"
)
_HEALTHY = _words_of(
    "normal normals healthy control controls negative negatives unremarkable uninfected noninfected nofinding "
    "nofindings normale normales normais gesund sano sanos sain sains saudavel"
)
_NOTHING = _words_of(
    "finding findings abnormality abnormalities anomaly anomalies disease pathology infection infected hallazgos befund"
)
_BESIDE = _words_of(  # they say nothing of health
    "cxr x ray rays xray chest thorax lung lungs image images img case cases patient patients subject subjects person "
    "people class group label scan scans radiograph radiographs film adult adults child children pa ap only any acute "
    "significant evidence of"
)
_ILL = _words_of("infected abnormal diseased sick ill pathological positive")


def last_component(label: str) -> str:
    """The innermost name of a label: ``covid`` of ``infected/covid``."""
    return label.rsplit("/", 1)[-1]


def order_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Healthy labels first, the others in alphabetical order.

    Args:
        labels: Any labels, with repetitions.

    Returns:
        Each label once. For the seed's data this is the seed's own order:
        ``normal``, ``infected/covid``, ``infected/non-covid``.
    """
    return tuple(sorted(set(labels), key=lambda label: (not is_healthy(label), label)))


def is_covid(label: str) -> bool:
    """Whether a label names COVID-19.

    The innermost name decides. Where it is only a degree (``severe``, ``positive``), the folder above it does.

    Args:
        label: Such as ``infected/Viral-COVID19``; ``non-covid`` and ``COVID-negative`` are not.
    """
    *above, inner = label.split("/")
    said = _says_covid(inner)
    if said is None and above and set(_words(inner)) <= _DEGREES:
        said = is_covid("/".join(above))
    return bool(said)


def is_healthy(label: str) -> bool:
    """Whether a label means that nothing was found: ``No_Findings``, ``control``, ``Normal CXR``.

    Every word of the innermost name has to say so. ``infected/normal`` contradicts itself, and ``covid/negative`` may
    have any other disease.

    Args:
        label: Any.
    """
    *above, inner = label.split("/")
    words = [word for word in _words(inner) if word not in _BESIDE and not word.isdecimal()]
    if not words or any(set(_words(folder)) & _ILL or _says_covid(folder) is not None for folder in above):
        return False
    while words:
        if words[0] in _HEALTHY:
            words = words[1:]
        elif len(words) > 1 and (
            (words[0] in _NOT and words[1] in _NOTHING) or (words[0] in _NOTHING and words[1] == "free")
        ):
            words = words[2:]
        else:
            return False
    return True


def default_positive(labels: Iterable[str]) -> str | None:
    """The label that must not be missed where nobody said which: COVID-19, if there is one.

    Args:
        labels: Any; of several that name COVID-19 the plainest is taken (``COVID-19`` before ``COVID-19, ARDS``).
    """
    named = sorted(filter(is_covid, labels), key=lambda label: (len(_words(label)), label))
    return named[0] if named else None


def roles_sentence(labels: Sequence[str], positive: str | None, healthy: Sequence[str], *, chosen: bool = False) -> str:
    """Which label is positive and which is healthy, or that it is not known and how to say it: one line.

    Args:
        labels: All.
        positive: The one that must not be missed.
        healthy: Those that mean that nothing was found.
        chosen: Somebody said that no label is positive.
    """
    every = f" ({', '.join(map(printable, labels))})"
    if positive:
        told = f"positive label: {printable(positive)} (must not be missed)"
        if others := [label for label in labels if label != positive and is_covid(label)]:
            told += f"; {', '.join(map(printable, others))} names COVID-19, too, and is counted apart"
    elif chosen:
        told = "no positive label, as the recipe says"
    else:
        told = f"no positive label was recognised{every}: name one with --set protected=LABEL"
        every = ""
    if healthy:
        return f"{told}; healthy label{'s' if len(healthy) > 1 else ''}: {', '.join(map(printable, healthy))}"
    return f"{told}; no healthy label was recognised{every}: name it with --set healthy=LABEL"


def _words(name: str) -> list[str]:
    """The words and numbers of a name, without case and accents; all spellings of COVID-19 are ``covid``."""
    plain = _without_accents(_COVID.sub(" covid ", _without_accents(name)))
    return [word.casefold() for word in _WORD.findall(_CAMEL.sub(" ", plain))]


def _without_accents(name: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))


def _says_covid(name: str) -> bool | None:
    """Whether one name says COVID-19 (True), says that it is not (False), or says nothing of it (None)."""
    words = _words(name)
    places = [place for place, word in enumerate(words) if word == "covid"]
    if not places:
        return None
    *_, last = _COVID.finditer(_without_accents(name))
    denied = _NOT_POSITIVE.fullmatch(_without_accents(name)[last.end() :])
    return "mers" not in words and not denied and any(not _denied(words, place) for place in places)


def _denied(words: Sequence[str], place: int) -> bool:
    """Whether the word before ``covid`` (``no``, ``negative for``) or behind it (``negative``) denies it."""
    before = [word for word in words[:place] if word not in _BETWEEN]
    after = words[place + 1 :]
    return bool(
        (before and before[-1] in _NOT)
        or (after and after[0] in _NOT_AFTER)
        or (len(after) == 1 and after[0] in _NOT_AT_THE_END)
    )
