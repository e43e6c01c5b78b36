"""Objects that archives hold and that are not as they should be: each ends in one state, and the node goes on."""

import io
import time
import warnings

import pytest
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from dicom_objects import encoded
from node_peers import SC, image, saved, store, store_any, until


def odd_ones():
    """By what is odd, an object, and whether it is reported (True) or refused (False)."""
    plain = {
        "no window": ({"WindowCenter": None, "WindowWidth": None}, True),
        "window width 0": ({"WindowWidth": 0}, None),
        "MONOCHROME1 without a table": ({"PhotometricInterpretation": "MONOCHROME1"}, True),
        "MONOCHROME1, inverse": ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, True),
        "MONOCHROME1, identity": (
            {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "IDENTITY"},
            True,
        ),
        "no patient or study tags": (
            dict.fromkeys(("PatientID", "PatientName", "StudyDate", "ViewPosition", "BodyPartExamined")),
            True,
        ),
        "Japanese": (
            {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎"},
            True,
        ),
        "Korean": (
            {"SpecificCharacterSet": ["", "ISO 2022 IR 149"], "PatientName": "Hong^Gildong=洪^吉洞=홍^길동"},
            True,
        ),
        "multi-frame": ({"NumberOfFrames": 2}, False),
        "for processing": ({"PresentationIntentType": "FOR PROCESSING"}, False),
        "a hand": ({"BodyPartExamined": "HAND"}, False),
        "no modality": ({"Modality": None}, False),
        "truncated": ({"PixelData": b"\0" * 1000}, False),
        "no pixels": ({"PixelData": None}, False),
        "a screenshot": ({"SOPClassUID": SC, "Modality": "OT"}, False),
        "a captured radiograph": ({"SOPClassUID": SC}, True),
    }
    for number, (name, (elements, reported)) in enumerate(plain.items()):
        yield name, image(number, size=128, **elements), reported


def test_each_ends_in_one_state_and_says_nobody_s_name(node, archive, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ones = list(odd_ones())
        files = saved(tmp_path / "in", [dataset for _, dataset, _ in ones])
    running = node(archive)
    assert store_any(files, running.port) == [0x0000] * len(files)
    found = until(
        lambda: (now := running.status()["jobs"])["sent"] + now["refused"] + now["dead"] == len(files) and now
    )
    reported = set(archive.reports())
    for name, dataset, expected in ones:
        if expected is not None:
            assert (dataset.SOPInstanceUID in reported) is expected, name
    assert found["dead"] == 0, running.status()["reasons"]
    assert found["sent"] == len(reported)
    said = "\n".join(running.lines()) + str(running.status()) + running.ask("/metrics")
    for _, dataset, _ in ones:
        for secret in (dataset.SOPInstanceUID, dataset.StudyInstanceUID, "4711", "Secret", "Yamada", "Gildong", "山田"):
            assert secret not in said


@pytest.mark.parametrize("change", [{"SOPInstanceUID": None}, {"SOPInstanceUID": "../../etc/passwd"}])
def test_an_object_without_a_usable_uid_is_answered_as_such(running_node, tmp_path, change):
    """Its UID in the request is another one: whichever is true, it is nobody's path."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = image(1, size=64)
        uid = one.SOPInstanceUID
        for keyword, value in change.items():
            if value is None:
                delattr(one, keyword)
            else:
                setattr(one, keyword, value)
        application = AE(ae_title="SENDER")
        application.add_requested_context(one.SOPClassUID, "1.2.840.10008.1.2.1")
        association = application.associate("127.0.0.1", running_node.port, ae_title="HILUM")
        assert association.is_established
        request = C_STORE()
        request.MessageID = 1
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = one.SOPClassUID, uid
        request.Priority = 0
        request.DataSet = io.BytesIO(encode(one, False, True))
        context = association.accepted_contexts[0].context_id
        association._reactor_checkpoint.clear()  # as pynetdicom does: its own thread would take the answer
        while not association._is_paused:
            time.sleep(0.01)
        association.dimse.send_msg(request, context)
        _, answer = association.dimse.get_msg(block=True)
        association.abort()
    assert answer.Status == 0xA900
    assert running_node.status()["jobs"]["received"] == 0


def test_an_object_that_is_too_large_ends_its_association_alone(node, archive, tmp_path):
    running = node(archive, limits={"object_mib": 1})
    files = saved(tmp_path / "in", [image(1, size=1024), image(2)])
    assert store(files[:1], running.port).returncode != 0
    assert store(files[1:], running.port).returncode == 0
    until(lambda: len(archive.reports()) == 1)
    assert running.status()["jobs"]["refused"] == 0
    assert len(encoded(image(1, size=1024))) > 2**20
