"""Labels: folder paths whose nesting is the taxonomy, such as ``infected/covid``; and what a label's name means.

Names are read by their words, whatever their case, punctuation and accents: ``Viral-COVID19`` names COVID-19 and
``non-covid`` does not; ``No_Findings`` is healthy and ``abnormal`` is not. What a name leaves open, such as ``0`` and
``1``, is not guessed: nothing is healthy there until somebody says so.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from hilum.text import printable

# Spellings of the virus and its disease; SARS of 2003, MERS and `coronary` are others.
_COVID = re.compile(
    r"covid(?:[\W_]*(?:20)?19)?|sars[\W_]*cov[\W_]*2|(?:2019[\W_]*)?n[\W_]*cov(?!id)(?:[\W_]*2019)?|"
    r"cov[\W_]*19|corona(?:[\W_]*virus)?(?![a-z])",
    re.IGNORECASE,
)
_NOT_POSITIVE = re.compile(r"[\s(]*-[\s)]*")  # what is left of `COVID-` and `COVID (-)` behind the name
_DASHES = re.compile("[\u2010-\u2015\u2212\ufe63\uff0d]")
_VE = re.compile(r"([+-])\s*ve\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+|\d+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def word_set(words: str) -> frozenset[str]:
    """A set of words that are written with blanks between them."""
    return frozenset(words.split())


@lru_cache(maxsize=2**17)  # a dataset may have a folder for each of many patients
def words_of(name: str) -> tuple[str, ...]:
    """The words and numbers of a name, in lower case and without accents: ``Test-Set2`` is test, set, 2.

    Args:
        name: Of a folder, or a cell of a table.
    """
    plain = name
    if not name.isascii():
        plain = "".join(letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
    parted = _CAMEL.sub(" ", plain)
    return tuple(_WORD.findall(parted.casefold()))


_NOT = word_set(
    "no non not without negative neg un free than except excluding out ohne kein keine nicht sin sans sem pas nao geen "
    "pre before prior post after 非 无 無"
)
_NEGATIVE = ("negat", "отриц", "阴性", "陰性")  # as a word begins: negative, négatif, negativo, Negativ
_POSITIVE = ("posit", "pozyt", "полож", "阳性", "陽性")
_DENYING = word_set("neg absent absente ausente assente excluded unlikely undetected undetectable unconfirmed refuted")
_AFFIRMING = word_set("pos yes true detected confirmed present presente oui si ja sim")
_NOT_NEXT = word_set("free control controls normal healthy")  # behind `covid`, and only there
_NOT_AT_THE_END = word_set("no non not false none nein nao nee n 0")
_TWINS = {"n": "py", "f": "t", "0": "1"}  # an answer in one letter, and the other answer
_FOUND = _AFFIRMING | word_set("found seen suspected proven identified evident")  # `not` before them denies
_SEVERITY = word_set(
    "mild moderate severe critical icu ards intubated ventilated hospitalised hospitalized itu intensive fatal"
)
_OTHERS = word_set(  # what is no COVID-19 although it lies in a folder of that name
    "bacterial bacteria viral virus fungal other others tuberculosis tb influenza flu sars mers rsv cancer tumor "
    "tumour cap unknown effusion"
)
_HEALTHY = word_set(
    "normal normals healthy control controls negative negatives unremarkable uninfected noninfected nofinding "
    "nofindings normale normales normais normalbefund gesund gesunde unauffallig sano sanos sana sanas sain sains "
    "saine saudavel"
)
_NOT_THAT = word_set("control controls negative negatives")  # below a disease, only without that disease
_NOTHING = word_set(
    "finding findings abnormality abnormalities anomaly anomalies disease pathology infection infected hallazgos befund"
)
_BESIDE = word_set(  # they say nothing of health
    "cxr x ray rays xray chest thorax lung lungs image images img case cases patient patients subject subjects person "
    "people class group label scan scans radiograph radiographs film adult adults child children pa ap only any acute "
    "significant evidence of data dataset set volunteer volunteers donor donors within limits"
)
_ABOUT = _BESIDE | word_set(
    "pcr rt test tests tested result results status pneumonia is was"
)  # between it and its denial
_NO_COVID = re.compile(r"\b(?:no|non|not|without|ohne|kein|sin|sans) covid\b")
_ILL = word_set("infected abnormal diseased sick ill pathological positive")


def last_component(label: str) -> str:
    """The innermost name of a label: ``covid`` of ``infected/covid``."""
    return label.rsplit("/", 1)[-1]


def order_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Healthy labels first, the others in alphabetical order.

    Args:
        labels: Any labels, with repetitions.

    Returns:
        Each label once. For the original report's data this is the original report's own order:
        ``normal``, ``infected/covid``, ``infected/non-covid``.
    """
    return tuple(sorted(set(labels), key=lambda label: (not is_healthy(label), label)))


