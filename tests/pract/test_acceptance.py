"""The gate, with a scripted chat; no model."""

from pract.acceptance import accepts, compare, sign_flip


def test_the_gate_is_a_truth_table() -> None:
    old = {"a": 0.0, "b": 1.0, "c": 0.5, "d": 0.5}
    better, equal = {**old, "a": 1.0}, dict(old)
    slightly, clearly = {**old, "b": 0.0}, dict.fromkeys(old, -1.0)
    table = {
        (rule, name): accepts(rule, compare(old, new))
        for rule in ("off", "improve", "not_worse")
        for name, new in (
            ("better", better),
            ("equal", equal),
            ("slightly", slightly),
            ("clearly", clearly),
            ("none", {}),
        )
    }
    assert [name for (rule, name), yes in table.items() if rule == "off" and yes] == [
        "better", "equal", "slightly", "clearly", "none",
    ]  # fmt: skip
    assert [name for (rule, name), yes in table.items() if rule == "improve" and yes] == ["better"]
    assert [name for (rule, name), yes in table.items() if rule == "not_worse" and yes] == [
        "better",
        "equal",
        "slightly",
    ]


def test_a_comparison_pairs_by_task_and_counts_what_is_left_out() -> None:
    found = compare({"a": 0.0, "b": 1.0, "c": 0.0}, {"b": 0.0, "a": 1.0, "x": 1.0})
    assert (found.tasks, found.left_out, found.won, found.lost) == (2, 2, ("a",), ("b",))
    assert found.difference == 0.0


def test_sign_flips_give_exact_probabilities() -> None:
    assert sign_flip([1.0, 1.0, 1.0]) == (1 / 8, 1.0)
    assert sign_flip([1.0, -1.0]) == (0.75, 0.75)
    assert sign_flip([0.0, 0.0]) == (1.0, 1.0)
    better, worse = sign_flip([1.0] * 20)
    assert better < 0.001
    assert worse == 1.0


def test_a_gain_must_be_above_the_least_one() -> None:
    eighth = compare({"a": 0.0, "b": 0.5}, {"a": 0.25, "b": 0.5})
    assert eighth.difference == 0.125
    assert [accepts("improve", eighth, min_gain=least) for least in (0.12, 0.125)] == [True, False]


def test_a_fall_is_forgiven_if_its_p_is_above_alpha() -> None:
    fallen = compare(dict.fromkeys("abc", 1.0), dict.fromkeys("abc", 0.0))
    assert fallen.p_worse == 1 / 8
    assert [accepts("not_worse", fallen, alpha=alpha) for alpha in (0.12, 0.125)] == [True, False]
