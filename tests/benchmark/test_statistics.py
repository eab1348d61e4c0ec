from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from densecf.benchmark.matrix import Ablation, Matrix
from densecf.benchmark.results import rows_of
from densecf.benchmark.statistics import (
    EVERY_METHOD,
    MEASURES,
    compare_with_baseline,
    holm,
    ingredient_effects,
    matched_counterfactuals,
    optimism,
    order_of,
    protocol_differences,
)
from densecf.errors import DataError
from densecf.evaluation.comparison import FEWEST_PATIENTS
from tests.benchmark.builders import BEST_GAIN, HIGHER_DSC, LETTER_GAIN, METHOD_GAIN, known_gain, make_results

FEW = Matrix(
    methods=("none", "ssdcl", "s-mvd-cl"),
    seeds=(0, 1),
    protocols=("fair", "authors"),
    authors_seeds=(1,),
    ablation=Ablation(("dvd-cl", "s-mvd-cl"), ("SDRCE", "SDR", "DRCE", "RCE", "SC", "C", "DC", "")),
)


@pytest.fixture(scope="module")
def results():
    return make_results(FEW)


@pytest.fixture(scope="module")
def grid(results):
    return rows_of(results, "ablation")


def test_a_constant_shift_is_found_exactly(results):
    none, *others = rows_of(results, "main")
    compared = compare_with_baseline([none, *others], none)
    assert [found.row for found in compared] == ["SSDCL", "S-MVD-CL"]
    for row, found in zip(others, compared, strict=True):
        gain = known_gain(row.cells[0].cell)
        assert set(found.differences) == set(found.holm) == set(MEASURES)
        for measure, difference in found.differences.items():
            expected = gain * HIGHER_DSC[measure.split("_")[0]]
            assert difference.mean == pytest.approx(expected)
            few = difference.num_patients < FEWEST_PATIENTS
            assert difference.interval == ((None, None) if few else pytest.approx((expected,) * 2))
        assert found.holm["dsc"] == pytest.approx(2 * found.differences["dsc"].p_value), "a family of two, all alike"


def test_only_seeds_that_both_have_are_compared(results):
    """A lucky seed that one row lacks must not pass for a difference."""
    none, _, ours = rows_of(results, "main")
    lucky = replace(none.cells[1], cases=none.cells[1].cases.assign(dsc=lambda cases: cases["dsc"] + 5))
    baseline = replace(none, cells=(none.cells[0], lucky))
    alone = replace(ours, cells=ours.cells[:1])
    gain = known_gain(ours.cells[0].cell)
    assert compare_with_baseline([alone], baseline)[0].differences["dsc"].mean == pytest.approx(gain)
    assert compare_with_baseline([ours], baseline)[0].differences["dsc"].mean == pytest.approx(gain - 2.5)
    other = replace(ours.cells[0], cell=replace(ours.cells[0].cell, seed=7))
    strangers = replace(ours, cells=(other,))
    assert compare_with_baseline([strangers], baseline)[0].differences["dsc"].mean == pytest.approx(gain - 2.5)


def test_seeds_are_averaged_case_by_case(results):
    none, _, ours = rows_of(results, "main")
    first, second = ours.cells
    shifted = replace(first, cases=first.cases.assign(dsc=first.cases["dsc"] + np.arange(len(first.cases))))
    (found,) = compare_with_baseline([replace(ours, cells=(shifted, second))], none)
    assert found.differences["dsc"].mean == pytest.approx(known_gain(ours.cells[0].cell) + 19 / 4)


def test_effects_are_of_seeds_that_both_have():
    matrix = Matrix(methods=("none",), ablation=Ablation(("dvd-cl",), ("SC", "C"), seeds=(0, 1)))
    with_, without = rows_of(make_results(matrix), "ablation")
    lucky = replace(with_, cells=(with_.cells[0], _raised(with_.cells[1], 5.0)))
    rows = [lucky, replace(without, cells=without.cells[:1])]
    for effects in (ingredient_effects(rows), matched_counterfactuals(rows)):
        assert effects[0].differences["dsc"].mean == pytest.approx(LETTER_GAIN["S"])


