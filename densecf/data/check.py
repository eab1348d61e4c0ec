"""Look over a prepared dataset: counts, leaks, grey levels, masks, duplicates and counterfactuals, in one pass.

Images are read one at a time and never held; memory grows by about a kilobyte an image.
"""

from dataclasses import dataclass
from typing import Any

from densecf.data.checks.anatomy import check_masks
from densecf.data.checks.counts import check_counts
from densecf.data.checks.duplicates import check_duplicates
from densecf.data.checks.findings import GRADES, Finding, Result, Table
from densecf.data.checks.intensities import check_intensities
from densecf.data.checks.measure import measure
from densecf.data.checks.stored import check_counterfactuals
from densecf.data.prepared import PreparedDataset
from densecf.errors import DataError


@dataclass(frozen=True)
class Report:
    """What `check` found.

    Attributes:
        dataset: the folder.
        summary: one line about the dataset.
        findings: errors first, then warnings, then notes.
        tables: counts and measurements.
    """

    dataset: str
    summary: str
    findings: tuple[Finding, ...]
    tables: tuple[Table, ...]

    def of_grade(self, grade: str) -> list[Finding]:
        return [finding for finding in self.findings if finding.grade == grade]

    def to_json(self) -> dict[str, Any]:
        return {
            "dataset": self.dataset,
            "summary": self.summary,
            **{f"{grade}s": len(self.of_grade(grade)) for grade in GRADES},
            "findings": [finding.to_json() for finding in self.findings],
            "tables": [table.to_json() for table in self.tables],
        }


def check(data: PreparedDataset, *, verify: bool = False, workers: int | None = None, progress: bool = True) -> Report:
    """Everything a careful person would look at; nothing is changed and nothing raised for what is found.

    Args:
        data: an opened dataset.
        verify: compare the checksums of all files as well.
        workers: processes; by default one a core. The result does not depend on it.
        progress: show progress bars.
    """
    source = data.meta["fingerprint"].get("source", {})
    counts = check_counts(data.records, known_shared=int(source.get("shared_patients", 0)))
    files = _check_files(data) if verify else Result()
    measures = measure(data, workers=workers, progress=progress)
    results = [
        files,
        counts,
        check_intensities(data.records, measures),
        check_masks(data.records, measures, data.class_names, data.size),
        check_duplicates(data, measures, progress=progress),
        check_counterfactuals(data.records, measures),
    ]
    findings = [finding for result in results for finding in result.findings]
    return Report(
        dataset=str(data.path),
        summary=_summary(data),
        findings=tuple(sorted(findings, key=lambda finding: GRADES.index(finding.grade))),
        tables=tuple(table for result in results for table in result.tables),
    )


def _check_files(data: PreparedDataset) -> Result:
    try:
        data.verify()
    except DataError as error:
        return Result(findings=[Finding("error", "files", str(error))])
    return Result(findings=[Finding("note", "files", "all checksums are right.", len(data.meta["files"]))])


def _summary(data: PreparedDataset) -> str:
    profile = data.meta["profile"]
    recipe = f"profile {profile} {data.meta['profile_version']}" if profile else "no files of its own"
    skipped = data.meta["skipped"]
    return (
        f"{len(data):,} images of {data.records['patient_id'].nunique():,} patients, {data.size} x {data.size} px, "
        f"{recipe}; classes: {', '.join(data.class_names)}"
        + (f"; {skipped:,} unusable records were left out (skipped.csv)" if skipped else "")
    )
