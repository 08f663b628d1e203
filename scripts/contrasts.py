"""Settings against a base, paired item by item, seeds as clusters, and Holm's correction over all that is asked."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from latro.errors import InputError
from scripts import paired, stats
from scripts.sheets import Sheet

ALPHA = 0.05
LONGEST = 100
"""Letters of a setting that a warning shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What one row of the comparison is about: one run, or several that differ in their seed alone."""

    label: str
    sheets: tuple[Sheet, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """An item's value on both sides; of several seeds the mean."""

    id: str
    before: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """One measure of one setting against that of the base."""

    setting: str
    base: str
    measure: str
    kind: str
    before: float
    after: float
    difference: stats.Estimate
    test: str
    p: float
    adjusted: float = 1.0
    """Holm's p over the table."""
    detectable: float
    """The true difference that this comparison, alone, finds four times in five; infinite if that is not known."""
    seeds: tuple[int, int]
    """Runs of the setting and of the base."""
    pairs: tuple[Pair, ...]
    """All items."""
    only_one_side: int
    """Items that either side could not play; left out."""

    @property
    def survives(self) -> bool:
        """Whether it stands after Holm's correction."""
        return self.adjusted < ALPHA

    @property
    def flips(self) -> list[Pair]:
        """Items that changed."""
        return [pair for pair in self.pairs if abs(pair.after - pair.before) > stats.SMALLEST]

    def bootstrap(self) -> stats.Estimate:
        """The paired bootstrap over items, as a second opinion; of several seeds it leaves the spread out."""
        return paired.bootstrap([pair.after for pair in self.pairs], [pair.before for pair in self.pairs])

    @property
    def won(self) -> int:
        """Items that rose."""
        return sum(flip.after > flip.before for flip in self.flips)

    @property
    def lost(self) -> int:
        """Items that fell."""
        return sum(flip.after < flip.before for flip in self.flips)


def contrasts(settings: Sequence[Setting], wanted: Sequence[str] = ()) -> list[Contrast]:
    """Every measure of every later setting against the first's; `wanted` names measures, or how they begin.

    Raises InputError for runs that asked other items, graded otherwise or were made of another version.
    """
    base = settings[0]
    everyone = [sheet for setting in settings for sheet in setting.sheets]
    for sheet in everyone[1:]:
        refuse_unlike(everyone[0], sheet)
    names = [name for name in everyone[0].measures if not wanted or name.startswith(tuple(wanted))]
    for prefix in wanted:
        if not any(name.startswith(prefix) for name in names):
            raise InputError(f"metric={prefix}: no such metric; there are {', '.join(everyone[0].measures)}")
    found = [
        contrast
        for setting in settings[1:]
        for name in names
        if (contrast := _contrast(setting, base, name)) is not None
    ]
    adjusted = paired.holm([contrast.p for contrast in found])
    return [replace(contrast, adjusted=p) for contrast, p in zip(found, adjusted, strict=True)]


def refuse_unlike(first: Sheet, other: Sheet) -> None:
    """Raise InputError unless both asked the same items of the same version, measured in the same way."""
    where = f"{first.name} and {other.name}"
    for key in [*first.identity, *(key for key in other.identity if key not in first.identity)]:
        left, right = first.identity.get(key), other.identity.get(key)
        if left != right:
            raise InputError(f"{where} differ in {key}: {left} and {right}; run both on the same")
    # pass^k is of the longest series of attempts, which failures of the server may have cut short in one arm; a gold
    # rationale may not fit into one model's context.
    maybe = ("pass^", "logp_answer,gold")
    left_names, right_names = (
        [name for name in sheet.measures if not name.startswith(maybe)] for sheet in (first, other)
    )
    if sorted(left_names) != sorted(right_names):
        alone = ", ".join(sorted(set(left_names) ^ set(right_names)))
        raise InputError(f"{where} differ in graders: only one has {alone}; evaluate both with the same")
    alone_ids = sorted(first.items.keys() ^ other.items.keys())
    if alone_ids:
        holder = first.name if alone_ids[0] in first.items else other.name
        raise InputError(
            f"{where} differ in {len(alone_ids)} items, the first {alone_ids[0]}, which only {holder} has; evaluate "
            "both to the end and with the same limit"
        )
    for id, row in first.items.items():
        for key in ("prompt", "gold"):
            both = key in row and key in other.items[id]  # older runs kept no prompts
            if both and row[key] != other.items[id][key]:
                raise InputError(f"{where} differ in the {key} of {id}; evaluate both on the same data")


def refuse_no_number(sheet: Sheet, name: str, ids: Sequence[str]) -> None:
    """Raise InputError for a value that is infinite or not a number, as a broken model leaves it."""
    broken = next((id for id in ids if not math.isfinite(sheet.measures[name].values[id])), None)
    if broken is not None:
        value = sheet.measures[name].values[broken]
        raise InputError(
            f"{sheet.name}: {name} of {broken} is {value}: the model's weights have run away; compare other measures "
            "by --metric, or evaluate another checkpoint"
        )


def unlike_settings(settings: Sequence[Setting]) -> Iterator[str]:
    """What may differ between runs but should be known: a line for each."""
    left, *others = [sheet for setting in settings for sheet in setting.sheets]
    for right in others:
        for key, value in left.settings.items():
            if key in right.settings and value != right.settings[key]:  # an older run may not have kept it
                both = " and ".join(_shortened(each) for each in (value, right.settings[key]))
                yield f"{left.name} and {right.name} differ in {key}: {both}"
    for setting in settings:
        yield from _repeated_seeds(setting)


