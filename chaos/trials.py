"""Every command of densecf on tiny data: what is typed, and what is typed again after a kill."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

NETWORK = "--model.encoder resnet18 --model.decoder-channels 16 16 8 8 8 --hardware.precision 32 --quiet"
ALWAYS = "--checkpoint-minutes 0"
PRETRAIN = f"--data ./phantom --epochs 2 --batch-size 12 --points 32 {NETWORK} {ALWAYS}"
FINETUNE = f"--data ./phantom --epochs 2 --batch-size 18 --folds 2 --hardware.workers 0 {NETWORK} {ALWAYS}"
HVAE = (
    "--preset 64 --network.encoder 16b1d2,8b1d2,4b1d4,1b1 --network.decoder 1b1,4b2,8b1,16b1 "
    "--network.widths 8 8 16 16 --network.latents 4 3 2 1 --network.max-latent-size 8 "
    "--network.patch 2 --batch-size 12 --epochs 2 "
    f"--hardware.workers 0 --hardware.precision 32 --data ./phantom --quiet {ALWAYS}"
)
PUBLISHED = "--out out --size 32 --workers 1 --quiet"
MATRIX = """
data: {phantom}
counterfactuals: truth
preset: embedded
methods: [none, vader]
looks: 1
pictures: 0
pretrain: {{epochs: 1, batch_size: 12, points: 32, monitor_every: 0, model: &m {{encoder: resnet18,
  decoder_channels: [16, 16, 8, 8, 8]}}, checkpoint_minutes: 0, hardware: {{precision: '32'}}}}
finetune: {{epochs: 1, batch_size: 18, folds: 2, model: *m, checkpoint_minutes: 0, hardware: {{precision: '32'}}}}
"""


@dataclass(frozen=True)
class Trial:
    """One command on the workshop's data.

    Attributes:
        command: as in densecf.commands.table.COMMANDS.
        arguments: what follows it.
        resume: what is typed after a kill instead, where the command has --resume; "" for the same again.
    """

    command: str
    arguments: str
    resume: str = ""

    @property
    def argv(self) -> list[str]:
        return [*self.command.split(), *self.arguments.split()]

    @property
    def resumed(self) -> list[str]:
        return [*self.command.split(), *self.resume.split()] if self.resume else []


TRIALS = (
    Trial("data prepare table", "--table cohort/table.csv --out out --size 32 --workers 1 --quiet"),
    Trial("data prepare padchest", f"--table raw/padchest/{{padchest}} --images raw/padchest {PUBLISHED}"),
    Trial("data prepare chexpert", f"--table raw/chexpert/{{chexpert}} --images raw/chexpert {PUBLISHED}"),
    Trial("data prepare rsna", f"--table {{rsna}} --images raw/rsna {PUBLISHED}"),
    Trial("data prepare embed", f"--table {{embed}} --images raw/embed {PUBLISHED}"),
    Trial("data prepare embed-ood", f"--table {{embed-ood}} --images raw/embed-ood {PUBLISHED}"),
    Trial("data prepare vindr-mammo", f"--table {{vindr-mammo}} --images raw/vindr-mammo {PUBLISHED}"),
    Trial("data prepare phantom", "--out out --size 32 --images 24 --workers 1 --quiet"),
    Trial("data check", "./phantom --out out --workers 1 --quiet"),
    Trial("counterfactuals train", f"--out out {HVAE}", "--resume --out out --quiet"),
    Trial("counterfactuals generate", "--data ./phantom --run hvae --batch-size 4 --quiet"),
    Trial(
        "counterfactuals import",
        "--data ./phantom --from imported --names a=scanner=other b=pleural_effusion=other --quiet",
    ),
    Trial("counterfactuals evaluate", "--run hvae --judge-epochs 1 --images 8 --out out --quiet"),
    Trial("counterfactuals show", "--data ./phantom --run hvae --out out"),
    Trial("pretrain", f"--method s-mvd-cl --hardware.workers 1 --out out {PRETRAIN}", "--resume --out out --quiet"),
    Trial("finetune", f"--from none --out out {FINETUNE}", "--resume --out out --quiet"),
    Trial("evaluate", "--run pixels --images 8 --out out"),
    Trial("chromap", "a.png --run pixels --fit-pixels 300 --out out"),
    Trial("explore", "a.png --run pixels --out out"),
    Trial(
        "probe",
        "--label pleural_effusion --run simclr --fractions 0.5 1 --seeds 1 --finetune --steps 6 --batch-size 8 "
        f"--hardware.workers 0 --hardware.precision 32 --out out --quiet {ALWAYS}",
        "--label pleural_effusion --run simclr --fractions 0.5 1 --seeds 1 --finetune --steps 6 --batch-size 8 "
        f"--hardware.workers 0 --hardware.precision 32 --resume --out out --quiet {ALWAYS}",
    ),
    Trial("domains", "--run simclr cf-simclr --out out --quiet"),
    Trial("embed", "--run simclr --out embeddings.parquet --quiet"),
    Trial("export", "--run pixels --format smp --out out"),
    Trial("compare", "first second --out out"),
    Trial("benchmark", "matrix.yaml --quiet --jobs 1"),
)


def trial_of(command: str) -> Trial:
    return next(trial for trial in TRIALS if trial.command == command)


def build_workshop(
    folder: Path,
    trials: Sequence[Trial],
    run: Callable[[list[str]], None],
    forked: Callable[[Callable[[], int]], None],
) -> None:
    """All that the trials start from, made once.

    Args:
        folder: empty.
        trials: for which; runs that none of them names are not made.
        run: runs densecf with arguments in the folder; raises when that fails.
        forked: runs a function in the folder in a process of its own.
    """
    run([*trial_of("data prepare phantom").argv, "--out", "phantom"])
    forked(lambda: _raw_files(folder))
    finetune_pixels = FINETUNE.replace(NETWORK, "--quiet --hardware.precision 32")  # the network is that of the weights
    made_by = {
        "pixels": f"pretrain --method s-mvd-cl --name pixels --hardware.workers 0 {PRETRAIN}",
        "first": f"finetune --from pixels --name first {finetune_pixels}",
        "second": f"finetune --from none --name second {FINETUNE}",
        "hvae": f"counterfactuals train --name hvae {HVAE}",
    }
    named = {word for trial in trials for word in trial.argv}
    named |= {"pixels"} if "first" in named else set()
    for name, command in made_by.items():
        if name in named:
            run(command.split())


def filled(trial: Trial) -> list[str]:
    """The trial's arguments with the tables of the published datasets put in."""
    return _filled(trial.argv)


