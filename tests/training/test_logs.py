"""What a training tells while it runs."""

from densecf.training.logs import ProgressBar


def test_the_bar_is_on_stderr_and_leaves_stdout_to_results(capsys):
    ProgressBar("hvae", work_per_step=10).init_train_tqdm().close()
    printed = capsys.readouterr()
    assert not printed.out
    assert "hvae" in printed.err
