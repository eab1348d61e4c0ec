"""Write a prepared dataset: all of it or nothing, and never the same row twice.

Work happens in ``<out>.partial``, where a journal notes each finished row with the checksum of its
bytes. A killed run resumes from it; at the end the finished folder is renamed to ``out``.
"""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from densecf.data.encode import RowWriter, Unusable, Written, row_files, still_valid
from densecf.data.finish import finish, list_of_unusable
from densecf.data.images import SMALLEST
from densecf.data.layout import FORMAT, META, read_meta
from densecf.data.parallel import available_cpus, map_rows
from densecf.data.prepared import PreparedDataset
from densecf.data.problems import Problems
from densecf.data.records import records_to_csv, validate
from densecf.data.row_files import RowFile
from densecf.data.sources import Source
from densecf.errors import ConfigError, DataError, DensecfError
from densecf.files import (
    exclusive_lock,
    explained_os_errors,
    read_json,
    to_jsonable,
    write_json_atomic,
    write_text_atomic,
)

_PLAN, _JOURNAL, _LOCK, _DATASET, _UNUSABLE = "plan.json", "journal.jsonl", "lock", "dataset", "unusable.csv"


def prepare(
    source: Source,
    out: str | Path,
    *,
    size: int,
    workers: int | None = None,
    overwrite: bool = False,
    skip_bad: bool = False,
    max_bad: float = 1.0,
    progress: bool = True,
) -> PreparedDataset:
    """Prepare all records of a source at one size.

    The result does not depend on ``workers``, nor on how often the run was killed and called again.
    If ``out`` already holds the same dataset it is opened as it is; ``status`` of the result says so.

    Args:
        source: a table of files (`densecf.data.readers.table.TableSource`) or the phantom.
        out: the folder to make.
        size: S, pixels a side.
        workers: processes; by default one a core.
        overwrite: replace another prepared dataset at ``out`` (any other folder is left alone).
        skip_bad: leave unusable records out and list them in ``skipped.csv``, rather than fail.
        max_bad: the share of records that ``skip_bad`` may leave out, between 0 and 1.
        progress: show a progress bar with rate and estimate.

    Raises:
        DataError: records that cannot be used (all of them are reported, with file and reason), or
            ``out`` holds something else.
        ConfigError: a size below 16, or less than one worker.
        DensecfError: the disk is full or cannot be written, a worker died, or another run is at work here.
    """
    if size < SMALLEST:
        raise ConfigError(f"size is {size}, expected at least {SMALLEST} pixels.")
    if workers is not None and workers < 1:
        raise ConfigError(f"workers is {workers}, expected at least 1.")
    out = Path(os.path.abspath(out)) if Path(out).name in ("", "..") else Path(out)
    records = _complete(source)
    fingerprint = _fingerprint(source, records, size)
    partial = out.with_name(out.name + ".partial")
    existing = _existing(out, fingerprint, overwrite, skip_bad)
    if existing is not None:
        if _same_plan(partial / _PLAN, fingerprint):  # killed between the rename and tidying up
            shutil.rmtree(partial, ignore_errors=True)
        return existing
    with exclusive_lock(partial / _LOCK, f"Another process is preparing {out}. Wait for it, or choose another --out."):
        has_mask = (records["mask_kind"] != "").to_numpy()
        files = row_files(partial / _DATASET, source, bool(has_mask.any()), len(records), size)
        done = _resume(partial, fingerprint, files)
        status = "resumed" if done else "prepared"
        writer = RowWriter(source, files, records["image"].tolist(), has_mask, size)
        unusable = _write_rows(writer, partial, done, len(records), workers or available_cpus(), progress)
        if unusable and (not skip_bad or not done or len(unusable) > max_bad * len(records)):
            raise _refusal(unusable, len(records), partial, bool(done), max_bad if skip_bad else None)
        finish(partial / _DATASET, out, source, records, fingerprint, files, done, unusable)
        shutil.rmtree(partial, ignore_errors=True)
    dataset = PreparedDataset.open(out)
    dataset.status = status
    return dataset


def _complete(source: Source) -> pd.DataFrame:
    # Only a source that reproduces a published split has counted patients in several splits.
    allowed = getattr(source, "shared_patients", 0) > 0
    records = validate(source.records, where="the source's records", allow_shared_patients=allowed)
    if "split" not in records:
        records["split"] = pd.Series(["train"] * len(records), dtype="str")
    return records