def filled_again(trial: Trial) -> list[str]:
    return _filled(trial.resumed)


def _filled(words: list[str]) -> list[str]:
    from tests.data.published.all import CASES

    tables = {case.name: case.tables for case in CASES}
    found: list[str] = []
    for word in words:
        name = word[word.find("{") + 1 : -1]
        if "{" not in word:
            found.append(word)
        else:
            found += [f"raw/{name}/{table}" for table in tables[name]]
    return found


def _raw_files(folder: Path) -> int:
    import numpy as np
    from PIL import Image

    from densecf.data.prepared import PreparedDataset
    from tests.commands.fake_runs import image_level_run
    from tests.data.making import cohort
    from tests.data.published.all import CASES

    for case in CASES:
        (folder / "raw" / case.name).mkdir(parents=True)
        case.build(folder / "raw" / case.name, 16)
    (folder / "cohort").mkdir()
    cohort(folder / "cohort", 24)
    data = PreparedDataset.open(folder / "phantom")
    train = np.flatnonzero(data.records["split"] == "train")
    for name in ("simclr", "cf-simclr"):
        image_level_run(folder, name, data, train)
    (folder / "imported").mkdir()
    for row, image in enumerate(data.records["image"]):
        for number, name in enumerate("ab"):
            pixels = np.roll(np.asarray(data.images[row]), 1 + number, axis=1)
            Image.fromarray(pixels).save(folder / "imported" / f"{Path(image).stem}_{name}.png")
    picture = (np.asarray(data.images[0]) // 256).astype(np.uint8)
    Image.fromarray(picture).resize((60, 45)).save(folder / "a.png")
    (folder / "matrix.yaml").write_text(MATRIX.format(phantom=folder / "phantom"))
    return 0
