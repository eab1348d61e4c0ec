import pandas as pd
import pytest

from densecf.evaluation.comparison import PairedDifference
from densecf.evaluation.segmentation import summarise
from densecf.evaluation.tables import comparison_markdown, summaries_markdown, summary_markdown


def summary(dsc: float, hd95: float, asd: float = 2.0, missed: int = 0, **more) -> dict:
    cases = {
        "fold": [0, 1],
        "pleural_effusion": [1, 1],
        "dsc": [dsc - 1, dsc + 1],
        "hd95": [hd95, hd95],
        "asd": [asd, asd],
        "n_missed": [missed, 0],
    }
    return summarise(pd.DataFrame(cases | more))


def cells(markdown: str) -> list[list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({line.count(" | ") for line in lines}) == 1, "every row of a Markdown table has as many cells"
    return [line.strip("| ").split(" | ") for line in lines]


def test_one_run():
    text = summary_markdown(summary(93.934, 7.25, 2.049, missed=3), "Fine-tuning", name="s-mvd-cl", note="70 cases")
    head, _, row = cells(text)
    assert head == [
        *("Pretraining", "DSC (%) ↑", "DSC_NF (%) ↑", "DSC_PE (%) ↑", "HD95 (px) ↓", "ASD (px) ↓", "Missed"),
    ]
    assert row == ["s-mvd-cl", "93.93 ± 1.00", "n/a", "93.93 ± 1.00", "7.2 ± 0.0", "2.05 ± 0.00", "3"]
    assert text.startswith("# Fine-tuning\n\n")
    assert "70 cases" in text
    assert "**" not in text


def test_several_runs_best_in_bold():
    text = summaries_markdown({"s-mvd-cl": summary(94, 7, 2.001), "none": summary(87, 22, 1.999)}, "Runs")
    ours, none = cells(text)[2:]
    assert ours[1] == "**94.00 ± 1.00**"
    assert ours[4] == "**7.0 ± 0.0**"
    assert none[1] == "87.00 ± 1.00"
    assert none[4] == "22.0 ± 0.0"
    assert ours[5] == none[5] == "**2.00 ± 0.00**", "what prints the same shares the bold"
    assert ours[2] == none[2] == "n/a"


def test_millimetres_where_any_run_knows_them():
    known = summary(94, 7, hd95_mm=[14.0, 14.0], asd_mm=[4.0, 4.0])
    head, _, with_mm, without = cells(summaries_markdown({"a": known, "b": summary(90, 8)}, "Runs"))
    assert head[6:8] == ["HD95 (mm) ↓", "ASD (mm) ↓"]
    assert with_mm[6:8] == ["**14.0 ± 0.0**", "**4.00 ± 0.00**"]
    assert without[6:8] == ["n/a", "n/a"]


def test_names_cannot_break_the_table():
    assert cells(summary_markdown(summary(94, 7), "Run", name="a|b\nc"))[2][0] == "a\\|b c"


def test_no_run_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        summaries_markdown({}, "Runs")


def test_comparison():
    clear = PairedDifference("dsc", "pe", 50, 48, 0, 4.25, 2.1, 6.4, 40, 10, 0.00001)
    open_ = PairedDifference("hd95_mm", None, 70, 68, 2, -0.5, -1.5, 0.5, 30, 30, 0.2)
    text = comparison_markdown([clear, open_], "s-mvd-cl", "none")
    first, second = cells(text)[2:]
    assert first == ["DSC_PE (%)", "+4.25", "**+2.10 to +6.40**", "40 / 10", "< 0.001", "50 / 48"]
    assert second == ["HD95 (mm)", "-0.50", "-1.50 to +0.50", "30 / 30", "0.200", "70 / 68"]
    assert "s-mvd-cl minus none" in text
    assert "2 undefined" in text
