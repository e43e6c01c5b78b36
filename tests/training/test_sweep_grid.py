"""What a sweep tries."""

import pytest

from hilum.errors import RecipeError
from hilum.training.sweep_grid import parse_grid, trial_names


def test_several_values_are_swept_and_one_is_fixed():
    fixed, swept = parse_grid(["lr=0.001,0.01, 0.1,1.0", "epochs=3", "optimiser=adam,sgd"])
    assert fixed == ["training.epochs=3"]
    assert swept == {"training.lr": ["0.001", "0.01", "0.1", "1.0"], "training.optimiser": ["adam", "sgd"]}


def test_architectures_are_networks_unless_all_are_hierarchies():
    assert parse_grid(["architecture=flat,cascade"])[1] == {"hierarchy": ["flat", "cascade"]}
    assert parse_grid(["architecture=compact,vgg16-bn"])[1] == {"network.architecture": ["compact", "vgg16-bn"]}


def test_commas_within_a_value_divide_nothing():
    fixed, swept = parse_grid(
        ["network.options.blocks=[1, 1]", "augmentation={},{rotate=10, translate=0.1}", "name='a,b',c"]
    )
    assert fixed == ["network.options.blocks=[1, 1]"]
    assert swept == {"augmentation": ["{}", "{rotate=10, translate=0.1}"], "name": ["'a,b'", "c"]}


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        (["learning_rat=1,2"], "unknown-key"),
        (["epoch=1,2"], "unknown-key"),
        (["lr"], "malformed-setting"),
        (["epochs=3"], "nothing-swept"),
        ([], "nothing-swept"),
        (["lr=0.1,0.2", "training.lr=0.3,0.4"], "key-twice"),
        (["lr=0.1,0.2", "lr=0.3"], "key-twice"),
        (["lr=0.3", "lr=0.1,0.2"], "key-twice"),
        (["lr=0.1,0.10"], "value-twice"),
        (["lr="], "empty-value"),
        (["lr=0.1,"], "empty-value"),
    ],
)
def test_what_cannot_be_swept_is_said(settings, code, refuses):
    with refuses(RecipeError, code):
        parse_grid(settings)


def test_names_say_what_changes_and_are_folders():
    (one,) = trial_names([{"training.seed": "1", "network.options.width": "8"}])
    assert one == "1-training.seed=1,width=8"  # splits have a seed, too
    names = trial_names([{"training.lr": f"0.{i}", "augmentation": "{rotate=10, reflect=0.5}"} for i in range(12)])
    assert names[1] == "02-lr=0.1,augmentation=_rotate=10,_reflect=0.5_"
    assert len(set(names)) == 12
    assert names == sorted(names)
    long, other = trial_names([{"name": "/" + "x" * 300}, {"name": "/" + "x" * 301}])
    assert long != other
    assert len(long) < 100
    assert "/" not in long
