"""Attribute values of a card: which go together, and drawing them so that pairs of values are covered. Pure.

Greedy pairwise covering after AETG (Cohen et al. 1997, doi:10.1109/32.605761): of a few random combinations without a
conflict, the one with the most pairs that no prompt has had yet; when all were had, the one with the rarest.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

Values = Mapping[str, Sequence[str]]
"""Attribute to the values that it may take."""

Rule = Mapping[str, str | list[str]]
"""Attribute (or `label`) to the values that never stand together with the others' of the rule."""

Pair = tuple[str, str, str, str]
"""Two attributes with a value each, the attributes in their order; of a lone attribute, itself twice."""

TRIES = 32
"""Random combinations that one is chosen from."""


def options(values: Values, own: Values, label: str, labels: Iterable[str]) -> dict[str, list[str]]:
    """Return the values that each attribute may take with *label*; a label's *own* values stand before the general.

    Where an attribute names this label and others (`mood: [positive, negative]`), the others contradict it.
    """
    others = {other.casefold() for other in labels if other != label}
    found: dict[str, list[str]] = {}
    for name, given in {**values, **own}.items():
        names_it = label.casefold() in {value.casefold() for value in given}
        found[name] = [value for value in given if not (names_it and value.casefold() in others)]
    return found


def allowed(drawn: Mapping[str, str], rules: Iterable[Rule]) -> bool:
    """Tell whether no rule holds of *drawn* in all of its attributes."""
    return not any(all(drawn.get(name) in _listed(values) for name, values in rule.items()) for rule in rules)


def complete(
    values: Values, rules: Sequence[Rule], fixed: Mapping[str, str], rng: random.Random | None = None
) -> dict[str, str] | None:
    """Return *fixed* with a value for every other attribute so that no rule holds, at random; None if there is none."""
    if not allowed(fixed, rules):
        return None
    name = next((name for name in values if name not in fixed), None)
    if name is None:
        return dict(fixed)
    given = list(values[name])
    if rng:
        rng.shuffle(given)
    for value in given:
        found = complete(values, rules, {**fixed, name: value}, rng)
        if found is not None:
            return found
    return None


def draw(
    values: Values,
    rules: Sequence[Rule],
    label: str,
    before: Sequence[Mapping[str, str]],
    rng: random.Random,
    *,
    at_once: int,
    covering: bool = True,
) -> dict[str, str]:
    """Return a value for up to *at_once* attributes, chosen after those that were drawn *before* with the same label."""
    had = Counter(pair for drawn in before for pair in pairs(drawn, values))
    candidates = []
    for _ in range(TRIES if covering else 1):
        names = sorted(rng.sample(list(values), min(at_once, len(values))), key=list(values).index)
        found = complete({name: values[name] for name in names}, rules, {"label": label}, rng)
        if found is not None:
            candidates.append({name: found[name] for name in names})
    scores = [[had[pair] for pair in pairs(drawn, values)] for drawn in candidates]
    places = range(len(candidates))
    best = min(places, key=lambda i: (-sum(not times for times in scores[i]), sum(scores[i])), default=None)
    return {} if best is None else candidates[best]


def pairs(drawn: Mapping[str, str], values: Values) -> list[Pair]:
    """Return the pairs of values in *drawn*; of a lone attribute its value, paired with itself."""
    known = [(name, drawn[name]) for name in values if name in drawn]
    if len(values) == 1:
        return [(name, value, name, value) for name, value in known]
    return [(a, v, b, w) for (a, v), (b, w) in combinations(known, 2)]


def coverage(values: Values, rules: Sequence[Rule], label: str, drawn: Iterable[Mapping[str, str]]) -> tuple[int, int]:
    """Return how many pairs of values some prompt has had, and how many can be had."""
    possible = {
        pair
        for a, b in (combinations(values, 2) if len(values) > 1 else [(name, name) for name in values])
        for v in values[a]
        for w in ([v] if a == b else values[b])
        if allowed({"label": label, a: v, b: w}, rules)
        for pair in [(a, v, b, w)]
    }
    had = {pair for each in drawn for pair in pairs(each, values)}
    return len(had & possible), len(possible)


def check_attributes(
    labels: Mapping[str, str], general: Values, of_labels: Mapping[str, Values], conflicts: Sequence[Rule]
) -> None:
    """Raise ValueError unless every value of every attribute can stand in some prompt of its label."""
    named = [*general.items(), *(pair for own in of_labels.values() for pair in own.items())]
    for name, given in named:
        _check_values(name, given)
    known: dict[str, set[str]] = {"label": set(labels)}
    for name, given in named:
        known.setdefault(name, set()).update(given)
    for number, rule in enumerate(conflicts, 1):
        _check_rule(f"conflicts: rule {number}", rule, known)
    if not conflicts:
        return
    for label in labels or {"": ""}:
        own = of_labels.get(label, {})
        values = options(general, own, label, labels)
        for name, given in values.items():
            for value in given:
                fixed = {"label": label, name: value}
                if allowed(fixed, conflicts) and complete(values, conflicts, fixed) is None:
                    raise ValueError(
                        f"attributes: {name}={value!r} contradicts every value of another attribute"
                        f"{f' for label {label!r}' if label else ''}: take it out, or a rule of conflicts"
                    )
            if not any(allowed({"label": label, name: value}, conflicts) for value in given):
                raise ValueError(f"attributes: conflicts leave {name!r} no value for label {label!r}: take a rule out")


def _check_values(name: str, given: Sequence[str]) -> None:
    if name == "label":
        raise ValueError("attributes: 'label' is the name of the label itself")
    if not given:
        raise ValueError(f"attributes: {name!r} has no values")
    folded = [value.strip().casefold() for value in given]
    twice = next((value for value in given if folded.count(value.strip().casefold()) > 1), None)
    if twice is not None:
        raise ValueError(f"attributes: {name!r} has the value {twice!r} twice")
    if "" in folded:
        raise ValueError(f"attributes: {name!r} has an empty value")


def _check_rule(where: str, rule: Rule, known: Mapping[str, set[str]]) -> None:
    if len(rule) < 2:
        raise ValueError(f"{where} names {len(rule)} attributes: it takes two to contradict each other")
    for name, values in rule.items():
        if name not in known:
            raise ValueError(f"{where}: {name!r} is no attribute; known: {', '.join(sorted(known))}")
        strange = [value for value in _listed(values) if value not in known[name]]
        if strange or not _listed(values):
            raise ValueError(f"{where}: {name!r} has no value {strange[0] if strange else ''!r}")


def _listed(values: str | list[str]) -> list[str]:
    return [values] if isinstance(values, str) else values
