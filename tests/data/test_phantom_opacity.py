"""The opacity and the unseen scanner: what they change, what they must not, and how plainly they show."""

from dataclasses import replace

import numpy as np
import pytest

from densecf.data import phantom
from densecf.data.phantom import ALL_SCANNERS, SCANNERS, UNSEEN_SCANNER, Parents, Record, opacity, rendering
from densecf.data.phantom.anatomy import SIGNS, anatomy, frame, lungs
from densecf.data.phantom.tissue import AIR_IN_LUNG, MU
from tests.data.test_phantom import SIZE, draw, image


def integrals(record: Record, size: int = SIZE) -> np.ndarray:
    return phantom.line_integrals(record.parents, record.noise, size)


def added(record: Record, size: int = SIZE) -> np.ndarray:
    """What the opacity adds to the line integrals."""
    on, off = (phantom.counterfactual(record, opacity=value) for value in (1, 0))
    return integrals(on, size) - integrals(off, size)


def test_default_phantom_is_the_one_it_was_before_there_were_opacities():
    # Means taken at VERSION 1, before opacities and the third scanner existed.
    expected = [[0.698837, 0.566904], [0.584135, 0.723095], [0.495058, 0.323825], [0.390625, 0.539616]]
    found = []
    for number in range(4):
        record = draw(number)
        found.append([float(image(phantom.counterfactual(record, what)).mean()) for what in ("", "scanner=other")])
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert phantom.VERSION == 1
    assert "opacity" not in phantom.cohort(3)
    assert Parents("M", 60.0, SCANNERS[0], 1).opacity == 0


def test_an_image_without_opacity_never_asks_for_one(monkeypatch):
    record = draw(1)
    expected = image(record)
    monkeypatch.setattr(rendering, "consolidation", None)
    np.testing.assert_array_equal(image(record), expected)
    with pytest.raises(TypeError):
        image(phantom.counterfactual(record, opacity=1))


@pytest.mark.parametrize("number", range(12))
def test_opacity_adds_water_where_there_was_gas_in_one_true_lung_and_nowhere_else(number):
    record = draw(number, pleural_effusion=0)
    change = added(record)
    side = opacity.draw_opacity(record.noise).side
    lung = phantom.masks(record.parents, record.noise, SIZE) == (rendering.RIGHT, rendering.LEFT)[side]
    assert (change[~lung] == 0).all()
    assert change.min() >= 0
    assert change.max() > 0.2
    assert 0.02 < (change > 0.1 * change.max())[lung].mean() < 0.75


def test_thin_opacities_add_their_thickness_and_thick_ones_fill_the_lung(monkeypatch):
    record = draw(2, pleural_effusion=0)
    drawn = opacity.draw_opacity(record.noise)

    def change(thickness: float) -> np.ndarray:
        monkeypatch.setattr(opacity, "draw_opacity", lambda noise: replace(drawn, thickness=thickness))
        return added(record).astype(np.float64)

    thin, twice = change(0.1), change(0.2)
    core = thin > 0.9 * np.quantile(thin, 0.995)
    np.testing.assert_allclose(twice[core] / thin[core], 2.0, rtol=5e-3)
    np.testing.assert_allclose(thin[core], MU * AIR_IN_LUNG * 0.1, rtol=0.7)  # uneven by a quarter or so
    last = np.zeros((SIZE, SIZE))
    for thickness in (0.1, 1.0, 4.0, 12.0, 1e4):
        more = change(thickness)
        assert (more >= last - 1e-6).all()
        last = more

    # Where it is dense, nothing but water is left: no gas, no vessel to see.
    a, f = anatomy(record.parents, record.noise), frame(record.noise, SIZE)
    gas = np.full((SIZE, SIZE), 7.0, np.float32)
    replaced = opacity.consolidation(a, record.noise, lungs(a, f), f, gas)
    np.testing.assert_allclose(replaced[core], gas[core], rtol=1e-4)
    assert (replaced <= gas).all()