def _fingerprint(source: Source, records: pd.DataFrame, size: int) -> dict[str, Any]:
    """All that decides the content, as it will be read back from JSON."""
    return {
        "format": FORMAT,
        "size": size,
        "class_names": list(source.class_names),
        "counterfactuals": [source.counterfactual_source, *source.counterfactual_names],
        "records_sha256": hashlib.sha256(records_to_csv(records).encode()).hexdigest(),
        "source": to_jsonable(source.fingerprint()),
    }


def _existing(out: Path, fingerprint: dict[str, Any], overwrite: bool, skip_bad: bool) -> PreparedDataset | None:
    """The dataset at ``out`` if it is the wanted one, None if the place is free or may be replaced."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not (out / META).is_file():
        raise DataError(f"{out}: exists and is not a prepared dataset, so it is not touched. Choose another --out.")
    if overwrite:
        return None
    meta = read_meta(out)
    differing = _differences(meta["fingerprint"], fingerprint)
    if differing:
        raise DataError(
            f"{out}: already holds a dataset prepared from other data or settings ({', '.join(differing)} differ). "
            "Replace it with --overwrite, or choose another --out."
        )
    if meta["skipped"] and not skip_bad:
        raise DataError(
            f"{out}: was prepared without {meta['skipped']:,} unusable records (see skipped.csv there). Accept that "
            "with --skip-bad, or prepare again with --overwrite."
        )
    dataset = PreparedDataset.open(out)
    dataset.status = "reused"
    return dataset


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    names = []
    for key in sorted(set(old) | set(new)):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            names += _differences(a, b)
        elif a != b:
            names.append(key)
    return names


def _resume(partial: Path, fingerprint: dict[str, Any], files: dict[str, RowFile]) -> dict[int, Written]:
    """The rows that an earlier run of the same plan finished; without one, make the files anew."""
    if _same_plan(partial / _PLAN, fingerprint) and all(file.is_whole() for file in files.values()):
        return _read_journal(partial / _JOURNAL, files)
    with explained_os_errors(partial):
        for folder in (_DATASET, "kept"):
            shutil.rmtree(partial / folder, ignore_errors=True)
        for name in (_PLAN, _JOURNAL, _UNUSABLE):
            (partial / name).unlink(missing_ok=True)
    try:
        for file in files.values():
            file.create()
        write_json_atomic(partial / _PLAN, fingerprint)
    except DensecfError:  # no room: do not hold on to what little there is
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return {}


def _same_plan(path: Path, fingerprint: dict[str, Any]) -> bool:
    try:
        return read_json(path) == fingerprint
    except DensecfError:
        return False


def _read_journal(path: Path, files: dict[str, RowFile]) -> dict[int, Written]:
    done: dict[int, Written] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in lines:
        try:
            written = Written.from_json(line)
        except (ValueError, TypeError, KeyError):  # cut off by the kill
            continue
        if still_valid(written, files):
            done[written.row] = written
    return done


def _write_rows(
    writer: RowWriter, partial: Path, done: dict[int, Written], total: int, workers: int, progress: bool
) -> list[Unusable]:
    """Write all rows that are not in ``done``, add them there, and return those that cannot be used."""
    from tqdm import tqdm

    todo = [row for row in range(total) if row not in done]
    unusable: list[Unusable] = []
    journal_path = partial / _JOURNAL
    # One write a line and no buffer: after a kill the journal holds all rows but the last few.
    bar = tqdm(total=total, initial=len(done), desc="prepare", unit="image", disable=not progress)
    with open(journal_path, "ab", buffering=0) as journal, bar:
        for result in map_rows(writer, todo, workers):
            bar.update()
            if isinstance(result, Unusable):
                unusable.append(result)
                continue
            with explained_os_errors(journal_path):
                journal.write(f"\n{result.to_json()}".encode())  # the break also ends a line that a kill cut off
            done[result.row] = result
    return unusable


def _refusal(
    unusable: list[Unusable], total: int, partial: Path, worth_keeping: bool, max_bad: float | None
) -> DataError:
    problems = Problems([(bad.image, bad.reason) for bad in unusable])
    title = f"{len(unusable):,} of {total:,} records cannot be used"
    if not worth_keeping:
        shutil.rmtree(partial, ignore_errors=True)
        return DataError(problems.report(title, "No record is left, so nothing was prepared."))
    write_text_atomic(partial / _UNUSABLE, list_of_unusable(unusable))
    way_out = "--skip-bad" if max_bad is None else f"a --max-bad above {max_bad:g}"
    return DataError(
        problems.report(
            title,
            f"Mend or remove them, or leave them out with {way_out}. The whole list is in {partial / _UNUSABLE}; the "
            "finished rows beside it are used when you run again, and you may delete that folder.",
        )
    )
