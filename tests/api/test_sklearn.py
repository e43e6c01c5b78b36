"""The estimator: scikit-learn's own checks as far as they apply to paths, and what it learns."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.utils import estimator_checks

from hilum.errors import UsageError
from hilum.sklearn import RadiographClassifier

# Those of `check_estimator` that need no X, or whose X may be anything.
CHECKS = (
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_valid_tag_types,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_set_params,
    estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
    estimator_checks.check_mixin_order,
)
SMALL = {"size": 32, "epochs": 12, "batch_size": 8, "network.options.width": 4, "network.options.blocks": [1, 1]}
SMALL |= {"equalise": False, "local_contrast": 0, "progressive_size": 0, "translate": 0, "scale": 0, "aspect": 0}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_scikit_learns_checks_pass(check):
    check("RadiographClassifier", RadiographClassifier())


@pytest.fixture(scope="module")
def two(squares):
    """Paths of normal and covid images, numbers as labels, and patients of two images each."""
    files = [file for label in ("normal", "infected/covid") for file in sorted((squares / "train" / label).iterdir())]
    y = np.array([int("covid" in str(file)) for file in files])
    return files, y, np.arange(len(files)) // 2


@pytest.fixture(scope="module")
def fitted(two, tmp_path_factory):
    files, y, groups = two
    out = tmp_path_factory.mktemp("sklearn") / "run"
    return RadiographClassifier(random_state=0, settings=SMALL, out=out).fit(files, y, groups=groups)


def test_it_learns_and_keeps_the_labels_as_they_are(fitted, two):
    files, y, groups = two
    assert list(fitted.classes_) == [0, 1]
    probabilities = fitted.predict_proba(files)
    assert probabilities.shape == (len(files), 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert np.array_equal(fitted.predict(files), fitted.classes_[probabilities.argmax(axis=1)])
    assert fitted.score(files, y) > 0.8
    patients = {}
    for row in fitted.run_.rows:
        patients.setdefault(row.patient_id, set()).add(row.split)
    assert len(patients) == len(set(groups))
    assert all(len(splits) == 1 for splits in patients.values())


@pytest.mark.ci
def test_the_same_seed_gives_the_same_probabilities(fitted, two, tmp_path):
    files, y, groups = two
    again = clone(fitted).set_params(out=None).fit(files, y, groups=groups)
    assert again.run_ is None
    np.testing.assert_array_equal(again.predict_proba(files[:9]), fitted.predict_proba(files[:9]))


@pytest.mark.slow
def test_it_works_in_a_search_over_groups(two):
    files, y, groups = two
    estimator = RadiographClassifier(random_state=0, settings=SMALL | {"epochs": 1})
    grid = {"settings": [SMALL | {"epochs": 1}, SMALL | {"epochs": 2}]}
    search = GridSearchCV(estimator, grid, cv=GroupKFold(2), refit=False, error_score="raise")
    search.fit(files, y, groups=groups)
    assert len(search.cv_results_["mean_test_score"]) == 2


def test_before_fit_nothing_is_predicted(two):
    with pytest.raises(NotFittedError):
        RadiographClassifier().predict(two[0])


def test_what_does_not_fit_together_is_refused(two):
    files, y, groups = two
    for wrong in ((files, y[:-1], groups), (files, y, groups[:-1]), (np.zeros((4, 8, 8)), y[:4], None)):
        with pytest.raises(UsageError):
            RadiographClassifier(settings=SMALL).fit(wrong[0], wrong[1], groups=wrong[2])


@pytest.mark.parametrize(
    "change",
    [
        lambda files, y: (["/nowhere.png", *files[1:]], y),
        lambda files, y: ([*files, files[0]], np.append(y, 1 - y[0])),
        lambda files, y: (files, [None, *y[1:]]),
        lambda files, y: (files, np.where(np.arange(len(y)) == 3, np.nan, y)),
        lambda files, y: (files, ["", *map(str, y[1:])]),
    ],
)
def test_images_that_are_missing_or_contradict_are_refused(two, change):
    with pytest.raises(UsageError):
        RadiographClassifier(settings=SMALL).fit(*change(two[0], two[1]))


def test_groups_that_are_not_known_are_no_patient(two):
    from hilum.sklearn import _name

    assert [_name(value) for value in (None, float("nan"), "", "p1", 7)] == ["", "", "", "p1", "7"]
