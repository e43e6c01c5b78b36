"""What ``comparison.json`` says, in words, on the terminal and on the page. Differences are second minus first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from hilum.report.evaluation_console import optimistic
from hilum.text import cell_text, escape, fraction, interval_text, p_equals, plural, signed, signed_range

Facts = Mapping[str, Any]
SIGNIFICANT = 0.05


def excludes_zero(difference: Mapping[str, float | None]) -> bool:
    """Whether an interval lies wholly on one side of zero; one without width says nothing."""
    low, high = difference["low"], difference["high"]
    return low is not None and high is not None and low < high and (low > 0 or high < 0)


def verdict(facts: Facts) -> str:
    """The comparison in one sentence, read by the most probable label."""
    where = f"On the same {plural(facts['n_images'], 'image')}"
    if facts["n_patients"] is not None:
        where += f" of {plural(facts['n_patients'], 'patient')}"
    first, second = (run["name"] for run in facts["runs"])
    if facts["same_answers"]:
        return f"{where}, {first} and {second} give the same answers."
    return f"{where}, {outcome(facts, next(iter(facts['rules'].values())))}."


def outcome(facts: Facts, found: Facts) -> str:
    """What changed most, and which run is right more often, and whether that could be chance.

    Args:
        facts: What ``comparison.json`` holds.
        found: One of its rules.
    """
    return f"{most_changed(facts, found)}{_more_often(facts, found)}"


def most_changed(facts: Facts, found: Facts) -> str:
    """The recalls that changed most, if by more than the overall accuracy; else empty.

    One label may be lost while the accuracy hardly moves, so the largest change leads, and before it the positive
    label's if that falls. Only changes whose interval excludes zero count.

    Args:
        facts: What ``comparison.json`` holds.
        found: One of its rules.
    """
    changes = {
        label: entry["difference"]["value"]
        for label, entry in found["recall"].items()
        if excludes_zero(entry["difference"])
    }
    largest = max(changes, key=lambda label: abs(changes[label]), default="")
    if largest and abs(changes[largest]) <= abs(found["accuracy"]["difference"]["value"]):
        largest = ""
    positive = facts["positive_label"] if changes.get(facts["positive_label"] or "", 0.0) < 0 else ""
    return "".join(_changed(facts, found, label) for label in dict.fromkeys((positive, largest)) if label)


def _changed(facts: Facts, found: Facts, label: str) -> str:
    entry = found["recall"][label]
    moved = "rises" if entry["difference"]["value"] > 0 else "falls"
    before, after = (f"{100 * entry[which]['value']:.1f}" for which in ("first", "second"))
    points = f"{signed(entry['difference']['value'])} points, {_confidence(facts)} {signed_range(entry['difference'])}"
    return f"the sensitivity (recall) of {label} {moved} from {before} to {after} % ({points}); "


def _more_often(facts: Facts, found: Facts) -> str:
    first, second = (run["name"] for run in facts["runs"])
    difference, p_value = found["accuracy"]["difference"], found["patients"]["p_value"]
    measured = f"{_confidence(facts)} {signed_range(difference)}, {p_equals(p_value)}"
    if not difference["value"]:
        alike = not (found["mcnemar"]["first_only"] or found["mcnemar"]["second_only"])
        on = "on the same images" if alike else "not on the same images"
        return f"{first} and {second} are right equally often, {on} ({measured})"
    size = signed(difference["value"]).lstrip("+−")
    more = "more" if difference["value"] > 0 else "less"
    said = f"{second} is right {size} points {more} often than {first}"
    chance, outside = p_value >= SIGNIFICANT, not excludes_zero(difference)
    if chance and outside:
        return f"{said}; that could be chance ({measured})"
    if chance or outside:
        return f"{said}; that is on the border of chance, where interval and p-value disagree ({measured})"
    return f"{said}, more than chance explains ({measured})"


def seed_rows(facts: Facts) -> list[dict[str, Any]]:
    """What one method gains over the other, from several seeds: a row a measure.

    Args:
        facts: What ``comparison.json`` holds.

    Returns:
        ``measure``, ``label``, ``values`` by seed, ``mean`` and ``interval``, and whether that excludes zero
        (``certain``); none without further seeds.
    """
    found = facts.get("over_seeds")
    if not found:
        return []
    rows = [
        ("Accuracy", None, found["accuracy"], 100, 1),
        ("Balanced accuracy", None, found["balanced_accuracy"], 100, 1),
    ]
    rows += [("Sensitivity (recall) of", label, entry, 100, 1) for label, entry in found["recall"].items()]
    rows += [("AUROC of", label, entry, 1, 3) for label, entry in found["auroc"].items()]
    return [
        {
            "measure": measure,
            "label": label,
            "values": ", ".join(signed(value, *unit) for value in entry["values"]),
            "mean": signed(entry["value"], *unit),
            "interval": signed_range(entry, *unit),
            "certain": excludes_zero(entry),
        }
        for measure, label, entry, *unit in rows
    ]


def _confidence(facts: Facts) -> str:
    return f"{100 * facts['intervals']['confidence']:g} % CI"


def p_values(facts: Facts, found: Facts) -> str:
    """Both tests, each with what it counts and takes for granted.

    Args:
        facts: What ``comparison.json`` holds.
        found: One of its rules.
    """
    patients = found["patients"]
    return (
        f"Counting {facts['resampling_unit']}, {p_equals(patients['p_value'])} ({patients['test']} test: it assumes "
        f"that "
        f"{patients['assumes']}). Counting images as if they were independent, {p_equals(found['mcnemar']['p_value'])} "
        "(McNemar's exact test)."
    )


def power(facts: Facts, found: Facts) -> str:
    """What this sample could have shown at all, by one rule."""
    patients = found["patients"]
    count = patients["discordant_patients"]
    unit = facts["resampling_unit"].removesuffix("s")
    told = f"{plural(count, unit)} {'tells' if count == 1 else 'tell'} the two runs apart"
    if not count:
        return f"No {told.removeprefix('0 ').replace('s tell the', ' tells the')}."
    if patients["smallest_significant"] is None:
        return f"Only {told}: too few for any difference to be significant.{_floor(facts, patients)}"
    return (
        f"{told[0].upper()}{told[1:]}. With them, the smallest difference of accuracy that could have been "
        f"significant (p < {SIGNIFICANT}) is {100 * patients['smallest_significant']:.1f} points; a true difference "
        f"of {100 * patients['detectable']:.1f} points would be found in four of five such samples."
        f"{_floor(facts, patients)}"
    )


def _floor(facts: Facts, patients: Facts) -> str:
    if patients["floor"] is None:
        return ""
    return f" No sample of {facts['n_images']:,} images shows less than {100 * patients['floor']:.1f} points."


RULES = {"most_probable": "the most probable label", "down_the_tree": "the label tree, level by level"}


def comparison_table(facts: dict[str, Any]) -> RenderableType:
    """Two runs beside each other, then what may be concluded.

    Args:
        facts: What ``comparison.json`` holds.
    """
    names = [
        f"{which}: [bold]{escape(run['name'])}[/]"
        for which, run in zip(("first", "second"), facts["runs"], strict=True)
    ]
    about = [f"{run['network']} {run['hierarchy']}, seed {run['seed']}, on {run['split']}" for run in facts["runs"]]
    unit = (
        f"of {facts['n_patients']} patients"
        if facts["n_patients"]
        else optimistic(facts.get("with_patient", 0), facts["n_images"])
    )
    lines = [f"{name} ({escape(what)})" for name, what in zip(names, about, strict=True)]
    parts: list[RenderableType] = ["", *lines, f"{facts['n_images']} images {unit}, the same ones for both"]
    parts += [f"[yellow]{escape(note)}[/]" for note in facts["notes"]]
    if facts["runs"][0]["weights_sha256"] == facts["runs"][1]["weights_sha256"]:
        parts.append("[yellow]both hold the same weights: they are one and the same classifier[/]")
    for rule, found in facts["rules"].items():
        parts += ["", _measures(facts, rule, found), *sentences(facts, found)]
    parts += [_areas(facts), *rule_sentences(facts), *_seeds(facts), ""]
    return Group(*parts)


def _measures(facts: dict[str, Any], rule: str, found: dict[str, Any]) -> Table:
    title = f"read by {RULES[rule]}" if len(facts["rules"]) > 1 else "with 95 % intervals"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left")
    table.add_column("%, recall by label", overflow="fold")
    for name in ("first", "second", "second - first"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = [("accuracy", found["accuracy"]), ("balanced accuracy", found["balanced_accuracy"])]
    rows += [(label, found["recall"][label]) for label in facts["labels"]]
    for name, entry in rows:
        star = " [yellow]*[/]" if name == facts["positive_label"] else ""
        table.add_row(escape(name) + star, *_three(entry))
    return table


def _seeds(facts: dict[str, Any]) -> list[RenderableType]:
    rows = seed_rows(facts)
    if not rows:
        return []
    title = f"gain over {facts['over_seeds']['seeds']} pairs of seeds, 95 % CI over seeds and patients"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left")
    table.add_column("points; AUROC", overflow="fold")
    for name in ("by seed", "mean", "95 % CI"):
        table.add_column(name, justify="right", overflow="fold")
    for row in rows:
        bold = "[bold]{}[/]" if row["certain"] else "{}"
        name = f"{row['measure']} {row['label'] or ''}".strip()
        table.add_row(escape(name), *map(escape, (row["values"], row["mean"])), bold.format(escape(row["interval"])))
    return ["", table]


def _areas(facts: dict[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("AUROC", overflow="fold")
    for name in ("first", "second", "second - first"):
        table.add_column(name, justify="right", no_wrap=True)
    for label in facts["labels"]:
        entry = facts["auroc"][label]
        plain = [fraction(entry[which]["value"]) for which in ("first", "second")]
        table.add_row(escape(label), *plain, _three(entry, as_percent=False)[2])
    return table


def _three(entry: dict[str, Any], *, as_percent: bool = True) -> tuple[str, str, str]:
    first, second = (cell_text(entry[which], as_percent=as_percent) for which in ("first", "second"))
    shown = cell_text(entry["difference"], as_percent=as_percent, sign=True)
    return first, second, f"[bold]{shown}[/]" if excludes_zero(entry["difference"]) else shown


def sentences(facts: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What one reading says: what changed, how surely, and what could have been seen; as on the page."""
    table = found["mcnemar"]
    alone = f"right alone: the first on {table['first_only']} images, the second on {table['second_only']}"
    said = outcome(facts, found)
    return [*map(escape, (f"{said[0].upper()}{said[1:]}.", p_values(facts, found), power(facts, found))), alone]


def rule_sentences(facts: dict[str, Any]) -> list[str]:
    """What reading down the tree changes for each run, without any change of the network."""
    if not facts["rule_effect"]:
        return []
    return [
        f"{which}: down the tree instead of the most probable label, accuracy "
        f"{interval_text(effect['accuracy']['difference'], sign=True)}"
        for which, effect in zip(("first", "second"), facts["rule_effect"], strict=True)
    ]
