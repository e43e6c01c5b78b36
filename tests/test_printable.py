"""Names from files are shown, never obeyed."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from hilum.text import HIDDEN, is_text, printable, visible


@given(st.text(st.characters(codec=None)))
def test_what_is_shown_can_be_encoded_and_hides_nothing(text):
    for shown in (printable(text), visible(text)):
        shown.encode("utf-8")
        assert not [letter for letter in shown if unicodedata.category(letter) in HIDDEN]


def test_letters_of_every_script_stay():
    for name in ("Sécrétions", "肺炎", "ריאה", "[covid]", "a\\b", "Lunge groß"):
        assert printable(name) == name


def test_what_a_terminal_would_obey_is_escaped():
    assert printable("a\x1b[31mb\nc\u202ed\udce9") == "a\\x1b[31mb\\x0ac\\u202ed\\xe9"


def test_names_that_look_alike_can_be_told_apart():
    assert visible("NORMAL ") == "NORMAL␠"
    composed, apart = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    assert visible(composed) == "é"
    assert visible(apart) == "e\\u0301"


def test_bytes_that_are_not_utf8_are_no_text():
    assert is_text("é")
    assert not is_text("caf\udce9")
