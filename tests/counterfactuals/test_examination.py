"""All is known in closed form: images of one grey level, a predictor that reads it, and generators that paint."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from densecf.counterfactuals.examination import Judges, examine
from densecf.counterfactuals.interventions import parse_interventions
from densecf.counterfactuals.parents import Parents, fit_parents
from densecf.counterfactuals.predictors import ParentPredictor
from densecf.counterfactuals.soundness_report import soundness, soundness_markdown
from densecf.counterfactuals.suppliers import FromGenerator, FromStore
from densecf.counterfactuals.truth import truth_of
from densecf.data.prepared import PreparedDataset
from tests.counterfactuals.generators import Ignoring, Painting, Truthful

LEVELS = {"A": 0.3, "B": 0.5, "C": 0.7}


class ReadingGrey(ParentPredictor):
    """Finds the scanner by the nearest grey level, and the sex by the sign of a slope from left to right."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        level, slope = images.mean((1, 2, 3)), images[..., -1].mean((1, 2)) - images[..., 0].mean((1, 2))
        levels = torch.tensor([LEVELS[value] for value in self.parents["scanner"].values])
        found = {"scanner": -(level[:, None] - levels).abs(), "sex": torch.stack([-slope, slope], 1)}
        return {name: found[name] for name in self.parents.names}


