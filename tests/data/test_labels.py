"""The tree of nested labels."""

import pytest

from hilum.data.labels import branches, fair_shares

SEED = ("normal", "infected/covid", "infected/non-covid")


def test_the_seeds_labels_are_two_binary_decisions():
    root, infected = branches(SEED)
    assert root.children == ("normal", "infected")
    assert root.members == ((0,), (1, 2))
    assert (infected.name, infected.children) == ("infected", ("infected/covid", "infected/non-covid"))
    assert root.child_of(3) == [0, 1, 1]
    assert infected.child_of(3) == [-1, 0, 1]


def test_flat_labels_are_one_decision():
    assert [branch.children for branch in branches(("a", "b", "c"))] == [("a", "b", "c")]


def test_folders_with_a_single_child_decide_nothing():
    names = [branch.name for branch in branches(("x/normal", "x/ill/lung/a", "x/ill/lung/b"))]
    assert names == ["x", "x/ill/lung"]


def test_every_label_is_reached_by_one_way():
    labels = ("n", "a/b/c", "a/b/d", "a/e", "f/g", "f/h", "f/i")
    tree = branches(labels)
    for index in range(len(labels)):
        on_the_way = [branch for branch in tree if branch.child_of(len(labels))[index] >= 0]
        last = on_the_way[-1]
        assert last.members[last.child_of(len(labels))[index]] == (index,)


def test_a_label_that_is_also_a_folder_is_refused():
    with pytest.raises(ValueError, match="'infected' is a label and also the folder"):
        branches(("normal", "infected", "infected/covid"))


def test_fair_decisions_give_a_half_to_normal():
    assert fair_shares(SEED) == pytest.approx([1 / 2, 1 / 4, 1 / 4])
    assert fair_shares(("a", "b", "c")) == pytest.approx([1 / 3] * 3)
    assert fair_shares(("n", "a/b/c", "a/b/d", "a/e")) == pytest.approx([1 / 2, 1 / 8, 1 / 8, 1 / 4])
