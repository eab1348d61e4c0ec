"""Image-level contrast: the one loss is SimCLR's, alone and over two processes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from lightly.loss import NTXentLoss
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import default_collate

from densecf.config import DistillationConfig, ModelConfig, OptimConfig, PretrainConfig
from densecf.data.prepared import PreparedDataset
from densecf.errors import DataError
from densecf.losses import contrast
from densecf.methods import METHODS
from densecf.models.weights import load_run
from densecf.training.distillation import Distillation
from densecf.training.image_level import ImageContrast
from densecf.training.pixel_level import Contrast
from densecf.training.pretrain import make_module, make_samples, pretrain

VIT = ModelConfig(encoder="vit_tiny_patch16_224", projection_hidden=16, projection_dim=8)
DINO = DistillationConfig(prototypes=32, hidden=16, bottleneck=8, local_crops=2, drop_path=0.0, layer_decay=1.0)
IMAGES = {method: row for method, row in METHODS.items() if row.image_level}


@pytest.fixture(scope="module")
def data(phantom) -> PreparedDataset:
    return PreparedDataset.open(phantom)


def config_for(method: str, **options) -> PretrainConfig:
    return PretrainConfig(method=method, patch_size=8, temperature=0.3, model=VIT, distillation=DINO, **options)


def module_and_batch(data, method: str, rows=(1, 4, 9, 17), stored=("", ())):
    config = config_for(method)
    module = make_module(config, data, 10, None)
    dataset = make_samples(config, data, stored, module).dataset
    return module, default_collate([dataset[0, row] for row in rows])


@pytest.mark.parametrize("images", [2, 3, 8, 64])
def test_simclr_is_nt_xent(images):
    generator = torch.Generator().manual_seed(images)
    first, second = torch.randn(2, images, 16, generator=generator, dtype=torch.float64, requires_grad=True)
    ids = torch.arange(images)[:, None].expand(images, 2)
    ours = contrast(torch.stack([first, second], 1)[:, :, None], ids[..., None], pairing="multi", temperature=0.1)
    theirs = NTXentLoss(temperature=0.1)(first, second)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    for mine, other in zip(
        torch.autograd.grad(ours, (first, second)), torch.autograd.grad(theirs, (first, second)), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-6)


def test_the_training_step_is_nt_xent_of_its_embeddings(data):
    module, batch = module_and_batch(data, "simclr")
    assert isinstance(module, ImageContrast)
    with torch.no_grad():
        rows = module.head(module.encoder(batch["images"].flatten(0, 1))).unflatten(0, (4, 2))
        expected = NTXentLoss(temperature=0.3)(rows[:, 0], rows[:, 1])
        torch.testing.assert_close(module.training_step(batch, 1), expected)


@pytest.mark.parametrize("method", IMAGES)
def test_every_trained_weight_gets_a_gradient(data, method):
    module, batch = module_and_batch(data, method)
    module.train()
    module.trainer = _Clock()  # type: ignore[assignment]
    module.training_step(batch, 1).backward()
    assert [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None] == []
    if isinstance(module, Distillation):
        assert not any(p.requires_grad for p in module.teacher.parameters())


@pytest.mark.parametrize(("start", "end"), [(0.0, 0.4), (0.4, 0.0), (0.04, 0.4)])
def test_weight_decay_follows_its_schedule_from_and_to_zero(data, start, end):
    options = {"optim": OptimConfig(weight_decay=start)}
    config = replace(config_for("dino", **options), distillation=replace(DINO, weight_decay_end=end))
    module = make_module(config, data, 11, None)
    module.trainer = _Clock()  # type: ignore[assignment]
    optimizer = module.configure_optimizers()["optimizer"]
    seen = {}
    for step in (0, 5, 10, 5):
        module.trainer.global_step = step  # type: ignore[misc]
        module.on_before_optimizer_step(optimizer)
        seen[step] = [group["weight_decay"] for group in optimizer.param_groups]
    spared = [all(p.ndim < 2 for p in group["params"]) for group in optimizer.param_groups]
    assert any(spared)
    for step, expected in ((0, start), (5, (start + end) / 2), (10, end)):
        assert seen[step] == pytest.approx([0 if no_decay else expected for no_decay in spared])


class _Clock:
    """What a module asks of its trainer outside a training."""

    global_step, global_rank, world_size, precision = 0, 0, 1, "32-true"


def gradients(module, batch) -> list[torch.Tensor]:
    module.trainer = _Clock()
    forward = DistributedDataParallel(_Step(module)) if dist.is_initialized() else _Step(module)
    forward(batch).backward()
    return [p.grad.clone() for p in module.parameters() if p.requires_grad]


class _Step(torch.nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, batch):
        return self.module.training_step(batch, 1)


def half(batch: dict, rank: int) -> dict:
    return {key: value[2 * rank : 2 * rank + 2] for key, value in batch.items()}


def work(rank: int, phantom: str, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    data = PreparedDataset.open(phantom)
    for method in ("simclr", "dino"):
        module, batch = module_and_batch(data, method)
        torch.save(gradients(module.double(), _double(half(batch, rank))), f"{folder}/{method}-{rank}.pt")
    dist.destroy_process_group()


def _double(batch: dict) -> dict:
    return {key: value.double() if value.is_floating_point() else value for key, value in batch.items()}


@pytest.mark.slow
def test_two_processes_give_the_gradients_of_the_joint_batch(phantom, data, tmp_path):
    mp.spawn(work, args=(str(phantom), str(tmp_path)), nprocs=2)
    for method in ("simclr", "dino"):
        module, batch = module_and_batch(data, method)
        expected = gradients(module.double(), _double(batch))
        for rank in range(2):
            found = torch.load(tmp_path / f"{method}-{rank}.pt", weights_only=True)
            assert max(float(g.abs().max()) for g in expected) > 1e-3
            for mine, joint in zip(found, expected, strict=True):
                torch.testing.assert_close(mine, joint, rtol=1e-5, atol=1e-7)


def test_an_image_level_run_starts_a_pixel_level_one_and_the_other_way_round(data, tmp_path, capsys):
    small = ModelConfig(encoder="resnet18", decoder_channels=(16, 16, 8, 8, 8), projection_hidden=16, projection_dim=8)
    rest = {"model": small, "epochs": 1, "batch_size": 8, "points": 8, "monitor_every": 0, "counterfactuals": "none"}
    image, pixel = tmp_path / "image", tmp_path / "pixel"
    for folder in (image, pixel):
        folder.mkdir()
    pretrain(PretrainConfig(method="simclr", **rest), data, list(range(24)), image, progress=False)  # type: ignore[arg-type]
    start = PretrainConfig(method="vader", init_from=str(image / "weights.safetensors"), **rest)  # type: ignore[arg-type]
    module = make_module(start, data, 10, Path(start.init_from))
    assert isinstance(module, Contrast)
    assert "encoder loaded" in capsys.readouterr().out
    brought = {f"encoder.{key}": value for key, value in _backbone(image).items()}
    assert brought.keys() <= module.unet.state_dict().keys()
    for key, value in brought.items():
        torch.testing.assert_close(module.unet.state_dict()[key], value)
    pretrain(start, data, list(range(24)), pixel, progress=False)
    back = make_module(PretrainConfig(method="simclr", **rest), data, 10, pixel / "weights.safetensors")  # type: ignore[arg-type]
    torch.testing.assert_close(
        dict(back.get_submodule("encoder.body").state_dict()), dict(load_run(pixel).model.encoder.state_dict())
    )


def _backbone(run: Path) -> dict:
    from densecf.models.weights import read_weights

    return read_weights(run)[0]


@pytest.mark.parametrize("method", ["simclr", "dino"])
def test_one_record_a_step_is_refused(data, tmp_path, method):
    config = config_for(method, batch_size=1, optim=OptimConfig())
    with pytest.raises(DataError, match="needs two at least"):
        pretrain(config, data, [0, 1, 2], tmp_path, progress=False)
