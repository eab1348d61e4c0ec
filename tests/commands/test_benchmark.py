"""What ``densecf benchmark`` says before anything is trained."""

from pathlib import Path

import pytest
import yaml

from densecf.benchmark import estimate
from densecf.benchmark.cells import choose, make_cells
from densecf.benchmark.matrix import Ablation, Matrix, Variant
from densecf.cli import main
from densecf.commands import benchmark_plan
from densecf.commands.benchmark import CELL, last_words, run_benchmark
from densecf.commands.benchmark_plan import expected_seconds, look_ahead, make_plan, open_seconds, read_cells
from densecf.commands.options import BenchmarkOptions
from densecf.errors import ConfigError

PIXELS = {"methods": ["none", "vader", "dvd-cl"]}


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in, where each image takes a second, and where no cell may start."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(estimate, "time_training", lambda model, image_level, size, threads: 1.0)

    def no_cell(*arguments: object) -> None:
        raise AssertionError("a cell was started")

    monkeypatch.setattr("densecf.benchmark.runner.run_jobs", no_cell)
    return folder


def write(phantom: Path | str, **content: object) -> Path:
    path = Path("mine.yaml")
    common = {"data": str(phantom), "counterfactuals": "truth", "preset": "embedded"}
    path.write_text(yaml.safe_dump(common | PIXELS | content))
    return path


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


