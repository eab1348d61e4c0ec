"""The loss of DINO-v2: agreement of crops (DINO), of masked patches (iBOT), and spread over the sphere (KoLeo).

The terms are lightly's. Only what the joint batch of several processes needs is added here.
"""

from __future__ import annotations

import torch
from lightly.loss import DINOLoss, IBOTPatchLoss, KoLeoLoss
from lightly.models.modules.center import Center, center_momentum
from torch import Tensor, nn

from densecf.losses.gather import all_reduce_sum, gather_rows, world_size


class DistillationLoss(nn.Module):
    """DINO + ``ibot`` * iBOT + ``koleo`` * KoLeo.

    Args:
        prototypes: K, outputs of the heads.
        student_temperature: what the student's outputs are divided by.
        ibot, koleo: weights of the two further terms; a weight of 0 switches a term off.
    """

    def __init__(self, prototypes: int, *, student_temperature: float, ibot: float, koleo: float):
        super().__init__()
        self.ibot_weight, self.koleo_weight = ibot, koleo
        self.dino = DINOLoss(prototypes, student_temp=student_temperature)
        self.ibot = IBOTPatchLoss(prototypes, student_temp=student_temperature)
        self.ibot.center = _JointCenter(self.ibot.center.size, momentum=self.ibot.center.momentum)
        self.koleo = KoLeoLoss()

    def forward(
        self,
        teacher: Tensor,
        student: Tensor,
        *,
        teacher_temperature: float,
        embeddings: Tensor,
        patches: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch; the centres of the teacher's outputs move with every call.

        Args:
            teacher: (2, B, K) outputs for the large crops.
            student: (2 + L, B, K) outputs for the large crops, then the small ones.
            teacher_temperature: what the teacher's outputs are divided by.
            embeddings: (2, B, D) the student's features of the large crops, for KoLeo.
            patches: teacher's and student's outputs (M, K) for the masked patches, and the mask (2 * B, h, w), or None.

        Returns:
            The loss (scalar), and its terms without gradient. Averaged over processes, the gradient is that of one
            process with the joint batch.
        """
        # In full precision: lightly's sums over prototypes would otherwise be made in half of it.
        with torch.autocast(embeddings.device.type, enabled=False):
            loss = self.dino(list(_full(teacher.detach())), list(_full(student)), teacher_temp=teacher_temperature)
            terms = {"dino": loss.detach()}
            if patches is not None and self.ibot_weight:
                of_teacher, of_student, mask = patches
                ibot = self.ibot(_full(of_teacher.detach()), _full(of_student), mask, teacher_temp=teacher_temperature)
                loss, terms["ibot"] = loss + self.ibot_weight * ibot, ibot.detach()
            if self.koleo_weight:
                # Neighbours are sought among all processes: the spread is that of the joint batch.
                koleo = torch.stack([self.koleo(gather_rows(_full(crop).contiguous())) for crop in embeddings]).mean()
                loss, terms["koleo"] = loss + self.koleo_weight * koleo, koleo.detach()
        return loss, terms


class _JointCenter(Center):
    """Moves towards the mean over all processes' rows; lightly's takes the mean of means, whatever their numbers."""

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        if world_size() == 1:
            return super().update(x)
        total, count = all_reduce_sum(x.sum(self.dim, keepdim=True)), all_reduce_sum(x.new_full((), len(x)))
        self.center = center_momentum(self.value, total / count, self.momentum)


def _full(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
