"""What the triage decisions of a model mean, in words, with what its certificates guarantee."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hilum.decision.operating_point import ABSTAIN, CLEAR, FLAG, READ, UNDECIDED
from hilum.serving.metadata import ServedCertificate
from hilum.serving.model_file import ModelFile
from hilum.text import printable


def legend(model_file: ModelFile, *, of_study: bool = False) -> list[tuple[str, str]]:
    """What each triage decision of a model means: the decision and a sentence, most urgent first.

    Args:
        model_file: Whose decisions they are.
        of_study: Whether they are about studies; else about single images.
    """
    unlike = "the image is too unlike the training images, or no chest X-ray: a person must read it"
    if model_file.metadata.abstention is None:
        unlike = (
            "a colour image: a person must read it. This model has no out-of-distribution detector for other images"
        )
    if model_file.points:
        return _of_findings(model_file, unlike, of_study=of_study)
    if model_file.point is None:
        nothing = "the model has no operating point: no triage decision, probabilities only"
        return [(ABSTAIN, unlike), (UNDECIDED, f"{nothing} (to add one: hilum certify, then hilum export)")]
    point = model_file.point if of_study else model_file.point.for_images()
    certificate = model_file.metadata.certificate
    lower = model_file.percent(point.threshold)
    clear = (
        f"only {model_file.group} is ruled out. This does not mean healthy: other diseases are not assessed"
        f"{_sensitivity(certificate)}{_unit(certificate, of_study=of_study)}"
    )
    if point.upper_threshold is None:
        flag = f"{model_file.group} cannot be ruled out: a probability of {lower} or more"
        unread = [(READ, "an image of the study could not be read, and no other was flagged")] if of_study else []
        return [(FLAG, flag), (ABSTAIN, unlike), *unread, (CLEAR, clear)]
    upper = model_file.percent(point.upper_threshold)
    flag = f"{model_file.group} is likely: a probability of {upper} or more"
    flag += _specificity(certificate, of_study=of_study)
    span = f"from {lower} up to {upper}"
    if point.upper_threshold > 1:
        flag, span = "no probability can be flagged at the requested guarantee", f"of {lower} or more"
    between = f"{model_file.group} is neither ruled out nor likely: a probability {span}"
    between += ", or an image could not be read" if of_study else ""
    read = [(READ, between)] if point.upper_threshold > point.threshold else []
    return [(FLAG, flag), (ABSTAIN, unlike), *read, (CLEAR, clear)]


def _sensitivity(certificate: ServedCertificate | None) -> str:
    if certificate is None:
        return ""
    sensitivity, confidence = 100 - 100 * certificate.false_negative_rate, 100 * certificate.confidence
    guaranteed = f"a sensitivity of {sensitivity:g} % ({confidence:g} % confidence)"
    return f". Guaranteed is {guaranteed}, for patients like those of the calibration set"


def _specificity(certificate: ServedCertificate | None, *, of_study: bool) -> str:
    """What is guaranteed of a flag: one image of several is flagged no more often than its patient, but finds less."""
    if certificate is None or certificate.upper is None:
        return ""
    upper, images = certificate.upper, certificate.images
    bound = f"{100 * upper.bound:g} %"
    if upper.prevalence is None:
        return f", at a guaranteed specificity of {bound}"
    if not of_study and (images is None or images.max > 1):
        return (
            ". The guaranteed PPV is per patient, for all images together (hilum predict --study). It does not "
            "hold for single images"
        )
    return f", at a guaranteed PPV of {bound} where the prevalence is {100 * upper.prevalence:g} %"


def _unit(certificate: ServedCertificate | None, *, of_study: bool, counts: bool = True) -> str:
    """Of what the guarantee speaks; nothing where every calibration patient had one image."""
    images = certificate.images if certificate else None
    if certificate is None or (images and images.max == 1):
        return ""
    counted = ""
    if images and counts:  # of several findings they differ
        counted = f" (calibration patients had {images.mean:.1f} images on average, {images.max} at most)"
    if of_study:
        return f". The guarantee is per patient, for all images together{counted}"
    if certificate.image_threshold is not None:
        return f". The guarantee is for one image per patient; for several images: hilum predict --study{counted}"
    return (
        ". The guarantee is per patient, for all images together (hilum predict --study). It does not hold for single "
        f"images{counted}"
    )


def _of_findings(model_file: ModelFile, unlike: str, *, of_study: bool) -> list[tuple[str, str]]:
    """The legend of a model of several findings, of which some have operating points."""
    points = {name: point.deciding(together=of_study) for name, point in model_file.points.items()}
    certificates = [model_file.metadata.certificates.get(name) for name in points]
    flagged = _listed(model_file, {name: point.flag_from for name, point in points.items()})
    two = {name: point.threshold for name, point in points.items() if point.upper_threshold is not None}
    others = [printable(model_file.short[name]) for name in model_file.findings if name not in points]
    flag = f"a finding cannot be ruled out: a probability at or above its threshold ({flagged})"
    unread = "an image of the study could not be read, and no other was flagged"
    read = [(READ, unread)] if of_study else []
    if two:
        flag = f"a finding is likely, or cannot be ruled out: a probability at or above its threshold ({flagged})"
        flag += _of_each([_specificity(one, of_study=of_study) for one in certificates])
        lower = _listed(model_file, two)
        between = f"a finding is neither ruled out nor likely: a probability from its lower threshold on ({lower})"
        read = [(READ, f"{between}{', or an image could not be read' if of_study else ''}")]
    undecided = f"no finding is flagged, and without an operating point: {', '.join(others)}"
    clear = "each finding is ruled out. This does not mean healthy: other diseases are not assessed"
    clear += _of_each([_sensitivity(one) for one in certificates])
    clear += next(filter(None, [_unit(one, of_study=of_study, counts=False) for one in certificates]), "")
    return [
        (FLAG, flag),
        (ABSTAIN, unlike),
        *read,
        *([(UNDECIDED, undecided)] if others else []),
        (CLEAR, clear),
    ]


def _listed(model_file: ModelFile, thresholds: Mapping[str, float]) -> str:
    """Thresholds by finding; above 1 where nobody is flagged."""
    shown = {name: model_file.percent(value) if value <= 1 else "none flagged" for name, value in thresholds.items()}
    return ", ".join(f"{printable(model_file.short[name])} {text}" for name, text in shown.items())


def _of_each(promised: Sequence[str]) -> str:
    """What is promised of every finding; nothing where it holds of some of them alone."""
    return promised[0] if len(set(promised)) == 1 else ""
