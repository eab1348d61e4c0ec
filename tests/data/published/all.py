"""All published datasets under one roof, for tests that are the same for each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.data.published import chexpert, embed, padchest, rsna, vindr_mammo


@dataclass(frozen=True)
class Case:
    """A dataset's name for `read_records`, its builder, and its CSV tables, those of the images first."""

    name: str
    build: Callable[..., Any]
    tables: tuple[str, ...]

    @property
    def table(self) -> str:
        return self.tables[0]


CASES = (
    Case("padchest", padchest.build, (padchest.TABLE,)),
    Case("chexpert", chexpert.build, ("CheXpert-v1.0-small/train.csv",)),
    Case("rsna", rsna.build, ("stage_2_train_labels.csv", "Data_Entry_2017.csv")),
    Case(
        "embed",
        embed.build,
        ("tables/EMBED_OpenData_metadata_reduced.csv", "tables/EMBED_OpenData_clinical_reduced.csv"),
    ),
    Case(
        "embed-ood",
        embed.build,
        ("tables/EMBED_OpenData_metadata_reduced.csv", "tables/EMBED_OpenData_clinical_reduced.csv"),
    ),
    Case("vindr-mammo", vindr_mammo.build, ("breast-level_annotations.csv", "metadata.csv")),
)