def _repeated_seeds(setting: Setting) -> Iterator[str]:
    """A seed is the evaluation's: only equal outcomes tell copies of a run from several trainings' checkpoints."""
    for seed in sorted({sheet.seed for sheet in setting.sheets if sheet.seed is not None}):
        measured = [sheet.measures for sheet in setting.sheets if sheet.seed == seed]
        alike = {left == right for left, right in combinations(measured, 2)}
        if True in alike:
            yield f"{setting.label} has several runs of seed {seed}: copies of a run are no further evidence"
        if False in alike:
            yield (
                f"{setting.label} has unlike runs that were evaluated under one seed, {seed}: they are not paired with "
                "another setting's by seed; evaluate each under its own for that"
            )


def _shortened(value: object) -> str:
    """A setting on one line; of a long one, as a worked example is, the beginning."""
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def _contrast(setting: Setting, base: Setting, name: str) -> Contrast | None:
    """None if no item counts on both sides."""
    if not all(name in sheet.measures for sheet in (*base.sheets, *setting.sheets)):
        return None
    new, old = ([sheet.measures[name].values for sheet in side.sheets] for side in (setting, base))
    ids = [id for id in old[0] if all(id in values for values in (*new, *old))]
    if not ids:
        return None
    for sheet in (*base.sheets, *setting.sheets):
        refuse_no_number(sheet, name, ids)
    after_SN, before_SN = (np.array([[values[id] for id in ids] for values in side]) for side in (new, old))
    after_N, before_N = after_SN.mean(axis=0), before_SN.mean(axis=0)
    kinds = {sheet.measures[name].kind for sheet in (*base.sheets, *setting.sheets)}
    kind = kinds.pop() if len(kinds) == 1 else "score"
    found = _over_seeds(setting, base, after_SN, before_SN) if max(len(new), len(old)) > 1 else None
    if found is None:
        # One run a side; or no mean over seeds or items varies, as where all are right, which is no certainty.
        found = _right(after_SN[0] == 1, before_SN[0] == 1) if kind == "right" else _scored(after_N, before_N)
    difference, test, p, detectable = found
    return Contrast(
        setting=setting.label,
        base=base.label,
        measure=name,
        kind=kind,
        before=float(before_N.mean()),
        after=float(after_N.mean()),
        difference=difference if kind == "nats" else stats.within(difference, -1.0, 1.0),
        test=test,
        p=p,
        detectable=detectable,
        seeds=(len(new), len(old)),
        pairs=tuple(
            Pair(id=id, before=float(b), after=float(a))
            for id, b, a in zip(ids, before_N, after_N, strict=True)
        ),
        only_one_side=len(setting.sheets[0].items) - len(ids),
    )


Found = tuple[stats.Estimate, str, float, float]
"""Difference, name of the test, p, and the difference that could have been seen."""


def _right(after_N: np.ndarray, before_N: np.ndarray) -> Found:
    """Of right and wrong."""
    won, lost, p = stats.mcnemar(after_N.tolist(), before_N.tolist())
    n = len(after_N)
    return stats.share_difference(won, lost, n), "McNemar, exact", p, paired.detectable_share(won, lost, n)


def _scored(after_N: np.ndarray, before_N: np.ndarray) -> Found:
    """Of scores and log-likelihoods; where all items changed alike, there are no bounds and nothing is seen."""
    after, before = after_N.tolist(), before_N.tolist()
    difference = stats.paired_difference(after, before)
    detectable = math.inf
    if math.isfinite(difference.low) and 2 * 0.5 ** len(after) < ALPHA:  # else no p can be so small
        detectable = paired.minimum_detectable(difference.stderr, len(after) - 1)
    return difference, "sign flip", paired.sign_flip(after, before), detectable


def _over_seeds(setting: Setting, base: Setting, after_SN: np.ndarray, before_SN: np.ndarray) -> Found | None:
    """Of several seeds; None if they and the items show no spread, or if each side has copies of one run."""
    alike = [bool((side_SN == side_SN[0]).all()) for side_SN in (after_SN, before_SN)]
    if all(alike):
        return None
    seeds = _seeds(setting)
    matched = seeds is not None and seeds == _seeds(base)
    if not matched:  # a run is one, however often it is named
        after_SN, before_SN = (
            side_SN[:1] if same else side_SN
            for side_SN, same in zip((after_SN, before_SN), alike, strict=True)
        )
    found = paired.clustered(after_SN, before_SN, matched=matched)
    if not found.spread.shown:
        return None
    return found.difference, "seeds and items", found.p, found.detectable()


def ordered_by_seed(label: str, sheets: Sequence[Sheet]) -> Setting:
    """A setting with its runs in the order of their seeds, so that equal seeds stand in equal places."""
    if len({sheet.folder for sheet in sheets}) < len(sheets):
        raise InputError(f"{label}: a run is named twice; name each once")
    return Setting(
        label=label, sheets=tuple(sorted(sheets, key=lambda s: (s.seed is None, s.seed or 0, s.name)))
    )


def _seeds(setting: Setting) -> list[int] | None:
    """Its seeds; None unless all are known and unlike."""
    seeds = [sheet.seed for sheet in setting.sheets if sheet.seed is not None]
    return seeds if len(set(seeds)) == len(setting.sheets) else None


def by_setting(found: Sequence[Contrast]) -> Mapping[tuple[str, str], list[Contrast]]:
    """The contrasts of each setting with its base, in order."""
    groups: dict[tuple[str, str], list[Contrast]] = {}
    for contrast in found:
        groups.setdefault((contrast.setting, contrast.base), []).append(contrast)
    return groups