def is_covid(label: str) -> bool:
    """Whether a label names COVID-19.

    The innermost name decides. Where it says nothing of it (``severe``, ``pneumonia``, ``PA``), the folder above it
    does, unless the name is another disease, a denial or healthy.

    Args:
        label: Such as ``infected/Viral-COVID19``; ``non-covid`` and ``COVID-negative`` are not.
    """
    *above, inner = label.split("/")
    said = _says_covid(inner)
    if said is None and above:
        words = _words(inner)
        other = _OTHERS.intersection(words) or is_healthy(inner)
        said = not other and not _denied(["covid", *words], 0) and not _without_it(words) and is_covid("/".join(above))
    return bool(said)


def is_healthy(label: str) -> bool:
    """Whether a label means that nothing was found: ``No_Findings``, ``control``, ``Normal CXR``.

    Every word of the innermost name has to say so. ``infected/normal`` contradicts itself, and ``covid/negative`` and
    ``tb/control`` may have any other disease.

    Args:
        label: Any.
    """
    *above, inner = label.split("/")
    words = [word for word in _words(inner) if word not in _BESIDE and not word.isdecimal()]
    folders = [word for folder in above for word in _words(folder) if not word.isdecimal()]
    if not words or "covid" in folders or _ILL.intersection(folders):
        return False
    if _NOT_THAT.issuperset(words) and not (_BESIDE | _HEALTHY).issuperset(folders):
        return False
    if _HEALTHY.intersection(words):  # `normal (no covid)`
        words = _NO_COVID.sub(" ", " ".join(words)).split()
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


def is_answer(name: str) -> bool:
    """Whether a name only answers a question that another name asks: ``positive``, ``neg``, ``yes``, ``0``."""
    words = _words(name)
    return len(words) == 1 and (
        _answer(words[0]) is not None or words[0] in _NOT_AT_THE_END or words[0] in {"1", "p", "y", "t"}
    )


def is_generic_name(name: str) -> bool:
    """Whether a name says nothing of what its images show: ``data``, ``CXR images``, ``2``."""
    return _BESIDE.issuperset(word for word in _words(name) if not word.isdecimal())


def default_positive(labels: Iterable[str]) -> str | None:
    """The label that must not be missed where nobody said which: COVID-19, if there is one.

    Args:
        labels: Any; of several that name COVID-19 the plainest is taken (``COVID-19`` before ``COVID-19, ARDS``), and
            none where two differ in one letter or digit whose meaning is not known.
    """
    named = sorted(naming_covid(labels), key=lambda label: (len(_words(label)), label))
    if any(len(one) == len(two) == 1 for one, two in _differences(named[:1], named)):
        return None  # `covid_a` and `covid_b` may be its two answers
    return named[0] if named else None


def naming_covid(labels: Iterable[str]) -> list[str]:
    """Those labels that name COVID-19, in their order; of ``covid F`` beside ``covid T`` the second alone does."""
    labels = list(labels)
    return [
        label
        for label in filter(is_covid, labels)
        if not any(two in _TWINS.get(one, "") for one, two in _differences([label], labels))
    ]


def _differences(some: Sequence[str], others: Sequence[str]) -> list[tuple[str, str]]:
    """The words in which labels differ that are equal but for one word."""
    found = []
    for one, other in ((_words(one), _words(other)) for one in some for other in others):
        if len(one) == len(other):
            different = [pair for pair in zip(one, other, strict=True) if pair[0] != pair[1]]
            found += different if len(different) == 1 else []
    return found


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
        if others := [label for label in naming_covid(labels) if label != positive]:
            verbs = "names COVID-19, too, and is" if len(others) == 1 else "name COVID-19, too, and are"
            told += f"; {', '.join(map(printable, others))} {verbs} counted separately"
    elif chosen:
        told = "no positive label, by the recipe"
    else:
        told = f"no positive label was recognised{every}: name one with --set positive_label=LABEL"
        every = ""
    if healthy:
        return f"{told}; healthy label{'s' if len(healthy) > 1 else ''}: {', '.join(map(printable, healthy))}"
    return f"{told}; no healthy label was recognised{every}: name it with --set healthy=LABEL"


def _words(name: str) -> list[str]:
    """The words and numbers of a name, as `words_of`; all spellings of COVID-19 are ``covid``."""
    return list(words_of(_COVID.sub(" covid ", _plain(name))))


