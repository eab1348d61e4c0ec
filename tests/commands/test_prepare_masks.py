"""``data prepare padchest`` with CheXmask and with masks drawn by hand, from files to the prepared masks."""

import gzip

import numpy as np
import pytest

from densecf.commands.options import PreparePublishedOptions
from densecf.commands.prepare_published import prepare_padchest
from densecf.data.chexmask.rows import POINTS
from densecf.data.profiles import PROFILES
from tests.data.chexmask_rows import cells, landmarks, polygon, save_rows
from tests.data.making import save
from tests.data.published import padchest

HEIGHT, WIDTH, SIZE = 48, 40, 32


def patients(facts):
    return set(facts.patient.values())


def drawn(organ):
    return polygon(landmarks(HEIGHT, WIDTH)[POINTS[organ]], HEIGHT, WIDTH)


@pytest.mark.parametrize("profile", list(PROFILES))
def test_silver_and_manual_masks(tmp_path, profile, capsys):
    facts = padchest.build(tmp_path / "raw")
    images = sorted(facts.patient)
    # Of three patients: one image with a poor mask, one without, one drawn by hand.
    poor, bare, by_hand = (
        next(name for name in images if facts.patient[name] == p) for p in sorted(patients(facts))[:3]
    )
    rows = [cells(name, HEIGHT, WIDTH) for name in images if name != bare]
    for row in rows:
        row["Dice RCA (Mean)"], row["Dice RCA (Max)"] = (0.6, 0.5) if row["ImageID"] == poor else (0.8, 0.9)
    packed = tmp_path / "Padchest.csv.gz"
    packed.write_bytes(gzip.compress(save_rows(tmp_path / "Padchest.csv", *rows).read_bytes()))
    label = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    label[10:30, 24:34, 2], label[10:30, 5:15, 1] = 255, 255
    save(tmp_path / "manual" / "labels" / by_hand, label)

    options = PreparePublishedOptions(
        table=(facts.table,),
        images=tmp_path / "raw",
        out=tmp_path / "out",
        chexmask=packed,
        manual_masks=(tmp_path / "manual",),
        size=SIZE,
        profile=profile,
        workers=1,
        quiet=True,
    )
    data = prepare_padchest(options)
    said = capsys.readouterr().out
    assert "1 of them below quality 0.7" in said
    assert "rows: Dice RCA (Max) is below" in said

    records = data.records.assign(name=data.records["image"].str.split("/").str[-1]).set_index("name")
    assert data.class_names == ("background", "left_lung", "right_lung")
    assert (records.loc[by_hand, "mask_kind"], records.loc[by_hand, "split"]) == ("manual", "manual")
    assert records.loc[[poor, bare], "mask_kind"].tolist() == ["", ""]
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[drawn("left_lung")], labels[drawn("right_lung")] = 1, 2
    expected = PROFILES[profile].mask(labels, SIZE, 3)
    position = {name: row for row, name in enumerate(records.index)}
    assert set(images) - set(position) == {n for n in images if facts.patient[n] == facts.patient[by_hand]} - {by_hand}
    silver = set(position) - {poor, bare, by_hand}
    assert len(silver) > 5
    for name in silver:
        assert (records.loc[name, "mask_kind"], records.loc[name, "mask_quality"]) == ("silver", 0.8)
        np.testing.assert_array_equal(data.masks[position[name]], expected)
    hand = np.zeros((HEIGHT, WIDTH), np.uint8)
    hand[10:30, 24:34], hand[10:30, 5:15] = 1, 2
    np.testing.assert_array_equal(data.masks[position[by_hand]], PROFILES[profile].mask(hand, SIZE, 3))
    assert not list(tmp_path.glob(".masks-*"))  # the unpacked rows are gone
