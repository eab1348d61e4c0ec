"""A fine-tuning killed in the instant before its folds were written goes on all the same."""

from densecf import cli, runs
from densecf.data.splits import Folds
from densecf.training import finetune as training
from tests.training.finetuning import arguments


def test_folds_that_were_not_written_yet_are_made_again(phantom, tmp_path, monkeypatch):
    out, trained = tmp_path / "run", []

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Folds, "save", stop)
        assert cli.main(arguments(phantom, out)) == 130
    assert runs.is_run(out)
    monkeypatch.setattr(
        training, "finetune", lambda config, data, records, folds, *_, **__: trained.append(folds) or stop()
    )
    resumed = ["finetune", "--resume", "--out", str(out), "--quiet"]
    assert cli.main(resumed) == 130
    assert cli.main(arguments(phantom, tmp_path / "other")) == 130
    assert trained[0] == trained[1] == Folds.load(out / "folds.json")
    (out / "folds.json").unlink()
    (out / "folds").mkdir()
    assert cli.main(resumed) == 2, "trained folds are never mixed with new ones"
