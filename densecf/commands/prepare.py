"""``densecf data prepare``: any source becomes a prepared dataset."""

from __future__ import annotations

import os

from densecf.commands.datasets import check_size, save_examples
from densecf.commands.options import PreparePhantomOptions, PrepareTableOptions
from densecf.data.prepare import prepare
from densecf.data.prepared import PreparedDataset


def prepare_table(options: PrepareTableOptions) -> PreparedDataset:
    from densecf.data.readers.table import TableSource

    check_size(options.size)
    source = TableSource(options.table, root=options.root, profile=options.profile, manual=options.manual)
    data = prepare(
        source,
        options.out,
        size=options.size,
        workers=options.workers or _cores(),
        overwrite=options.overwrite,
        skip_bad=options.skip_bad,
        progress=not options.quiet,
    )
    print(describe(data))
    return data


def prepare_phantom(options: PreparePhantomOptions) -> PreparedDataset:
    from densecf.data.readers.phantom import PhantomSource

    check_size(options.size)
    data = prepare(
        PhantomSource(num_pretraining=options.images, seed=options.seed),
        options.out,
        size=options.size,
        workers=options.workers or _cores(),
        overwrite=options.overwrite,
        progress=not options.quiet,
    )
    examples = save_examples(data)
    print(describe(data))
    print("Examples: " + ", ".join(map(str, examples)))
    return data


def describe(data: PreparedDataset) -> str:
    """What a prepared dataset holds, in a few lines."""
    records = data.records
    lines = [f"{len(records)} images of {records['patient_id'].nunique()} patients, {data.size} x {data.size} pixels"]
    for split, group in records.groupby("split"):
        masks = ", ".join(
            f"{count} with {kind or 'no'} mask" for kind, count in group["mask_kind"].value_counts().items()
        )
        known = group["pleural_effusion"].dropna().tolist() if "pleural_effusion" in group else []
        effusion = f", {int(sum(known))} of {len(known)} with effusion" if len(known) else ""
        lines.append(f"  {split}: {len(group)} images of {group['patient_id'].nunique()} patients ({masks}{effusion})")
    for source, names in data.counterfactuals.items():
        lines.append(f"  counterfactuals, {source}: {', '.join(names)}")
    return "\n".join([*lines, f"Dataset: {data.path}"])


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
