import pytest
import torch
from torch import nn
from torch.nn import functional as F

from densecf.counterfactuals.faithfulness import random_intervention, verdict
from densecf.counterfactuals.parents import Parent, Parents

LAYOUT = Parents(
    (
        Parent("scanner", "categorical", ("A", "B", "C")),
        Parent("sex", "binary", ("F", "M")),
        Parent("age", "continuous", (), 50.0, 10.0),
    )
)
PARENTS = torch.tensor([[1.0, 0, 0, -1, 0.5], [0, 1, 0, 1, -1.0], [0, 0, 1, 1, 2.0], [1, 0, 0, -1, 0.1]])


class Linear(nn.Module):
    """What it finds is linear in the image's mean."""

    def forward(self, images):
        level = images.mean(dim=(1, 2, 3))
        return {
            "scanner": level[:, None] * torch.tensor([1.0, -2.0, 0.5]),
            "sex": level[:, None] * torch.tensor([0.3, -0.7]),
            "age": 2 * level,
        }


def test_one_parent_takes_the_values_of_other_records():
    seen = set()
    for seed in range(30):
        changed, name = random_intervention(PARENTS, LAYOUT, torch.Generator().manual_seed(seed))
        columns = LAYOUT.columns(name)
        others = [i for i in range(5) if not columns.start <= i < columns.stop]
        assert torch.equal(changed[:, others], PARENTS[:, others])
        assert sorted(map(tuple, changed[:, columns].tolist())) == sorted(map(tuple, PARENTS[:, columns].tolist()))
        seen.add(name)
    assert seen == {"scanner", "sex", "age"}


@pytest.mark.parametrize("name", ["scanner", "sex", "age"])
def test_changed_parents_are_hard_targets_and_others_soft_ones(name):
    generator = torch.Generator().manual_seed(0)
    images, answers = torch.rand(2, 4, 1, 3, 3, generator=generator)
    predictor, total = Linear(), 0.0
    found, before = predictor(answers), predictor(images)
    for row in range(4):
        classes = {"scanner": int(PARENTS[row, :3].argmax()), "sex": int(PARENTS[row, 3] > 0)}
        for parent in ("scanner", "sex"):
            log = F.log_softmax(found[parent][row], dim=0)
            soft = before[parent][row].softmax(dim=0)
            total += float(-log[classes[parent]] if parent == name else -(soft * log).sum())
        wanted = PARENTS[row, 4] if name == "age" else before["age"][row]
        total += float((found["age"][row] - wanted) ** 2)
    loss = verdict(predictor, images, answers, PARENTS, LAYOUT, name)
    assert float(loss) == pytest.approx(total / 4 / 3, rel=1e-5)


def test_the_gradient_reaches_the_counterfactual_and_not_the_image():
    images, answers = torch.rand(2, 4, 1, 3, 3).unbind(0)
    images.requires_grad_(), answers.requires_grad_()
    verdict(Linear(), images, answers, PARENTS, LAYOUT, "sex").backward()
    assert images.grad is None
    assert float(answers.grad.abs().sum()) > 0