def test_holm_by_hand():
    # 0.01 < 0.05 / 4 and 0.013 < 0.05 / 3 but 0.03 > 0.05 / 2: two of four stand.
    corrected = holm({"a": 0.03, "b": 0.01, "c": 0.04, "d": 0.013})
    assert corrected == pytest.approx({"b": 0.04, "d": 0.04, "a": 0.06, "c": 0.06})
    assert holm({}) == {}
    assert holm({"a": 0.5, "b": 0.6}) == pytest.approx({"a": 1.0, "b": 1.0})


@settings(max_examples=15)
@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=12))
def test_holm_against_its_definition(p_values):
    family = {str(index): p for index, p in enumerate(p_values)}
    ordered, highest, expected = sorted(family, key=family.__getitem__), 0.0, {}
    for rank, name in enumerate(ordered):
        highest = max(highest, min(1.0, (len(ordered) - rank) * family[name]))
        expected[name] = highest
    assert holm(family) == pytest.approx(expected)


def test_an_additive_grid_gives_back_its_letters(grid):
    effects = {(effect.letters, effect.method): effect for effect in ingredient_effects(grid)}
    methods = ("DVD-CL", "S-MVD-CL", EVERY_METHOD)
    assert set(effects) == {(letter, method) for letter in "SDC" for method in methods}, "R and E have no pair"
    for (letter, _), effect in effects.items():
        assert effect.differences["dsc"].mean == pytest.approx(LETTER_GAIN[letter])
        assert effect.differences["hd95"].mean == pytest.approx(LETTER_GAIN[letter] * HIGHER_DSC["hd95"])
    assert effects["S", "DVD-CL"].pairs == (("SDRCE", "DRCE"), ("SC", "C"))
    assert effects["D", "DVD-CL"].pairs == (("DRCE", "RCE"), ("DC", "C"))
    assert effects["C", "DVD-CL"].pairs == (("C", ""),)
    assert [effects["S", method].num_pairs for method in methods] == [2, 2, 4]


def test_effects_of_pairs_and_methods_are_averaged():
    def gain(cell):
        extra = {("dvd-cl", "SC"): 1.0, ("s-mvd-cl", "SC"): 3.0, ("dvd-cl", "SDC"): 5.0}
        return extra.get((cell.method, cell.views), 0.0)

    matrix = Matrix(methods=("none",), ablation=Ablation(("dvd-cl", "s-mvd-cl"), ("C", "SC", "DC", "SDC")))
    effects = ingredient_effects(rows_of(make_results(matrix, gain), "ablation"))
    found = {effect.method: effect.differences["dsc"].mean for effect in effects if effect.letters == "S"}
    assert found == pytest.approx({"DVD-CL": (1 + 5) / 2, "S-MVD-CL": (3 + 0) / 2, EVERY_METHOD: (1 + 5 + 3 + 0) / 4})


def test_counterfactuals_at_the_same_augmentation(grid):
    found = {(effect.method, *effect.pairs[0]): effect for effect in matched_counterfactuals(grid)}
    pairs = [("SDRCE", "RCE"), ("DRCE", "RCE"), ("SC", "C"), ("DC", "C")]
    assert list(found) == [(method, *pair) for pair in pairs for method in ("DVD-CL", "S-MVD-CL", EVERY_METHOD)]
    assert found["DVD-CL", "SDRCE", "RCE"].letters == "SD"
    assert found["DVD-CL", "SDRCE", "RCE"].differences["dsc"].mean == pytest.approx(0.75)
    assert found[EVERY_METHOD, "SC", "C"].differences["dsc"].mean == pytest.approx(0.25)


def test_a_case_undefined_in_one_pair_is_left_out(grid):
    def spoil(row):
        cell = row.cells[0]
        spoilt = cell.cases.assign(hd95=cell.cases["hd95"].mask(cell.cases["case"] == "case03"))
        return replace(row, cells=(replace(cell, cases=spoilt),))

    rows = [spoil(row) if (row.name, row.views) == ("DVD-CL", "SC") else row for row in grid]
    effect = next(effect for effect in ingredient_effects(rows) if effect.letters == "S")
    assert effect.differences["hd95"].num_undefined == 1
    assert effect.differences["hd95"].mean == pytest.approx(LETTER_GAIN["S"] * HIGHER_DSC["hd95"])


def test_grids_that_do_not_fit_are_refused(grid):
    with pytest.raises(DataError, match="stands twice"):
        ingredient_effects([*grid, grid[0]])
    short = replace(grid[0], cells=(replace(grid[0].cells[0], cases=grid[0].cells[0].cases[1:]),))
    with pytest.raises(DataError, match="different cases"):
        ingredient_effects([short if row is grid[0] else row for row in grid])


