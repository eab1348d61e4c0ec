"""meta.json: what does not fit is told, and no file outside the dataset is ever named by it."""

import json
import shutil

import pytest

from densecf.data.layout import META, read_meta
from densecf.data.prepared import PreparedDataset
from densecf.errors import DataError


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda meta: meta["files"].update({"../secret": meta["files"]["images.npy"]}), r"\.\./secret"),
        (lambda meta: meta["files"].update({"/etc/passwd": meta["files"]["images.npy"]}), "/etc/passwd"),
        (lambda meta: meta["files"].pop("records.csv"), r"lacks records\.csv"),
        (lambda meta: meta["counterfactuals"].update({"../x": {"names": ["a"]}}), "cannot name a counterfactual"),
        (lambda meta: meta.update(files=[]), "files"),
        (lambda meta: meta.update(counterfactuals="no"), "counterfactuals"),
        (lambda meta: meta.update(size="32"), "size"),
        (lambda meta: meta.update(size=10**9), "size"),
        (lambda meta: meta.update(num_records=-1), "num_records"),
        (lambda meta: meta.update(class_names=[]), "class_names"),
        (lambda meta: meta["column_types"].update(age="object"), "column_types"),
        (lambda meta: meta["files"]["images.npy"].pop("sha256"), "sha256"),
    ],
)
def test_a_spoilt_description_is_refused(phantom, tmp_path, change, words):
    data = shutil.copytree(phantom, tmp_path / "data")
    meta = json.loads((data / META).read_text())
    change(meta)
    (data / META).write_text(json.dumps(meta))
    with pytest.raises(DataError, match=words) as caught:
        PreparedDataset.open(data)
    assert META in str(caught.value)


def test_one_that_nests_without_end(tmp_path):
    (tmp_path / META).write_text("[" * 100_000)
    with pytest.raises(DataError, match="nested too deep"):
        read_meta(tmp_path)
