"""How certificates on the same patients share one error probability (alpha spending).

A certificate at confidence 1 - delta is wrong with a probability of at most delta. Of several on the same patients,
the one that is kept was chosen by what they said of these patients, and is wrong more often. The rule:

* The first attempt on a set of patients opens a *plan*: M attempts (1 by default), each at delta / M. By Bonferroni's
  inequality all certificates of a plan hold together with confidence 1 - delta, whichever of them is kept.
* A plan cannot be changed once a score was seen. When its places are taken, a further attempt at this confidence is
  refused.
* A further plan is possible at a lower confidence: what it adds to delta is its own, and its confidence is that of
  all certificates on these patients together.
* Patients are the same where two sets of images have one image in common. What a further plan adds up is that of all
  sets that are linked so, also by way of others: of three certificates on S1, on S1 and S2, and on S2 one may be kept.
* The same attempt again spends nothing. Another model whose scores of these patients were evaluated takes a place, as
  if it had been certified: whoever has seen them can choose by them.
* Of several findings each takes a place, and so each model takes as many places as there are findings.

The inequality holds for models, groups and bounds that were not chosen with these patients' scores in view. hilum
trains on none of these patients. A model that is trained again because of what their scores showed is outside of it.

Source: Bonferroni's inequality on the tolerance limits of `hilum.evaluation.certificate`; as alpha spending over
planned looks in Lan and DeMets 1983, *Biometrika* 70.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hilum.errors import CertificateError
from hilum.evaluation.ledger import ImageSet

CLOSE = 1e-9


@dataclass(frozen=True)
class Attempt:
    """An attempt to certify that the ledger holds.

    Attributes:
        identity: Hash of all that makes it this attempt.
        model: Whose scores it saw.
        images: Of the patients.
        confidence: Of its plan, in (0, 1).
        delta: What it spent, in (0, 1).
        plan: Identity of the attempt that opened its plan.
        planned: How many attempts that plan has.
        counted: Plans before it, whose delta its plan's confidence includes.
        carried: Its place in the plan, from 1, where another ledger recorded it, so that those before it may be
            unknown; else 0.
    """

    identity: str
    model: str
    images: ImageSet
    confidence: float
    delta: float
    plan: str
    planned: int
    counted: tuple[str, ...]
    carried: int = 0


@dataclass(frozen=True)
class Asked:
    """An attempt that somebody wants to make.

    Attributes:
        identity: Hash of all that makes it this attempt.
        model: Whose scores it will see.
        images: Of the patients.
        confidence: That is to be stated, in (0, 1).
        attempts: How many attempts are planned on these patients; None where nothing was said.
        places: How many places of the plan each attempt takes: one for each finding that is certified with this one.
    """

    identity: str
    model: str
    images: ImageSet
    confidence: float
    attempts: int | None = None
    places: int = 1

    @property
    def planned(self) -> int | None:
        """How many places the plan is to have; None where nothing was said."""
        return None if self.attempts is None else self.attempts * self.places


@dataclass(frozen=True)
class Grant:
    """What an attempt may spend.

    Attributes:
        attempt: As the ledger is to hold it.
        number: Its place in the plan, from 1.
        level: The confidence at which it is computed by itself, 1 - delta.
        repeated: The ledger holds it already.
    """

    attempt: Attempt
    number: int
    level: float
    repeated: bool


def grant(made: Sequence[Attempt], evaluated: Sequence[tuple[str, ImageSet]], asked: Asked) -> Grant:
    """Decide what an attempt may spend.

    Args:
        made: All attempts so far, on whatever patients, in their order.
        evaluated: Models and the images that they were evaluated on.
        asked: The attempt.

    Raises:
        CertificateError: Nothing is left for it, or another plan is in force; what would help is said.
    """
    for number, attempt in enumerate(made):
        if attempt.identity == asked.identity:
            if asked.planned not in (None, attempt.planned):
                raise CertificateError(_other_plan(attempt, asked), code="other-plan")
            place = sum(earlier.plan == attempt.plan for earlier in made[: number + 1])
            return Grant(attempt, place, _level(attempt.confidence, attempt.delta, attempt.planned), True)
    here = [attempt for attempt in made if attempt.images & asked.images]
    plans = {attempt.plan: attempt for attempt in here}  # the last attempt of each stands for it
    seen = {model for model, images in evaluated if images & asked.images} - {asked.model}
    seen -= {attempt.model for attempt in here}
    for opened in reversed(plans):
        member = plans[opened]
        if abs(member.confidence - asked.confidence) > CLOSE or not _alone(member, plans):
            continue
        if asked.planned not in (None, member.planned):
            raise CertificateError(_other_plan(member, asked), code="other-plan")
        taken = _taken(made, opened) + len(seen) * asked.places
        if taken < member.planned:
            joined = Attempt(
                asked.identity, asked.model, asked.images, member.confidence, member.delta, opened, member.planned,
                member.counted,
            )  # fmt: skip
            return Grant(joined, taken + 1, _level(asked.confidence, member.delta, member.planned), False)
    plans = {attempt.plan: attempt for attempt in linked(made, asked.images)}
    reserved = sum(attempt.delta * attempt.planned for attempt in plans.values())
    left = 1 - asked.confidence - reserved
    if left <= CLOSE:
        raise CertificateError(_spent(made, here, reserved, len(seen), asked), code="spent")
    planned = asked.planned or asked.places
    if (len(seen) + 1) * asked.places > planned:
        raise CertificateError(_seen(len(seen), asked.attempts or 1), code="seen-scores")
    delta = left / planned
    opening = Attempt(
        asked.identity, asked.model, asked.images, asked.confidence, delta, asked.identity, planned, tuple(plans)
    )
    level = _level(asked.confidence, delta, planned) if not plans else 1 - delta
    return Grant(opening, len(seen) * asked.places + 1, level, False)


def joint_confidence(made: Sequence[Attempt], images: ImageSet) -> float:
    """With which confidence all certificates on some patients hold together; 1 where there is none."""
    plans = {attempt.plan: attempt for attempt in linked(made, images)}
    return max(0.0, 1 - sum(attempt.delta * attempt.planned for attempt in plans.values()))


def linked(made: Sequence[Attempt], images: ImageSet) -> list[Attempt]:
    """Attempts on some patients, on patients of these attempts, and so on."""
    found: set[int] = set()
    reached, grew = images, True
    while grew:
        new = {n for n, attempt in enumerate(made) if n not in found and attempt.images & reached}
        found |= new
        grew = bool(new)
        reached = reached.union(*(made[n].images for n in new))
    return [made[n] for n in sorted(found)]


def _taken(made: Sequence[Attempt], plan: str) -> int:
    """Places of a plan that attempts have taken, those included that a lost ledger held."""
    carried = [attempt.carried for attempt in made if attempt.plan == plan]
    return max(len(carried), max(carried, default=0) + carried.count(0))


def _alone(member: Attempt, plans: Mapping[str, Attempt]) -> bool:
    """Whether every other plan on these patients was counted by this one, or has counted it."""
    others = (other for name, other in plans.items() if name != member.plan)
    return all(other.plan in member.counted or member.plan in other.counted for other in others)


def _level(confidence: float, delta: float, planned: int) -> float:
    """1 - delta; for a plan of one attempt the stated figure itself, which the subtraction could miss by a bit."""
    return confidence if planned == 1 and abs(1 - confidence - delta) < CLOSE else 1 - delta


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _other_plan(member: Attempt, asked: Asked) -> str:
    places = f" takes {asked.planned} places for {asked.places} findings" if asked.places > 1 else ""
    return (
        f"--attempts {asked.attempts}{places}: the plan for these patients has {member.planned}; their scores are "
        "known since, so the plan is fixed. Omit --attempts, or give other patients."
    )


def _seen(others: int, planned: int) -> str:
    models = f"{others} other model{'s were' if others > 1 else ' was'}"
    return (
        f"{models} evaluated on these patients before, so this one may have been selected on them; {planned} "
        f"attempt{'s are' if planned > 1 else ' is'} planned. Plan for all of these models: --attempts {others + 1} or "
        "more, each then certified at a higher confidence. Or give patients without any evaluated model."
    )


def _spent(made: Sequence[Attempt], here: Sequence[Attempt], reserved: float, seen: int, asked: Asked) -> str:
    shared = len(frozenset().union(*(attempt.images for attempt in here)) & asked.images)
    attempts = f"{len(here)} earlier attempt{'s' if len(here) > 1 else ''} to certify"
    attempts += f" and {seen} other model{'s' if seen > 1 else ''} evaluated" if seen else ""
    free = sorted(
        {a.confidence for a in here if _taken(made, a.plan) + seen < a.planned} - {asked.confidence}, reverse=True
    )
    place = f" Or use an attempt left in the plan at --confidence {free[0]:.4g}." if free else ""
    lower = 1 - reserved - (1 - asked.confidence)
    planned = f" --attempts {seen + 1} or more" if seen else ""
    also = (
        f" Or lower the confidence: --confidence {lower:.4g}{planned or ' or below'}, for all certificates on these "
        "patients together."
    )
    return (
        f"the error probability of these patients is spent: {_percent(reserved)} by {attempts} on {shared:,} of "
        f"the {len(asked.images):,} images, and a confidence of {_percent(asked.confidence)} allows "
        f"{_percent(1 - asked.confidence)}. A further certificate, selected as the best, would fail more often than "
        f"stated. Certify on other patients.{place}{also if lower > CLOSE else ''} Next time, plan before the first "
        "certificate: --attempts M divides the error probability among M attempts."
    )