def test_protocols_compare_the_seeds_that_both_have(results):
    fair, authors = rows_of(results, "main"), rows_of(results, "main", "authors")
    fair[1] = replace(fair[1], cells=(_raised(fair[1].cells[0], 50.0), fair[1].cells[1]))  # seed 0 takes no part
    found = {row.row: row for row in protocol_differences(fair, authors)}
    assert {row.seeds for row in found.values()} == {(1,)}
    ssdcl = found["SSDCL"]
    lost = -LETTER_GAIN["R"] - LETTER_GAIN["C"]
    assert ssdcl.differences["dsc"].mean == pytest.approx(lost)
    assert ssdcl.authors["dsc"]["mean"] - ssdcl.fair["dsc"]["mean"] == pytest.approx(lost)
    assert ssdcl.authors_best["dsc"]["mean"] - ssdcl.authors["dsc"]["mean"] == pytest.approx(BEST_GAIN)
    assert ssdcl.optimism == pytest.approx(
        {measure: BEST_GAIN * HIGHER_DSC[measure.split("_")[0]] for measure in MEASURES}
    )
    assert protocol_differences(fair, []) == []


def test_optimism_of_one_row(results):
    assert optimism(rows_of(results, "main")[0])["asd"] == pytest.approx(BEST_GAIN * HIGHER_DSC["asd"])


def test_order_and_its_deviations(results):
    rows = rows_of(results, "main")  # None < SSDCL < S-MVD-CL
    published = {"None": 80.0, "SSDCL": 94.0, "S-MVD-CL": 93.0, "SimCLR": 70.0}
    order = order_of(rows, published)
    assert order.ranks == {"None": 3, "SSDCL": 2, "S-MVD-CL": 1}
    assert order.published_ranks == {"None": 3, "SSDCL": 1, "S-MVD-CL": 2}
    assert order.tau == pytest.approx(1 / 3)
    (deviation,) = order.deviations
    assert (deviation.first, deviation.second, deviation.published) == ("S-MVD-CL", "SSDCL", -1.0)
    gain = METHOD_GAIN["s-mvd-cl"] - METHOD_GAIN["ssdcl"] + LETTER_GAIN["S"] + LETTER_GAIN["D"]
    assert deviation.difference.mean == pytest.approx(gain)
    assert deviation.difference.significant


def test_order_that_cannot_be_compared(results):
    rows = rows_of(results, "main")
    assert order_of(rows, {"SSDCL": 94.0}).tau is None
    alike = order_of(rows[:2], {"None": 90.0, "SSDCL": 90.0})
    assert alike.tau is None
    assert alike.published_ranks == {"None": 1.5, "SSDCL": 1.5}
    assert [(found.first, found.second) for found in alike.deviations] == [("SSDCL", "None")], "the paper had a tie"


@settings(max_examples=20)
@given(st.permutations(["None", "SSDCL", "S-MVD-CL"]))
def test_deviations_count_what_tau_counts(results, names):
    rows = [_light(row) for row in rows_of(results, "main")]
    order = order_of(rows, {name: float(place) for place, name in enumerate(names)})
    assert order.tau == pytest.approx(1 - 2 * len(order.deviations) / 3)
    assert order.tau == pytest.approx(kendalltau(list(order.dsc.values()), list(order.published.values())).statistic)


def _raised(result, points: float):
    return replace(result, cases=result.cases.assign(dsc=result.cases["dsc"] + points))


def _light(row):
    """One seed, for speed."""
    return replace(row, cells=row.cells[:1])


def test_a_case_undefined_under_one_seed_is_left_out(results):
    """Its mean over the other seeds would be compared with one over all of them."""
    none, _, ours = rows_of(results, "main")
    pair = [replace(row, cells=(row.cells[0], _raised(row.cells[1], 50.0))) for row in (none, ours)]
    spoilt = pair[1].cells[0].cases
    spoilt = spoilt.assign(dsc=spoilt["dsc"].mask(spoilt["case"] == "case03"))
    pair[1] = replace(pair[1], cells=(replace(pair[1].cells[0], cases=spoilt), pair[1].cells[1]))
    found = compare_with_baseline([pair[1]], pair[0])[0].differences["dsc"]
    assert found.num_undefined == 1
    assert found.mean == pytest.approx(known_gain(ours.cells[0].cell))