class HalfSplit(torch.nn.Module):
    """A segmenter that calls dark pixels background and bright ones lung."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        grey = images * 0.229 + 0.485
        return torch.cat([0.4 - grey, grey - 0.4], 1)


def dataset(scanners="ABAB", sexes="FFMM", size=32):
    records = pd.DataFrame(
        {"image": [f"{i}.png" for i in range(len(scanners))], "scanner": list(scanners), "sex": list(sexes)}
    )
    slope = np.linspace(-0.05, 0.05, size, dtype=np.float32)

    def image(row):
        sign = 1 if sexes[row] == "M" else -1
        return np.broadcast_to(np.float32(LEVELS[scanners[row]]) + sign * slope, (size, size)).astype(np.float32)

    return SimpleNamespace(
        records=records, image=image, class_names=("background", "lung"), __len__=lambda self: len(records)
    )


def measured(data, generator, do, rows=None, parents=None, batch_size=32, **judges):
    parents = parents or generator.scm.parents
    wanted = parse_interventions(do, generator.scm.parents)
    judge = Judges(ReadingGrey(parents).eval(), **judges)
    rows = np.arange(len(data.records)) if rows is None else rows
    found = examine(FromGenerator(generator), data, rows, wanted, judge, batch_size=batch_size, progress=False)
    return soundness(found, parents)


def parents_of(data, *names) -> Parents:
    return fit_parents(data.records, names)[0]


def test_a_generator_that_ignores_the_parents_has_no_effect_and_does_no_harm():
    data = dataset()
    found = measured(data, Ignoring(parents_of(data, "scanner", "sex"), 32), ["scanner=other"], segmenter=HalfSplit())
    figures = found["scanner"]
    assert figures["effectiveness"] == 0
    assert figures["predictor_on_real"] == 1
    assert figures["composition"] == figures["composition_after_10"] == figures["reversibility"] == 0
    assert figures["change"] == 0
    assert figures["lung_dice"] == 1
    assert figures["identity"] == {"sex": {"on_real": 1.0, "on_counterfactual": 1.0, "changed": 0.0}}
    assert figures["reconstruction_error"] is None
    assert figures["error_to_truth"] is None


def test_a_generator_that_paints_the_right_grey_is_effective_and_reversible():
    data = dataset()
    generator = Painting(parents_of(data, "scanner"), 32)
    generator.step = 0.1  # binary parents go from -1 to 1, and the grey levels are 0.2 apart
    figures = measured(data, generator, ["scanner=other"])["scanner"]
    assert figures["effectiveness"] == 1
    assert figures["change"] == pytest.approx(0.2, abs=1e-6)
    assert figures["reversibility"] == pytest.approx(0, abs=1e-6)
    assert figures["reconstruction_error"] == pytest.approx(0.02, abs=1e-6)
    assert set(figures["by_direction"]) == {"scanner A->B", "scanner B->A"}


def test_what_cannot_be_undone_shows_in_reversibility():
    data = dataset("AC", "FF")
    generator = Painting(parents_of(data, "scanner"), 32)
    generator.step = 0.4  # clipped at white and black on the way there
    figures = measured(data, generator, ["scanner=other"])["scanner"]
    assert figures["reversibility"] > 0.05
    assert figures["composition"] == pytest.approx(0, abs=1e-6)


def test_lungs_that_vanish_show_in_the_dice():
    data = dataset("BB", "FM")
    data.records["thing"] = ["0", "1"]
    generator = Painting(parents_of(data, "thing"), 32)
    generator.step = 0.15  # one becomes darker than a lung, one brighter
    parents = fit_parents(dataset().records, ["scanner", "sex"])[0]
    parents = Parents((*parents.entries, *generator.scm.parents.entries))

    class Reading(ReadingGrey):
        def forward(self, images):
            return {"thing": torch.zeros(len(images), 2), **ReadingGrey(self.parents.only(["scanner", "sex"]))(images)}

    wanted = parse_interventions(["thing=other"], generator.scm.parents)
    judge = Judges(Reading(parents).eval(), segmenter=HalfSplit())
    found = examine(FromGenerator(generator), data, np.arange(2), wanted, judge, progress=False)[0]
    np.testing.assert_allclose(found.figures["lung_dice"], [1, 0])


def test_several_others_are_pooled_and_told_apart():
    data = dataset("ABCABC", "FFFMMM")
    generator = Ignoring(parents_of(data, "scanner"), 32)
    figures = measured(data, generator, ["scanner=other"])["scanner"]
    assert figures["images"] == 12
    assert set(figures["by_intervention"]) == {"scanner=other.1", "scanner=other.2"}
    assert figures["effectiveness"] == 0
    assert len(figures["by_direction"]) == 6


def test_images_that_have_the_value_already_do_not_count():
    data = dataset()
    generator = Ignoring(parents_of(data, "scanner"), 32)
    figures = measured(data, generator, ["scanner=B"])["scanner"]
    assert figures["images"] == 2  # those of A
    assert figures["effectiveness"] == 0


def test_a_combination_is_right_only_when_both_are():
    data = dataset()
    generator = Painting(parents_of(data, "scanner", "sex"), 32)

    class OnlyScanner(Painting):
        step = 0.1

        def predict(self, abducted, parents):
            images, own = abducted
            change = (parents - own)[..., 0][..., None, None, None]
            return (images[None] + self.step * change).clamp(0, 1)

    figures = measured(data, OnlyScanner(generator.scm.parents, 32), ["scanner=other+sex=other"])["scanner+sex"]
    assert figures["effectiveness"] == 0
    assert figures["effectiveness_each"] == {"scanner": 1.0, "sex": 0.0}
    assert figures["identity"] == {}


def test_batches_change_nothing():
    data = dataset("ABCABC", "FFFMMM")
    generator = Painting(parents_of(data, "scanner", "sex"), 32)
    whole = measured(data, generator, ["scanner=other", "sex=other"])
    parts = measured(data, generator, ["scanner=other", "sex=other"], batch_size=4)
    assert str(whole) == str(parts)


def test_stored_counterfactuals_have_neither_composition_nor_way_back():
    data = dataset()
    parents = parents_of(data, "scanner")
    data.counterfactual = lambda source, name, row: data.image({0: 1, 1: 0, 2: 3, 3: 2}[row])
    wanted = parse_interventions(["scanner=other"], parents)
    supplier = FromStore(data, "made", parents, ("scanner=other",))
    found = examine(supplier, data, np.arange(4), wanted, Judges(ReadingGrey(parents).eval()), progress=False)
    reasons = {"composition": "no model", "reversibility": "no model", "effectiveness": "never said"}
    figures = soundness(found, parents, reasons=reasons)["scanner"]
    assert figures["effectiveness"] == 1
    assert figures["composition"] is None
    assert figures["reversibility"] is None
    assert figures["not_measured"] == {"composition": "no model", "reversibility": "no model"}
    table = soundness_markdown({"made": {"scanner": figures}}, "Stored")
    assert "n/a" in table
    assert "Not measured: composition, reversibility, because no model." in table


@pytest.fixture(scope="module")
def phantom_data(phantom):
    return PreparedDataset.open(phantom)


class Constant(ParentPredictor):
    """Says the first value of everything."""

    def forward(self, images):
        return {name: torch.tensor([[1.0, 0.0]]).expand(len(images), 2) for name in self.parents.names}


def on_phantom(data, generator, rows):
    parents = generator.scm.parents
    truth = truth_of(data)
    do = ["scanner=other", "pleural_effusion=other", "scanner=other+pleural_effusion=other"]
    judges = Judges(Constant(parents).eval(), truth=truth, mask_of=truth.mask)
    found = examine(FromGenerator(generator), data, rows, parse_interventions(do, parents), judges, progress=False)
    return soundness(found, parents)


def test_doing_nothing_has_the_error_of_doing_nothing(phantom_data):
    parents = parents_of(phantom_data, "scanner", "pleural_effusion")
    figures = on_phantom(phantom_data, Ignoring(parents, 32), np.arange(20, 36))
    for key in ("scanner", "pleural_effusion", "scanner+pleural_effusion"):
        assert figures[key]["error_ratio"] == 1
        assert figures[key]["error_to_truth"] == figures[key]["error_of_doing_nothing"] > 0.01
    split = figures["pleural_effusion"]["by_direction"]
    assert split["pleural_effusion 1->0"]["error_of_best_guess"] is None
    added = split["pleural_effusion 0->1"]
    assert 0 < added["error_of_best_guess"] < added["error_of_doing_nothing"]
    assert "error_of_best_guess" not in figures["scanner"]  # it belongs to a direction
    assert all(v["error_of_best_guess"] is None for v in figures["scanner"]["by_direction"].values())


def test_telling_the_truth_has_no_error(phantom_data):
    parents = parents_of(phantom_data, "scanner", "pleural_effusion")
    generator = Truthful(parents, truth_of(phantom_data))
    figures = on_phantom(phantom_data, generator, np.arange(20, 36))
    for key in ("scanner", "pleural_effusion", "scanner+pleural_effusion"):
        assert figures[key]["error_to_truth"] < 1e-6
        assert figures[key]["reversibility"] < 1e-5
        assert figures[key]["composition"] < 1e-5
        assert figures[key]["error_ratio"] < 1e-4
    table = soundness_markdown({"truthful": figures, "again": figures}, "Two", note="16 images.")
    assert table.count("| scanner+pleural_effusion |") == 2
    assert "best guess" in table
