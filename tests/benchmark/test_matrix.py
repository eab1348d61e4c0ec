from pathlib import Path

import pytest
import yaml

from densecf.benchmark.matrix import MAIN_ROWS, read_matrix
from densecf.benchmark.matrix_checks import in_terms_of_the_file
from densecf.errors import ConfigError


def write(folder: Path, **content: object) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_what_is_left_out_keeps_its_default(tmp_path):
    matrix = read_matrix(write(tmp_path, title="Mine", seeds=[0, 3]))
    assert (matrix.title, matrix.seeds, matrix.methods) == ("Mine", (0, 3), MAIN_ROWS)
    assert "cf-simclr" not in MAIN_ROWS


VARIANT = {"name": "Colder", "method": "dvd-cl"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"method": ["none"]}, "method: no such option; did you mean methods?"),
        ({"methods": ["none", "dvdcl"]}, "methods.1"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [0, 1, 0]}, "seeds: 0 more than once"),
        ({"variants": [VARIANT | {"seeds": [2, 2]}]}, "variant Colder: seeds: 2 more than once"),
        ({"variants": [VARIANT | {"vieuws": "S"}]}, "variants.0.vieuws: no such option; did you mean views?"),
        ({"ablation": {"rows": []}}, "ablation.rows: no such option; there are methods, seeds, views"),
        ({"protocols": ["unfair"]}, "protocols.0"),
        ({"views": "ESR"}, "views: views 'ESR'"),
        ({"variants": [VARIANT | {"views": "SX"}]}, "variant Colder: views 'SX'"),
        ({"ablation": {"methods": ["vader"], "views": ["XY"]}}, "ablation: views 'XY'"),
        ({"ablation": {"methods": ["vader"], "views": [""]}}, "without letters"),
        ({"ablation": {"methods": ["none"], "views": ["C"]}}, "the method none has no views"),
        ({"ablation": {"methods": ["vader"]}}, "needs both methods and views"),
        ({"ablation": {"views": ["C"]}}, "needs both methods and views"),
        ({"baseline": "Nobody"}, "baseline 'Nobody': no such row; there are None, SimCLR"),
        ({"methods": ["vader"]}, "baseline 'None': no such row; there are VADeR"),
        ({"variants": [VARIANT, VARIANT]}, "more than once: Colder"),
        ({"variants": [VARIANT | {"name": "VADeR"}]}, "more than once: VADeR"),
        ({"variants": [VARIANT | {"method": "unknown"}]}, "variants.0.method"),
        ({"variants": [VARIANT | {"method": "none", "views": "C"}]}, "variant Colder: the method none has neither"),
        ({"variants": [VARIANT | {"pretrain": {"seed": 1}}]}, "variant Colder: pretrain: seed"),
        ({"variants": [VARIANT | {"finetune": {"folds": 3}}]}, "variant Colder: finetune: folds is one for all"),
        ({"variants": [VARIANT | {"finetune": {"external": "split=test"}}]}, "finetune: external is one for all"),
        ({"variants": [VARIANT | {"pretrain": {"intervene": ["sex"]}}]}, "pretrain: intervene is decided by views"),
        ({"variants": [VARIANT | {"pretrain": {"counterfactuals": "auto"}}]}, "name the source"),
        ({"of_method": {"dino": {"epochs": 1}}}, "of_method: no row of dino"),
        ({"of_method": {"vader": {"seed": 1}}}, "of_method: vader: seed is decided by seeds"),
        ({"pretrain": {"counterfactuals": "hvae"}}, "pretrain: counterfactuals is decided by counterfactuals"),
        ({"finetune": {"test_every": 1}}, "finetune: test_every is decided by looks"),
        ({"authors_without": ["epochs"]}, "the protocols do not name authors"),
        ({"protocols": ["authors"], "authors_without": ["weights"]}, "no option weights"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_place(content, said, tmp_path):
    path = write(tmp_path, **content)
    with pytest.raises(ConfigError) as error:
        read_matrix(path)
    assert str(path) in str(error.value)
    assert said in str(error.value)


def test_all_mistakes_are_told_at_once(tmp_path):
    path = write(tmp_path, baseline="Nobody", seeds=[1, 1], views="X", pretrain={"seed": 3})
    with pytest.raises(ConfigError) as error:
        read_matrix(path)
    lines = str(error.value).splitlines()
    assert len(lines) == 4
    assert all(line.startswith(f"{path}: ") for line in lines)


def test_the_baseline_may_be_named_by_its_method(tmp_path):
    assert read_matrix(write(tmp_path, baseline="none")).baseline == "None"
    assert read_matrix(write(tmp_path, baseline="s-mvd-cl")).baseline == "S-MVD-CL"


def test_messages_of_commands_speak_of_the_files_options():
    said = "use --train-cases, --intervene or --out; 'densecf finetune --train-cases 3' would"
    assert in_terms_of_the_file(said) == "use train_cases, views or --out; 'densecf finetune --train-cases 3' would"


def test_no_mapping_and_no_file(tmp_path):
    (tmp_path / "list.yaml").write_text("- none\n")
    with pytest.raises(ConfigError, match="expected a mapping"):
        read_matrix(tmp_path / "list.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_matrix(tmp_path / "none.yaml")
