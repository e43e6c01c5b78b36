"""What labels and findings are called in coded results."""

import pytest

from hilum.serving.dicom_codes import CHEST, KNOWN, NOTHING_FOUND, label_term

pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")

from reported_images import FINDINGS, SEVERAL, changed


def test_findings_have_codes_of_the_standard_where_there_are_some():
    terms = {name: label_term(SEVERAL, name) for name in FINDINGS}
    assert (terms["effusion"].scheme, terms["effusion"].code) == ("SCT", "60046008")
    assert (terms["pneumothorax"].scheme, terms["pneumothorax"].code) == ("SCT", "36118008")
    assert terms["lines and tubes"].scheme == "99HILUM"
    assert len(terms["lines and tubes"].code) <= 16


def test_codes_that_pydicom_knows_of_the_standard_mean_the_same():
    from pydicom.sr.codedict import codes

    assert KNOWN["pneumothorax"].code == codes.SCT.Pneumothorax.value
    assert KNOWN["pleural effusion"].code == codes.SCT.PleuralEffusion.value
    assert KNOWN["pulmonary edema"].code == codes.SCT.PulmonaryEdema.value
    assert KNOWN["nodule"].code == codes.SCT.Nodule.value
    assert KNOWN["ground glass opacity"].code == codes.DCM.GroundGlassOpacity.value
    assert KNOWN["infiltrate"].code == codes.DCM.Infiltrate.value
    assert codes.SCT.ImagingResultNormal.value == NOTHING_FOUND.code
    assert codes.SCT.Chest.value == CHEST.code


@pytest.mark.parametrize(
    ("label", "name", "code"),
    [
        ("infected/covid", None, "882784691000119100"),
        ("COVID-19", None, "882784691000119100"),
        ("infected/non-covid", None, None),
        ("not covid", None, None),
        ("pneumonia", None, "233604007"),
        ("pneumonia", "pneumonia or effusion", None),  # what it is called before people says more
        ("infected/covid", "viral pneumonia (labelled covid)", "75570004"),
        ("healthy", None, "408573005"),
    ],
)
def test_a_label_gets_a_code_by_what_it_is_called(label, name, code):
    healthy = "healthy" if label == "healthy" else "well"
    labels = [healthy, "x" if label == healthy else label]
    names = {label: name} if name else {}
    model = changed(
        labels=labels,
        label_name=names,
        healthy=[healthy],
        positive_label=None,
        operating_point=None,
        certificate=None,
        tree=[],
        maps=[],
        hierarchy="flat",
    )
    term = label_term(model, label)
    assert (term.code if term.scheme == "SCT" else None) == code
