"""The commands: for each its options, its function, what is said of it. Values only; nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One command: its options class in `densecf.commands.options`, and the function that does it."""

    options: str
    module: str
    function: str
    summary: str
    examples: tuple[str, ...]


COMMANDS: dict[str, Command] = {
    "data prepare table": Command(
        "PrepareTableOptions",
        "prepare",
        "prepare_table",
        "any CSV of images, masks and parents -> prepared dataset",
        (
            "densecf data prepare table --table lungs.csv --out data/lungs --size 128",
            "densecf data prepare table --table lungs.csv --out data/lungs --manual source=montgomery",
            "densecf data prepare table --table anything.csv --mapping my.yaml --out data/mine",
        ),
    ),
    "data prepare padchest": Command(
        "PreparePublishedOptions",
        "prepare_published",
        "prepare_padchest",
        "PadChest and its masks -> prepared dataset",
        (
            "densecf data prepare padchest --table PADCHEST_*.csv --images padchest --out data/padchest",
            "densecf data prepare padchest --table PADCHEST_*.csv --images padchest --chexmask Padchest.csv \\",
            "    --manual-masks drawn --out data/padchest",
        ),
    ),
    "data prepare chexpert": Command(
        "PreparePublishedOptions",
        "prepare_published",
        "prepare_chexpert",
        "CheXpert -> prepared dataset",
        ("densecf data prepare chexpert --table CheXpert-v1.0/train.csv --images CheXpert-v1.0 --out data/chexpert",),
    ),
    "data prepare rsna": Command(
        "PreparePublishedOptions",
        "prepare_published",
        "prepare_rsna",
        "RSNA Pneumonia -> prepared dataset",
        ("densecf data prepare rsna --table rsna/stage_2_train_labels.csv --images rsna --out data/rsna",),
    ),
    "data prepare embed": Command(
        "PreparePublishedOptions",
        "prepare_published",
        "prepare_embed",
        "EMBED, all six scanners -> prepared dataset",
        ("densecf data prepare embed --table tables --images embed --out data/embed",),
    ),
    "data prepare embed-ood": Command(
        "PreparePublishedOptions",
        "prepare_published",
        "prepare_embed_ood",
        "EMBED, the held-out scanner alone -> prepared dataset",
        ("densecf data prepare embed-ood --table tables --images embed --out data/embed-ood",),
    ),
    "data prepare vindr-mammo": Command(
        "PreparePublishedOptions",
        "prepare_published",
        "prepare_vindr_mammo",
        "VinDr-Mammo -> prepared dataset",
        ("densecf data prepare vindr-mammo --table vindr-mammo --images vindr-mammo --out data/vindr-mammo",),
    ),
    "data prepare phantom": Command(
        "PreparePhantomOptions",
        "prepare",
        "prepare_phantom",
        "procedural chest radiographs with true counterfactuals -> prepared dataset",
        (
            "densecf data prepare phantom --out data/phantom-128 --size 128 --images 5000",
            "densecf data prepare phantom --task opacity --out data/phantom-opacity",
        ),
    ),
    "data check": Command(
        "DataCheckOptions",
        "data_check",
        "run_check",
        "look over a prepared dataset: leaks, sides, grey levels, duplicates; with a contact sheet",
        ("densecf data check data/lungs", "densecf data check data/padchest --verify --out checks/padchest"),
    ),
    "counterfactuals train": Command(
        "CounterfactualTrainOptions",
        "counterfactuals_train",
        "run_train",
        "learn what scanner, sex, effusion, ... do to an image",
        (
            "densecf counterfactuals train                                       # the embedded phantom",
            "densecf counterfactuals train --data data/lungs --parents scanner sex",
            'densecf counterfactuals train --data data/cxr --parents age effusion --edges "age->effusion"',
            "densecf counterfactuals train --init-from hvae --faithfulness 0.1 --epochs 5   # fine-tune",
            "densecf counterfactuals train --resume",
        ),
    ),
    "counterfactuals generate": Command(
        "CounterfactualGenerateOptions",
        "counterfactuals_generate",
        "run_generate",
        "counterfactuals of every record -> into the prepared dataset",
        (
            "densecf counterfactuals generate                                    # the embedded phantom",
            "densecf counterfactuals generate --data data/lungs --do scanner=other sex=other scanner=other+sex=other",
            "densecf counterfactuals generate --data data/lungs --run hvae-2 --source second",
        ),
    ),
    "counterfactuals import": Command(
        "CounterfactualImportOptions",
        "counterfactuals_generate",
        "run_import",
        "a folder of images made elsewhere -> counterfactuals in the prepared dataset",
        (
            "densecf counterfactuals import --data data/padchest --from cf_images --pattern '{stem}_{name}.png' \\",
            "    --names sc=scanner=other pe=pleural_effusion=other sc_pe=scanner=other+pleural_effusion=other",
        ),
    ),
    "counterfactuals evaluate": Command(
        "CounterfactualEvaluateOptions",
        "counterfactuals_evaluate",
        "run_evaluate_counterfactuals",
        "how sound counterfactuals are, on held-out patients",
        (
            "densecf counterfactuals evaluate",
            "densecf counterfactuals evaluate --run hvae hvae-2                  # before and after, in one table",
            "densecf counterfactuals evaluate --data data/padchest --source imported",
        ),
    ),
    "counterfactuals show": Command(
        "CounterfactualShowOptions",
        "counterfactuals_generate",
        "run_show",
        "draw an image, its counterfactuals and what they changed",
        (
            "densecf counterfactuals show                                        # a phantom record, and the truth",
            "densecf counterfactuals show image.png --parents scanner=Philips sex=M --do scanner=Imaging",
            "densecf counterfactuals show --data data/lungs --record images/0007.png --do scanner=other",
        ),
    ),
    "pretrain": Command(
        "PretrainOptions",
        "pretrain",
        "run_pretrain",
        "pretrain a whole U-Net pixel by pixel, or a backbone image by image",
        (
            "densecf pretrain --method s-mvd-cl                     # the embedded phantom",
            "densecf pretrain --method cf-simclr --intervene scanner",
            "densecf pretrain --data data/lungs --method dvd-cl --counterfactuals none --exclude source=montgomery",
            "densecf pretrain --resume                              # the newest unfinished run goes on",
        ),
    ),
    "finetune": Command(
        "FinetuneOptions",
        "finetune",
        "run_finetune",
        "fine-tune in patient-grouped folds and measure on the held-out ones",
        (
            "densecf finetune --folds 5                             # from the latest pretraining run",
            "densecf finetune --folds 5 --from none                 # the baseline",
            "densecf finetune --data data/lungs --where source=montgomery --train-cases 20",
        ),
    ),
    "evaluate": Command(
        "EvaluateOptions",
        "evaluate",
        "run_evaluate",
        "measure a pretrained embedding: k-means purity, separation, linear pixel probe",
        ("densecf evaluate", "densecf evaluate --run dvd-cl --data data/lungs"),
    ),
    "chromap": Command(
        "ChromapOptions",
        "chromap",
        "run_chromap",
        "colour every pixel of an image by its embedding",
        (
            "densecf chromap image.png",
            "densecf chromap a.png b.dcm --run s-mvd-cl --space runs/chromap/image/colour_space.safetensors",
            "densecf chromap                                        # a phantom record and its counterfactuals",
        ),
    ),
    "explore": Command(
        "ExploreOptions",
        "explore",
        "run_explore",
        "a page to point at pixels and see how similar all others are",
        (
            "densecf explore image.png",
            "densecf explore a.png b.dcm --run vader dvd-cl s-mvd-cl # the page switches between the runs",
            "densecf explore --record 0001.png --data data/lungs     # a record and its counterfactuals",
        ),
    ),
    "probe": Command(
        "ProbeOptions",
        "probe",
        "run_probe",
        "predict a label from image features with few labels, on every scanner",
        (
            "densecf probe --label pleural_effusion",
            "densecf probe --label pneumonia --run simclr cf-simclr none --fractions 0.05 0.1 0.25 1 --seeds 3",
            "densecf probe --label pneumonia --run cf-simclr --data data/rsna data/chexpert",
            "densecf probe --label pneumonia --run simclr cf-simclr --finetune",
        ),
    ),
    "domains": Command(
        "DomainsOptions",
        "domains",
        "run_domains",
        "how separable the scanners are in the image features, with a picture",
        ("densecf domains --run simclr cf-simclr", "densecf domains --column sex --projection umap"),
    ),
    "embed": Command(
        "EmbedOptions",
        "embed",
        "run_embed",
        "write the embeddings of images or pixels beside their records",
        (
            "densecf embed --run cf-simclr --out embeddings.parquet",
            "densecf embed --run s-mvd-cl --level pixel --points 200 --where split=test --out pixels.csv",
        ),
    ),
    "export": Command(
        "ExportOptions",
        "export",
        "run_export",
        "a trained network for smp, timm, torchvision, ONNX or MONAI, with a model card",
        (
            "densecf export --format smp                            # the latest pretraining run",
            "densecf export --run s-mvd-cl --fold 0 --format onnx   # one fold of a fine-tuning run",
            "densecf export --run cf-simclr --format timm --out exports/cf-simclr",
        ),
    ),
    "compare": Command(
        "CompareOptions",
        "compare",
        "run_compare",
        "paired differences between two fine-tuning runs",
        ("densecf compare s-mvd-cl baseline",),
    ),
    "benchmark": Command(
        "BenchmarkOptions",
        "benchmark",
        "run_benchmark",
        "a whole comparison: every method, the same folds, statistics and a report",
        (
            "densecf benchmark configs/benchmark/phantom.yaml --dry-run",
            "densecf benchmark configs/benchmark/phantom.yaml",
            "densecf benchmark my.yaml --only s-mvd-cl --jobs 2",
            "densecf benchmark my.yaml --launcher slurm --sbatch partition=gpu gres=gpu:1 time=8:00:00",
        ),
    ),
}
