"""Pictures of finished cells: tiny networks that nobody trained, predictions that are the truth, shifted."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from densecf.benchmark.cells import make_cells
from densecf.benchmark.matrix import Matrix, Variant
from densecf.benchmark.report import pictures
from densecf.benchmark.report.make import picture_sections
from densecf.benchmark.report.pictures import (
    counterfactual_pictures,
    overlay_pictures,
    shown_rows,
    what_changes,
)
from densecf.benchmark.results import CellResult
from densecf.config import ModelConfig
from densecf.data.prepared import PreparedDataset
from densecf.data.splits import make_folds
from densecf.models.heads import projection_head
from densecf.models.unet import build_unet
from densecf.models.weights import HEAD, WEIGHTS, network_facts, save_head, save_weights
from densecf.training.finetune import PREDICTIONS, measure, true_mask

MATRIX = Matrix(
    methods=("none", "simclr", "segmentation", "s-mvd-cl"),
    variants=(Variant("Colder", "s-mvd-cl", pretrain={"temperature": 0.05}),),
    seeds=(0, 1),
    pictures=2,
)
SHIFT = {"none": 6, "simclr": 4, "segmentation": 2, "s-mvd-cl": 0, "vader": 1}
"""Pixels that each method's predictions are off."""


@pytest.fixture(scope="module")
def data(phantom):
    return PreparedDataset.open(phantom)


@pytest.fixture(scope="module")
def results(data, tmp_path_factory):
    return [finished(cell, data, tmp_path_factory.mktemp("cell")) for cell in make_cells(MATRIX, "truth")]


def finished(cell, data, store):
    """The run folders of a cell as far as pictures read them."""
    folders = {"finetune": store / "finetune"}
    if cell.pretrain is not None:
        folders["pretrain"] = store / "pretrain"
        if cell.method != "simclr" and cell.seed == 0:  # the others are never opened
            _network(cell.method, data, folders["pretrain"])
    records = data.records[data.records["split"] == "manual"]
    folds = make_folds(records, 2)
    tables = []
    for number in range(2):
        rows = folds.test_rows(records, number)
        masks = np.stack([np.roll(true_mask(data, row), SHIFT[cell.method] + row % 3, axis=1) for row in rows])
        folder = folders["finetune"] / "folds" / str(number)
        folder.mkdir(parents=True)
        np.save(folder / PREDICTIONS, masks)
        tables.append(measure(data, rows, masks, number))
    folds.save(folders["finetune"] / "folds.json")
    return CellResult(cell, folders, pd.concat(tables, ignore_index=True), pd.DataFrame(), pd.DataFrame(), None, {})


def _network(method, data, folder):
    model = ModelConfig(encoder="resnet18", decoder_channels=(16, 16, 16, 8, 8))
    facts = network_facts(method, model, data)
    save_weights(build_unet(model.encoder, model.decoder_channels, classes=3), folder / WEIGHTS, facts)
    if method != "segmentation":
        save_head(projection_head(8, 8, 4), folder / HEAD, {"hidden": 8, "dim": 4})


def drawn(matrix, results, data, source):
    return [figure for section in picture_sections(matrix, results, data, source) for figure in section.figures]


def test_every_picture_is_a_png_with_words_and_data(data, results, monkeypatch):
    monkeypatch.setattr(pictures, "FIT_PIXELS", 200)
    made = drawn(MATRIX, results, data, "truth")
    names = [picture.data.name for picture in made]
    assert names == ["chromaps.csv", "overlays.csv", "counterfactuals1.csv", "counterfactuals2.csv"]
    for picture in made:
        assert imread(io.BytesIO(picture.content), format="png").shape[1] > 400
        assert picture.caption.endswith(".")
        assert picture.alt
        assert not pd.read_csv(io.StringIO(picture.data.text)).empty
    chromaps = pd.read_csv(io.StringIO(made[0].data.text))
    assert list(dict.fromkeys(chromaps["method"])) == ["Silver masks", "S-MVD-CL", "Colder"]  # SimCLR has no pixels
    assert chromaps.groupby(["method", "case"])["pixels"].sum().unique().tolist() == [data.size**2]
    # The reference is a main row, not the variant shown after it.
    assert chromaps[chromaps["method"] == "S-MVD-CL"]["distance_to_reference"].eq(0).all()


def test_cases_are_half_with_effusion_and_the_first_of_those_tested(data, results):
    effusion, split = data.records["pleural_effusion"], data.records["split"]
    rows = shown_rows(data, results, 4)
    assert rows == sorted(rows)
    assert effusion.iloc[rows].tolist().count(1) == 2
    assert (split.iloc[rows] == "manual").all()
    for flag in (0, 1):
        first = np.flatnonzero((split == "manual") & (effusion == flag))[:2]
        assert set(first) < set(rows)
    everything = shown_rows(data, results, 1000)
    assert everything == np.flatnonzero(split == "manual").tolist()
    assert shown_rows(data, results, 0) == []


