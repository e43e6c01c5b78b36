"""The prose linter finds what it is for, and the pages have none of it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs"))  # not part of the package

import prose


def text(markdown):
    return prose.Text("page.md", tuple(prose.paragraphs_of_markdown(markdown)))


def test_a_replaced_word_is_found_with_its_line_and_what_to_say():
    (found,) = prose.offences(text("# Title\n\nThe splits are\ncarved from train."))
    assert found == "page.md:3: 'carved': say hold out"


def test_words_of_code_tables_and_names_are_not_prose():
    page = "```sh\ncarve x\n```\n\n| carved | mended |\n|---|---|\n\nThe option `--carve` and <!-- carved --> nothing."
    assert list(prose.offences(text(page))) == []


def test_long_sentences_are_measured_by_page():
    short = "A sentence has few words. " * 20
    assert list(prose.offences(text(short))) == []
    long = " ".join(["word"] * 20) + ". "
    (found,) = prose.offences(text(long * 10))
    assert found == "page.md: the median sentence has 20 words, more than 18"
    longest = " ".join(["word"] * 40) + ". "
    found = list(prose.offences(text(short + longest * 3)))
    assert found[0] == "page.md: 3 of 23 sentences have more than 30 words"
    assert len(found) == 4


def test_sentences_end_at_full_stops_and_not_within_numbers_or_links():
    assert len(prose.sentences("The file [a.b](x.md) has 3.5 MB, e.g. much. It ends.")) == 2


def test_messages_are_read_but_no_docstrings_keys_or_what_is_filled_in():
    source = '''
def refuse(told, path):
    """An unfamiliar docstring is the business of another check."""
    option = "unfamiliar"
    raise ValueError(f"{path}: {told} unfamiliar images " "are left out: {told} alike".format(told=told))
'''
    module = prose.Text("module.py", tuple(prose.strings_of(source)))
    found = prose.offences(module, measured=False, words=prose.MESSAGES)
    assert sorted(found) == [
        "module.py:5: 'alike': say similar, or equally",
        "module.py:5: 'unfamiliar': say out of distribution",
    ]


def test_templates_are_read_without_their_tags():
    template = '<p class="worth">{% if worth %}\n{{ told }} Nobody <b>knows</b> what\n{% endif %} its worth is.</p>'
    page = prose.Text("page.html.j2", tuple(prose.text_of_template(template)))
    assert list(prose.offences(page, words=prose.MESSAGES)) == ["page.html.j2:3: 'worth': say performance"]


def test_pages_docstrings_and_messages_keep_to_the_style_guide():
    found = [one for page in prose.pages() for one in prose.offences(page)]
    found += [one for module in prose.docstrings() for one in prose.offences(module, measured=False)]
    found += [one for place in prose.messages() for one in prose.offences(place, measured=False, words=prose.MESSAGES)]
    assert not found, "\n".join(found)
