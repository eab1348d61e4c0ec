import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from densecf.errors import ConfigError
from densecf.views.parameters import ViewParameters, flip_pairs


def test_defaults_are_the_paper_s():
    assert ViewParameters() == ViewParameters(
        rotation=15, scale=(0.08, 1), ratio=(0.75, 4 / 3), flip_prob=0, jitter_prob=0.8, brightness=0.4, contrast=0.4,
        blur_prob=0.5, blur_sigma=(0.1, 2), solarize_prob=0.2, solarize_threshold=0.5, solarize_anchor=True,
    )  # fmt: skip


def test_every_bad_value_is_reported_at_once():
    with pytest.raises(ConfigError) as caught:
        ViewParameters(rotation=-1, scale=(0.5, 0.2), ratio=(0, 1), blur_prob=1.5, blur_sigma=(0, 2), contrast=-0.1)
    for name in ("rotation", "scale", "ratio", "blur_prob", "blur_sigma", "contrast"):
        assert f"{name} = " in str(caught.value)
    assert "brightness" not in str(caught.value)


@pytest.mark.parametrize(
    "bad",
    [
        {"scale": (0.0, 1.0)},
        {"scale": (0.1, 1.1)},
        {"rotation": float("nan")},
        {"flip_prob": -0.1},
        {"solarize_threshold": 2},
    ],
)
def test_out_of_range(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        ViewParameters(**bad)


def test_pydantic_reads_the_ranges():
    adapter = TypeAdapter(ViewParameters)
    assert adapter.validate_python({"rotation": 3, "scale": [0.2, 1.0]}) == ViewParameters(rotation=3, scale=(0.2, 1.0))
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python({"rotation": 200, "blur_prob": 2})
    assert {error["loc"][0] for error in caught.value.errors()} == {"rotation", "blur_prob"}


def test_flip_pairs_are_the_names_that_differ_by_side_only():
    assert flip_pairs(("background", "left_lung", "right_lung")) == ((1, 2),)
    assert flip_pairs(("right_rib", "heart", "left_lung", "left_rib", "leftmost")) == ((3, 0),)
    assert flip_pairs(("background", "lung")) == ()


def test_parameters_and_the_package_import_no_torch():
    code = "import sys, densecf.views, densecf.views.parameters, densecf.views.draws; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_package_exports_what_it_says():
    import densecf.views

    for name in densecf.views.__all__:
        assert callable(getattr(densecf.views, name))
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = densecf.views.nothing_such
