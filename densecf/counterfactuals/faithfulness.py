"""Fine-tuning for faithfulness: a predictor's verdict on counterfactuals becomes part of the loss.

Soft labels, as Mehta et al. use them (CF-Seg, MICCAI 2025): the parent that was changed is to be found at its new
value; all others as the predictor finds them on the real image, which keeps a counterfactual from exaggerating them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from densecf.counterfactuals.parents import CONTINUOUS, Parents
from densecf.counterfactuals.predictors import ParentPredictor


def random_intervention(parents: Tensor, layout: Parents, generator: torch.Generator) -> tuple[Tensor, str]:
    """One parent of the whole batch, set to values of other records: a draw from its marginal.

    Args:
        parents: (B, P) encoded.
        layout: what the columns are.

    Returns:
        The changed parents (B, P), and which one it was.
    """
    names = layout.names
    name = names[int(torch.randint(len(names), (), generator=generator))]
    order = torch.randperm(len(parents), generator=generator).to(parents.device)
    changed, columns = parents.clone(), layout.columns(name)
    changed[:, columns] = parents[order, columns]
    return changed, name


def verdict(
    predictor: ParentPredictor, images: Tensor, counterfactuals: Tensor, changed: Tensor, layout: Parents, name: str
) -> Tensor:
    """Mean over the parents of the predictor's disagreement with what each should be; cross-entropy or squared error.

    Args:
        predictor: frozen.
        images, counterfactuals: (B, 1, S, S) in [0, 1].
        changed: (B, P), the parents of the counterfactuals.
        name: the parent that was intervened on.
    """
    found = predictor(counterfactuals)
    with torch.no_grad():
        before = predictor(images)
    losses = []
    for parent in layout.entries:
        logits, target = found[parent.name].float(), before[parent.name].float()
        wanted = changed[:, layout.columns(parent.name)].float()
        if parent.kind == CONTINUOUS:
            losses.append(F.mse_loss(logits, wanted[:, 0] if parent.name == name else target))
            continue
        if parent.name == name:  # binary is written -1 and +1, categorical one-hot
            classes = (wanted[:, 0] > 0).long() if wanted.shape[1] == 1 else wanted.argmax(dim=1)
            losses.append(F.cross_entropy(logits, classes))
        else:
            losses.append(F.cross_entropy(logits, target.softmax(dim=1)))
    return torch.stack(losses).mean()