COLDER = {"name": "Colder", "method": "vader"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            {"methods": ["none", "vader", "simclr"], "of_method": {"simclr": {"points": 9}}},
            "SimCLR: points: has no effect on simclr",
        ),
        ({"variants": [COLDER | {"pretrain": {"match_radius": 0.2}}]}, "Colder: match_radius: has no effect"),
        ({"ablation": {"methods": ["vader"], "views": ["SRCE"]}}, "VADeR: views SRCE: S and D have no effect on vader"),
        (
            {
                "variants": [
                    {"name": "Crops", "method": "dvd-cl", "views": "RC", "pretrain": {"counterfactuals": "truth"}}
                ]
            },
            "Crops: counterfactuals: its views RC are made of none",
        ),
        ({"views": "SD"}, "VADeR: without any letter of R, C and E"),
        ({"variants": [COLDER | {"method": "dino", "views": "RC"}]}, "Colder: its crops and effects"),
        ({"pretrain": {"distillation": {"koleo": 0.5}}}, "pretrain: distillation.koleo: no row hears it"),
        ({"pretrain": {"hardware": {"devices": 2}}}, "VADeR: pretrain: each cell runs on one device"),
        ({"finetune": {"hardware": {"devices": 2}}}, "None: finetune: each cell runs on one device"),
        ({"counterfactuals": "hvae"}, "DVD-CL SDRCE fair seed 0: "),
        ({"disease": "sex"}, "truth holds no counterfactuals of sex"),
        ({"pretrain": {"where": "scanner=Z"}}, "VADeR RCE fair seed 0: "),
        ({"pretrain": {"where": "split=manual"}}, "VADeR RCE fair seed 0: "),
        ({"finetune": {"where": "colour=red"}}, "colour"),
        ({"finetune": {"folds": 500}}, "500"),
        ({"finetune": {"external": "split=nowhere"}}, "finetune: external split=nowhere"),
        ({"finetune": {"external": "split=manual"}}, "patients are in the folds too"),
        ({"finetune": {"external": "split=train"}}, "VADeR RCE fair seed 0: "),
        (
            {"variants": [COLDER | {"method": "none", "finetune": {"train_cases": 900}}]},
            "Colder fair seed 0: train_cases",
        ),
        ({"pretrain": {"init_from": "nothing"}}, "VADeR RCE fair seed 0: nothing: no pretrain run there"),
        ({"data": "nowhere"}, "nowhere: there is no such folder"),
        ({"epoch": 3}, "epoch: no such option; there are ablation, about"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(content, said, phantom, workplace, capsys):
    path = write(phantom, **content)
    for flags in ([], ["--dry-run"]):
        assert main(["benchmark", str(path), *flags]) == 2
        shown = capsys.readouterr().err
        assert said in shown
        assert shown.startswith(("densecf: error: mine.yaml: ", "densecf: error: nowhere: "))
        assert not list(workplace.rglob("pretrain"))


def test_weights_that_cannot_be_had_are_told_before_anything_is_trained(phantom, monkeypatch, capsys):
    def offline(*arguments: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("densecf.models.unet.smp.Unet", offline)
    path = write(phantom, protocols=["authors"])
    assert main(["benchmark", str(path), "--quiet"]) == 2
    shown = capsys.readouterr().err
    assert "VADeR CE authors seed 0: model.encoder_weights: the imagenet weights" in shown
    assert "authors_without: [model.encoder_weights]" in shown


def test_a_dry_run_shows_what_there_is_to_do_and_makes_nothing(phantom, workplace, capsys):
    path = write(phantom, ablation={"methods": ["dvd-cl"], "views": ["SDRCE", "SC"]})
    before = names(workplace)
    assert main(["benchmark", str(path), "--dry-run", "--jobs", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"4 cells of Comparison of pretraining methods, on {phantom}"
    assert lines[1].split() == ["0", "None", "fair", "seed", "0", "main", "2", "h", "20", "min"]  # 5 folds of 56 images
    assert lines[3].split()[:8] == ["2", "DVD-CL", "SDRCE", "fair", "seed", "0", "main,", "ablation"]
    assert lines[4].split()[:7] == ["3", "DVD-CL", "SC", "fair", "seed", "0", "ablation"]
    assert lines[-1].endswith("with 2 cells at a time")
    assert names(workplace) == before


def test_a_dry_run_does_not_make_the_phantom(workplace, capsys):
    path = write("phantom", counterfactuals="auto")
    before = names(workplace)
    assert main(["benchmark", str(path), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "The phantom dataset is made first, in data/phantom" in shown
    assert "Then its counterfactuals" in shown
    assert "2  DVD-CL SDRCE fair seed 0" in shown
    assert names(workplace) == before


def test_a_dry_run_does_not_make_the_counterfactuals(phantom, workplace, capsys):
    (workplace / "data").mkdir()
    (workplace / "data/phantom").symlink_to(phantom)
    path = write("phantom", counterfactuals="auto")
    before = names(workplace)
    assert main(["benchmark", str(path), "--dry-run"]) == 0
    assert "The counterfactuals of data/phantom are made first" in capsys.readouterr().out
    assert names(workplace) == before


def test_what_a_dry_run_foresees_is_what_is_planned(phantom):
    options = BenchmarkOptions(write(phantom))
    ahead, notes = look_ahead(options)
    plan = make_plan(options)
    assert not notes
    assert ahead.stages == plan.stages
    assert (ahead.images, ahead.masks, ahead.size) == (plan.images, plan.masks, plan.size) == ([0, 24, 24], 70, 32)
    assert plan.source == "truth"
    assert plan.folds.is_file()


def test_folds_stay_what_they_are(phantom):
    first = make_plan(BenchmarkOptions(write(phantom)))
    content = first.folds.read_bytes()
    again = make_plan(BenchmarkOptions(write(phantom, seeds=[3])))
    assert again.folds.read_bytes() == content
    with pytest.raises(ConfigError, match="holds 5 folds made earlier"):
        make_plan(BenchmarkOptions(write(phantom, finetune={"folds": 3})))
    assert make_plan(BenchmarkOptions(write(phantom, finetune={"folds": 3}), out=Path("other"))).folds.is_file()


def test_weights_to_start_from_name_the_cells_by_their_content(phantom, workplace):
    run = workplace / "runs/pretrain/first"
    run.mkdir(parents=True)
    (run / "weights.safetensors").write_bytes(b"one")
    (run / "config.yaml").write_text("{}")
    (run / "provenance.json").write_text('{"command": "pretrain", "finished": "now"}')
    options = BenchmarkOptions(write(phantom, pretrain={"init_from": "first"}))
    before = make_plan(options).stages
    assert make_plan(options).stages == before
    (run / "weights.safetensors").write_bytes(b"two")
    after = make_plan(options).stages
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, False]


CELLS = make_cells(
    Matrix(
        methods=("none", "mvd-cl", "s-mvd-cl", "segmentation"),
        seeds=(0, 1),
        ablation=Ablation(("mvd-cl",), ("C",)),
        variants=(Variant("MVD-CL colder", "mvd-cl"),),
    ),
    "truth",
)


@pytest.mark.parametrize(
    ("only", "titles"),
    [
        (("0",), ["None fair seed 0"]),
        (("mvd-cl sdrce 1",), ["MVD-CL SDRCE fair seed 1", "MVD-CL colder SDRCE fair seed 1"]),
        (("s-mvd 0",), ["S-MVD-CL SDRCE fair seed 0"]),
        (("silver 1", "none 1"), ["Silver masks RCE fair seed 1", "None fair seed 1"]),
        (("3", "3"), ["Silver masks RCE fair seed 0"]),
    ],
)
def test_cells_are_chosen_by_number_or_words(only, titles):
    assert [CELLS[place].title for place in choose(CELLS, only)] == titles


def test_without_a_choice_all_are_chosen():
    assert choose(CELLS, ()) == list(range(len(CELLS)))


def test_a_choice_of_nothing_makes_nothing(phantom, workplace, capsys):
    path = write(phantom)
    before = names(workplace)
    assert main(["benchmark", str(path), "--only", "nobody"]) == 2
    assert "--only nobody: no such cell" in capsys.readouterr().err
    assert names(workplace) == before


@pytest.mark.parametrize("wish", ["99", "nobody", ""])
def test_a_choice_of_nothing_lists_what_there_is(wish):
    with pytest.raises(ConfigError, match=r"no such cell; there are\n +0  None fair seed 0"):
        choose(CELLS, (wish,))


def test_a_shared_stage_counts_once(phantom):
    path = write(phantom, ablation={"methods": ["dvd-cl"], "views": ["RCE"]})
    plan, _ = look_ahead(BenchmarkOptions(path))
    expected = expected_seconds(plan, 1)
    assert plan.stages[1] == plan.stages[3]  # VADeR is DVD-CL without counterfactuals
    seconds = open_seconds(plan, expected, [0, 1, 2, 3])
    assert seconds[3] == 0
    assert seconds[1] == sum(expected[1])
    assert open_seconds(plan, expected, [3])[3] == sum(expected[3])


def test_without_slurm_it_says_where_the_scripts_are(phantom, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    path = write(phantom)
    assert main(["benchmark", str(path), "--launcher", "slurm", "--sbatch", "partition=gpu"]) == 2
    out = Path("runs/benchmark/mine").resolve()
    assert f"submit {out / 'cells.sbatch'}" in capsys.readouterr().err
    script = (out / "cells.sbatch").read_text()
    assert "#SBATCH --array=0,1,2\n" in script
    copy = next((out / "logs").glob("matrix-*.yaml"))
    assert str(copy) in script
    assert copy.read_text() == path.read_text()


def test_a_report_alone_starts_no_cell(phantom, monkeypatch):
    made = []
    monkeypatch.setattr("densecf.commands.benchmark.make_report", lambda plan, failed: made.append(failed))
    assert run_benchmark(BenchmarkOptions(write(phantom), report_only=True)) == Path("runs/benchmark/mine").resolve()
    assert made == [{}]


def test_the_phantom_is_as_estimates_take_it():
    from densecf.data.readers.phantom import PhantomSource

    records = PhantomSource(benchmark_plan.PHANTOM_IMAGES).records
    assert (records["split"] == "train").sum() == benchmark_plan.PHANTOM_IMAGES
    assert (records["split"] == "manual").sum() == benchmark_plan.PHANTOM_MASKS


@pytest.mark.parametrize(
    "flags",
    [
        ["--dry-run", "--report-only"],
        ["--only", "0", "--report-only"],
        ["--report-only", "--jobs", "2"],
        ["--launcher", "slurm", "--dry-run"],
        ["--launcher", "slurm", "--jobs", "2"],
        ["--sbatch", "partition=gpu"],
    ],
)
def test_options_that_do_not_go_together(flags, phantom, capsys):
    assert main(["benchmark", str(write(phantom)), *flags]) == 2
    assert "these do not go together: --" in capsys.readouterr().err


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_within_and_between_cells_is_shown(quiet, phantom, monkeypatch, capsys):
    """One cell is half through a stage, then ends; another one fails."""

    def run_jobs(jobs, slots, finished, watched, environment):
        assert [job.title for job in jobs] == ["None fair seed 0", "VADeR RCE fair seed 0", "DVD-CL SDRCE fair seed 0"]
        assert environment == {CELL: "follow"}
        watched(jobs[:2])
        finished(jobs[0], 0)
        finished(jobs[1], 1)
        return {jobs[1].title: "exit code 1\nthe last line"}

    path = write(phantom)
    look_ahead(BenchmarkOptions(path))[0].stages[0][0].folder.mkdir(parents=True)
    monkeypatch.setattr("densecf.benchmark.runner.run_jobs", run_jobs)
    monkeypatch.setattr(
        "densecf.benchmark.progress.share_done",
        lambda cell, stage, images, masks: 0.5 if stage.command == "finetune" and cell.row == "None" else 0.0,
    )
    assert main(["benchmark", str(path), "--jobs", "2", *(["--quiet"] if quiet else [])]) == 2
    shown = capsys.readouterr()
    assert "-- VADeR RCE fair seed 0: exit code 1\n   the last line" in shown.err
    assert "1 of 3 cells failed: VADeR RCE fair seed 0" in shown.err
    told = ("None fair seed 0: finetune 50%; VADeR RCE fair seed 0: starts", "0 of 3 cells: ")
    assert all((text in shown.err) is not quiet for text in told)
    told = ("3 cells, 0 of them done", "done: None fair seed 0", "failed: VADeR RCE fair seed 0")
    assert all((text in shown.out) is not quiet for text in told)


def test_mistakes_of_several_rows_are_told_at_once(phantom, capsys):
    wide = {"name": "Wide", "method": "mvd-cl", "pretrain": {"sampling": "anywhere"}}
    path = write(phantom, variants=[COLDER | {"pretrain": {"match_radius": 0.2}}, wide], seeds=[0, 1])
    assert main(["benchmark", str(path)]) == 2
    shown = capsys.readouterr().err
    assert shown.count("Colder: match_radius: has no effect") == 1
    assert shown.count("Wide: sampling: anywhere needs match_radius") == 1


def test_numbers_that_yaml_takes_for_text_are_heard(workplace):
    Path("mine.yaml").write_text("methods: [none, vader]\npretrain: {optim: {lr: 2e-3}}\n")
    assert read_cells(Path("mine.yaml"))[1][1].pretrain.optim.lr == 0.002


def test_last_words_are_those_of_the_cell(tmp_path):
    (tmp_path / "003.log").write_text("== A seed 0: pretrain in x\nout of memory\n")
    (tmp_path / "slurm-77-4.out").write_text("== B seed 0: finetune in y\nslurmstepd: killed\n")
    assert last_words(tmp_path, 3, "A seed 0").endswith("out of memory")
    assert last_words(tmp_path, 4, "B seed 0").endswith("slurmstepd: killed")
    assert last_words(tmp_path, 3, "C seed 0") == ""  # numbered otherwise by an earlier matrix
    assert last_words(tmp_path, 5, "A seed 0") == ""


def test_random_weights_hear_of_the_network(phantom):
    """All rows have one network, so one that only fine-tuning sees is no option that nothing hears."""
    channels = [32, 16, 16, 8, 8]
    path = write(phantom, methods=["none"], variants=[], pretrain={"model": {"decoder_channels": channels}})
    _, cells = read_cells(Path(path))
    assert list(cells[0].finetune.model.decoder_channels) == channels


def test_a_place_that_cannot_be_written_is_told_in_words(phantom, capsys):
    path = write(phantom)
    Path("taken").write_text("")
    assert main(["benchmark", str(path), "--out", "taken/report", "--report-only"]) == 2
    assert "taken/report cannot be written: a part of this path is a file" in capsys.readouterr().err


def test_without_a_finished_cell_there_is_no_report(phantom, monkeypatch, capsys):
    failed = {cell.title: "exit code 2\ndensecf: error: the disk is full" for cell in read_cells(write(phantom))[1]}
    monkeypatch.setattr("densecf.commands.benchmark.run_all", lambda plan, cells, options: failed)
    monkeypatch.setattr("densecf.commands.benchmark.fetch_weights", lambda plan, cells: None)
    assert main(["benchmark", "mine.yaml", "--out", "out"]) == 2
    said = capsys.readouterr()
    assert "Report" not in said.out
    assert not list(Path("out").rglob("*.html"))
    own = [line for line in said.err.splitlines() if line.startswith("densecf: error:")]
    assert len(own) == 1  # a cell's words are indented, so that they are not taken for the benchmark's
    assert f"{len(failed)} of {len(failed)} cells failed" in own[0]
