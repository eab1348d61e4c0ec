"""Options that are not part of a run's config, a class a command: `densecf.commands.table` names them."""

from densecf.commands.options.counterfactuals import (
    CounterfactualEvaluateOptions,
    CounterfactualGenerateOptions,
    CounterfactualImportOptions,
    CounterfactualShowOptions,
)
from densecf.commands.options.data import (
    DataCheckOptions,
    PreparePhantomOptions,
    PreparePublishedOptions,
    PrepareTableOptions,
)
from densecf.commands.options.pictures import ChromapOptions, ExploreOptions
from densecf.commands.options.results import (
    BenchmarkOptions,
    CompareOptions,
    DomainsOptions,
    EmbedOptions,
    EvaluateOptions,
    ExportOptions,
    ProbeOptions,
)
from densecf.commands.options.training import (
    CounterfactualRunOptions,
    CounterfactualTrainOptions,
    FinetuneOptions,
    PretrainOptions,
    RunOptions,
)

__all__ = [
    "BenchmarkOptions",
    "ChromapOptions",
    "CompareOptions",
    "CounterfactualEvaluateOptions",
    "CounterfactualGenerateOptions",
    "CounterfactualImportOptions",
    "CounterfactualRunOptions",
    "CounterfactualShowOptions",
    "CounterfactualTrainOptions",
    "DataCheckOptions",
    "DomainsOptions",
    "EmbedOptions",
    "EvaluateOptions",
    "ExploreOptions",
    "ExportOptions",
    "FinetuneOptions",
    "PreparePhantomOptions",
    "PreparePublishedOptions",
    "PrepareTableOptions",
    "PretrainOptions",
    "ProbeOptions",
    "RunOptions",
]