def test_cases_are_chosen_by_their_mean_over_all_methods(data, results):
    (picture,) = overlay_pictures(MATRIX, results, data)
    table = pd.read_csv(io.StringIO(picture.data.text), keep_default_na=False)
    assert list(dict.fromkeys(table["method"])) == ["None", "SimCLR", "Silver masks", "S-MVD-CL"]
    assert table.groupby("method")["case"].apply(list).map(sorted).map(tuple).nunique() == 1
    first_seed = [result.cases for result in results if result.cell.seed == 0 and "main" in result.cell.parts]
    mean = pd.concat(first_seed).groupby("case")["dsc"].mean()
    by_place = table.groupby("shown_as")["case"].first()
    assert mean[by_place["best"]] == mean.max()
    assert mean[by_place["worst"]] == mean.min()
    assert mean[by_place["median"]] == pytest.approx(mean.median(), abs=1)


def test_the_panels_show_what_each_fold_predicted(data, results, monkeypatch):
    seen = {}

    def remember(picked, methods):
        for name, (_, load) in methods.items():
            seen[name] = {row["case"]: load(row["case"]) for row in picked.values()}
        return Figure()

    monkeypatch.setattr(pictures, "overlay_grid", remember)
    overlay_pictures(MATRIX, results, data)
    names = data.records["image"].tolist()
    for title, method in (("None", "none"), ("S-MVD-CL", "s-mvd-cl")):
        for case, (image, truth, prediction) in seen[title].items():
            row = names.index(case)
            np.testing.assert_array_equal(image, data.image(row))
            np.testing.assert_array_equal(truth, data.mask(row))
            np.testing.assert_array_equal(prediction, np.roll(truth, SHIFT[method] + row % 3, axis=1))


def test_counterfactuals_are_measured_against_image_and_truth(data):
    row = int(np.flatnonzero(data.records["split"] == "manual")[0])
    (picture,) = counterfactual_pictures(data, "truth", [row])
    table = pd.read_csv(io.StringIO(picture.data.text)).set_index("intervention")
    made = data.counterfactual("truth", "scanner=other", row)
    assert table.loc["scanner=other", "mean_absolute_difference"] == pytest.approx(
        np.abs(made - data.image(row)).mean(), abs=1e-4
    )
    assert table["error_to_truth"].isna().all()  # the truth is not compared with itself
    assert "true counterfactual" not in picture.caption
    assert counterfactual_pictures(data, "none", [row]) == []


def test_the_truth_stands_beside_other_counterfactuals(data):
    class Edited(PreparedDataset):
        """The phantom with a second source: the images themselves, brightened."""

        def counterfactual(self, source, name, row):
            return self.image(row) * 0.5 + 0.25 if source == "edited" else super().counterfactual(source, name, row)

    edited = Edited.open(data.path)
    edited.counterfactuals = {"edited": ("scanner=other", "sex=F"), "truth": data.counterfactuals["truth"]}
    (picture,) = counterfactual_pictures(edited, "edited", [3])
    table = pd.read_csv(io.StringIO(picture.data.text)).set_index("intervention")
    truth = data.counterfactual("truth", "scanner=other", 3)
    made = data.image(3) * 0.5 + 0.25
    assert table.loc["scanner=other", "error_to_truth"] == pytest.approx(np.abs(made - truth).mean(), abs=1e-4)
    assert table.loc["scanner=other", "error_of_doing_nothing"] == pytest.approx(
        np.abs(data.image(3) - truth).mean(), abs=1e-4
    )
    assert np.isnan(table.loc["sex=F", "error_to_truth"])  # nobody knows it
    assert "true counterfactual" in picture.caption


def test_what_an_intervention_changes_is_said_in_values(data):
    scanner = data.records["scanner"].iloc[0]
    other = next(name for name in data.records["scanner"].unique() if name != scanner)
    assert what_changes(data, "scanner=other", 0) == f"{scanner} → {other}"
    assert what_changes(data, "scanner=other+pleural_effusion=1", 0).startswith(f"{scanner} → {other}, ")
    assert what_changes(data, "no such column=other", 0) == ""
    assert what_changes(data, "edited", 0) == ""


def test_what_is_not_there_is_left_out(data, results):
    assert drawn(MATRIX, [], data, "truth") == []
    without = [result for result in results if result.cell.method in ("none", "simclr")]
    made = drawn(replace(MATRIX, pictures=0), without, data, "none")
    assert [picture.data.name for picture in made] == ["overlays.csv"]


def test_runs_without_their_weights_and_masks_are_left_out(data, tmp_path):
    (cell,) = (
        c for c in make_cells(replace(MATRIX, methods=("none", "vader"), variants=()), "truth")[:2] if c.pretrain
    )
    bare = finished(cell, data, tmp_path)
    for file in [*tmp_path.rglob(PREDICTIONS), *tmp_path.rglob(WEIGHTS)]:
        file.unlink()
    assert drawn(MATRIX, [bare], data, "none") == []


def test_a_heavy_picture_is_drawn_coarser(monkeypatch):
    noise = Figure(figsize=(4, 4))
    noise.figimage(np.random.default_rng(0).uniform(size=(440, 440)))
    fine = pictures.png(noise)
    assert imread(io.BytesIO(fine), format="png").shape[:2] == (440, 440)
    monkeypatch.setattr(pictures, "MOST_BYTES", len(fine) - 1)
    assert imread(io.BytesIO(pictures.png(noise)), format="png").shape[:2] == (360, 360)