def test_opacity_is_the_same_on_every_scanner_with_fluid_or_without():
    for number in range(6):
        dry = draw(number, pleural_effusion=0, opacity=1)
        first = integrals(dry)
        for scanner in ALL_SCANNERS:
            np.testing.assert_array_equal(integrals(phantom.counterfactual(dry, scanner=scanner)), first)
        for what in ("pleural_effusion=other", "scanner=other", "sex=other", "age=30"):
            there = phantom.counterfactual(dry, what)
            assert there.parents.opacity == 1
            assert there.noise is dry.noise
        wet = added(phantom.counterfactual(dry, pleural_effusion=1))
        assert (wet <= added(dry) + 1e-5).all()  # fluid leaves less gas to replace, and moves nothing


def test_masks_do_not_see_the_opacity():
    for number in range(4):
        record, other = draw(number), phantom.counterfactual(draw(number), opacity=1)
        for masks in (phantom.masks, phantom.silver_masks):
            np.testing.assert_array_equal(
                masks(record.parents, record.noise, SIZE), masks(other.parents, other.noise, SIZE)
            )


def test_opacity_stays_in_its_place_when_the_chest_changes():
    for number in range(20):
        record = draw(number)
        o = opacity.draw_opacity(record.noise)
        places = [
            opacity._middle(anatomy(parents, record.noise), o)
            for parents in (record.parents, phantom.intervene(record.parents, "sex=other"))
        ]
        assert np.hypot(*np.subtract(*places)) < 0.05
        assert places[0][0] * SIGNS[o.side] > 0


def test_interventions():
    record = draw(3)
    there = phantom.counterfactual(record, "opacity=other")
    assert there.parents == replace(record.parents, opacity=1)
    assert phantom.counterfactual(there, "opacity=other") == record
    assert phantom.counterfactual(record, "opacity=1+scanner=other").parents.opacity == 1
    assert phantom.counterfactual(there, "opacity=0") == record
    with pytest.raises(ValueError, match="opacity"):
        phantom.counterfactual(record, "opacity=2")


def test_opacities_of_all_kinds_and_places():
    drawn = [opacity.draw_opacity(phantom.draw_noise(0, k, k)) for k in range(400)]
    assert 0.4 < np.mean([len(o.blobs) == 1 for o in drawn]) < 0.6
    assert {len(o.blobs) for o in drawn} == {1, 3, 4, 5, 6}
    assert 0.45 < np.mean([o.side == 0 for o in drawn]) < 0.63
    assert np.quantile([o.thickness for o in drawn], 0.9) > 2.5 * np.quantile([o.thickness for o in drawn], 0.1)


def test_most_opacities_show_at_64_pixels_some_plainly_some_hardly():
    peaks = []
    for number in range(60):
        off = draw(number, scanner=SCANNERS[0])
        change = image(phantom.counterfactual(off, opacity=1)) - image(off)
        peaks.append(np.sort(change.ravel())[-30:].mean())  # over an area of 30 pixels
    assert np.mean(np.array(peaks) > 0.05) > 0.75
    assert np.quantile(peaks, 0.9) > 2 * np.quantile(peaks, 0.2)


@pytest.mark.parametrize("number", range(4))
def test_size_changes_the_sampling_of_an_opacity_only(number):
    record = draw(number, pleural_effusion=0)
    small, large = added(record, 64), added(record, 128).reshape(64, 2, 64, 2).mean((1, 3))
    assert np.corrcoef(small.ravel(), large.ravel())[0, 1] > 0.985


def test_unseen_scanner_is_no_mixture_of_the_others():
    for number in range(6):
        one, two, unseen = (image(draw(number, scanner=name)) for name in ALL_SCANNERS)
        known = np.stack([one.ravel(), two.ravel(), np.ones(one.size)], 1)
        left = unseen.ravel() - known @ np.linalg.lstsq(known, unseen.ravel(), rcond=None)[0]
        assert left.std() > 0.2 * unseen.std()
        assert 0 <= unseen.min() < unseen.max() <= 1


def test_other_scanner_exchanges_the_two_and_leads_from_the_unseen_to_the_first():
    assert ALL_SCANNERS[:2] == SCANNERS
    assert UNSEEN_SCANNER not in SCANNERS
    parents = draw(0).parents
    others = [phantom.intervene(replace(parents, scanner=name), "scanner=other").scanner for name in ALL_SCANNERS]
    assert others == [SCANNERS[1], SCANNERS[0], SCANNERS[0]]
    assert phantom.intervene(parents, f"scanner={UNSEEN_SCANNER}").scanner == UNSEEN_SCANNER
