"""Which validation is the better one."""

from hilum.training.plan import rank

ROWS = [
    {"val_loss": 0.5, "val_accuracy": 0.80, "val_false_negatives": 3},
    {"val_loss": 0.6, "val_accuracy": 0.85, "val_false_negatives": 1},
    {"val_loss": 0.7, "val_accuracy": 0.85, "val_false_negatives": 1},
]


def test_each_rule_prefers_what_it_says_and_the_loss_decides_ties():
    chosen = {rule: min(ROWS, key=lambda row: rank(row, rule)) for rule in ("loss", "accuracy", "false_negatives")}
    assert chosen == {"loss": ROWS[0], "accuracy": ROWS[1], "false_negatives": ROWS[1]}
