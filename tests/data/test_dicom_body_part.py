"""Words for body parts, as hospitals write them."""

import pytest

from hilum.data.dicom_header import BodyPart, body_part

CHESTS = (
    "CHEST", "PORT CHEST", "TORAX", "CHEST PA", "CHESTPA", "PECHO", "CHEST_PORTABLE", "CHEST_ABDOMEN",
    "CHESTABDPELVIS", "THORAX", "TORACE", "Tórax", "POITRINE", "BRUSTKORB", "Klatka piersiowa", "ГРУДНАЯ КЛЕТКА",
    "лёгкие", "HRUDNÍK", "MELLKAS", "BORSTKAS", "GÖĞÜS", "Θώρακας", "胸部", "흉부", "RIBS", "RIB", "LUNG", "LUNGS",
    "HEMITHORAX", "PŁUCA", "CXR", "chest", "TX", "TX PA",
    "CHEST DORSAL DECUBITUS", "PORT CHEST CERVICAL COLLAR", "CHEST AND SPINE", "CHEST COLUMN", "SACRED HEART CHEST",
    "SPINE, LUNGS", "TÓRAX Y COLUMNA",
)  # fmt: skip
OTHERS = (
    "HAND", "SKULL", "KNEE", "RKNEE", "LT KNEE", "ABDOMEN", "PELVIS", "L-SPINE", "LSPINE", "CSPINE", "TSPINE",
    "THORACIC SPINE", "BRUSTWIRBELSÄULE", "COLUMNA TORACICA", "EXTREMITY", "UP_EXM", "LOW_EXM", "Schädel", "RODILLA",
    "HIP", "ARM", "FOOT", "КОЛЕНО", "BREAST", "PIE", "胸椎", "胸腰椎",
    "TX HAND", "TX FOOT", "ГРУДНОЙ ОТДЕЛ ПОЗВОНОЧНИКА", "KRĘGOSŁUP PIERSIOWY", "COLONNE THORACIQUE",
)  # fmt: skip
UNKNOWN = ("", "WHOLEBODY", "XYZ", "SECRET^NAME", "PORTABLE", "1", "TRUNK")


@pytest.mark.parametrize("name", CHESTS)
def test_a_chest_is_one_in_every_language(name):
    assert body_part([name])[0] is BodyPart.CHEST


@pytest.mark.parametrize("name", OTHERS)
def test_another_part_is_none(name):
    part, word = body_part([name])
    assert part is BodyPart.OTHER
    assert word


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_is_said_so_and_not_repeated(name):
    assert body_part([name]) == (BodyPart.UNKNOWN, "")


def test_of_a_list_a_chest_counts_and_a_code_counts_more_than_words():
    assert body_part(["ABDOMEN", "CHEST"])[0] is BodyPart.CHEST
    assert body_part(["HAND", "XYZ"]) == (BodyPart.OTHER, "HAND")
    assert body_part(["XYZ"], ["51185008"])[0] is BodyPart.CHEST
    assert body_part(["HAND"], ["T-D8700"])[0] is BodyPart.OTHER
    assert body_part([]) == (BodyPart.UNKNOWN, "")


@pytest.mark.parametrize("value", ["KNEESMITH", "SMITH KNEE", "LKNEE^SMITH", "ABDOMSMITH", "SCHADELSMITH"])
def test_no_other_word_of_the_value_is_named(value):
    part, word = body_part([value])
    assert part is BodyPart.OTHER
    assert word
    assert "SMITH" not in word