def _plain(name: str) -> str:
    """Without accents, with one kind of hyphen, and with ``-ve`` and ``+ve`` in words."""
    letters = "".join(letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
    plain = _DASHES.sub("-", letters)
    return _VE.sub(lambda sign: " negative " if sign[1] == "-" else " positive ", plain)


def _says_covid(name: str) -> bool | None:
    """Whether one name says COVID-19 (True), says that it is not (False), or says nothing of it (None)."""
    if "covid" not in _words(name):
        return None
    *_, last = _COVID.finditer(_plain(name))
    denied = _NOT_POSITIVE.fullmatch(_plain(name)[last.end() :])
    return "mers" not in _words(name) and not denied and any(map(_clause_says_covid, _clauses(name)))


def _clauses(name: str) -> list[list[str]]:
    """The words of a name by its commas; a mere answer belongs to what it follows (``COVID, negative``)."""
    clauses: list[list[str]] = [[]]
    for words in map(_words, re.split("[,;]", name)):
        if len(words) == 1 and (_answer(words[0]) is False or words[0] in _NOT_AT_THE_END):
            clauses[-1] += words
        else:
            clauses.append(words)
    return clauses


def _clause_says_covid(words: Sequence[str]) -> bool:
    return any(word == "covid" and not _denied(words, place) for place, word in enumerate(words))


def _answer(word: str) -> bool | None:
    if word.startswith(_NEGATIVE) or word in _DENYING:
        return False
    return True if word.startswith(_POSITIVE) or word in _AFFIRMING else None


def _denied(words: Sequence[str], place: int) -> bool:
    """Whether a word before ``covid`` (``no``, ``negative for``) or behind it (``negative``) denies it."""
    before, after = list(words[:place]), list(words[place + 1 :])
    while "covid" in before:
        before = before[before.index("covid") + 1 :]
    behind = _answer_behind(after)
    if behind is True:  # of `RSV neg COVID pos` the first answer is another's
        before = [word for word in before if _answer(word) is not False]
    return behind is False or _without_it(before) or any(_answer(word) is False for word in before)


def _answer_behind(after: Sequence[str]) -> bool | None:
    """What the first answer behind ``covid`` says of it."""
    told = [word for word in after if word not in _ABOUT]
    if told and (told[0] in _NOT_NEXT or (len(told) == 1 and told[0] in _NOT_AT_THE_END)):
        return False
    for word, following in zip(after, [*after, ""][1:], strict=True):
        if word in _NOT and (following in _FOUND or following.startswith(_POSITIVE)):
            return False
        if (word, following) == ("ruled", "out"):
            return False
        if (answer := _answer(word)) is not None:
            return answer
    return None


def _without_it(words: Sequence[str]) -> bool:
    """Whether one of the words denies what follows; ``non-severe`` is only a degree."""
    following = [*words, ""][1:]
    return any(word in _NOT and other not in _SEVERITY for word, other in zip(words, following, strict=True))


@dataclass(frozen=True)
class Branch:
    """One decision of the tree.

    Attributes:
        name: The folder path at which it is taken; empty at the root.
        children: What it decides between: labels, or folders that hold several labels.
        members: For each child, the indices of the labels below it.
    """

    name: str
    children: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]

    def child_of(self, n_labels: int) -> list[int]:
        """For each label the index of the child that holds it, or -1 where it is not below this branch."""
        found = [-1] * n_labels
        for child, labels in enumerate(self.members):
            for label in labels:
                found[label] = child
        return found


def branches(labels: Sequence[str]) -> tuple[Branch, ...]:
    """All decisions, the root's first; a folder with a single child decides nothing and is passed over.

    Args:
        labels: In the order of the network's outputs.

    Raises:
        ValueError: A label is also a folder of other labels, such as ``infected`` beside ``infected/covid``.
    """
    for label in labels:
        inner = next((other for other in labels if other.startswith(f"{label}/")), None)
        if inner:
            msg = f"'{label}' is a label and also the folder of '{inner}'. Move its own images to a folder within it."
            raise ValueError(msg)
    return tuple(_below("", tuple(range(len(labels))), labels))


def nested_decisions(labels: Sequence[str]) -> tuple[Branch, ...]:
    """The decisions of nested labels; none where there is only one to take, or no tree (see `branches`)."""
    try:
        found = branches(labels)
    except ValueError:
        return ()
    return found if len(found) > 1 else ()


def fair_shares(labels: Sequence[str]) -> list[float]:
    """The probability of each label where every decision of the tree is a fair one; without a tree all have the same.

    ``normal``, ``infected/covid``, ``infected/non-covid`` get a half, a quarter and a quarter.
    """
    shares = [1.0] * len(labels)
    for branch in nested_decisions(labels):
        for label, child in enumerate(branch.child_of(len(labels))):
            shares[label] /= len(branch.children) if child >= 0 else 1
    return [share / sum(shares) for share in shares]


def _below(name: str, members: tuple[int, ...], labels: Sequence[str]) -> list[Branch]:
    depth = name.count("/") + 1 if name else 0
    groups: dict[str, list[int]] = {}
    for index in members:
        groups.setdefault("/".join(labels[index].split("/")[: depth + 1]), []).append(index)
    if len(groups) == 1:
        (only, inside), *_ = groups.items()
        return [] if only == labels[inside[0]] else _below(only, tuple(inside), labels)
    children = tuple(labels[inside[0]] if len(inside) == 1 else folder for folder, inside in groups.items())
    here = Branch(name, children, tuple(tuple(inside) for inside in groups.values()))
    return [here, *(branch for folder, inside in groups.items() for branch in _below(folder, tuple(inside), labels))]
