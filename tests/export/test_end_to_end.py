"""docs/export.md as it stands: its commands on real runs of a small phantom, then its Python, in each library."""

import shutil

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image

from densecf.data.profiles import load_image
from densecf.models.backbone import load_image_encoder
from densecf.models.embed import predict_masks
from densecf.models.unet import dense_features, normalise
from densecf.models.weights import load_run
from tests.test_docs import blocks, commands
from tests.test_end_to_end import finetune_arguments, pretrain_arguments

PAGE = "export.md"


@pytest.mark.slow
@pytest.mark.timeout(1800)  # seven processes, each of which imports everything
def test_the_page(phantom, run_densecf, tmp_path, monkeypatch):
    run_densecf(tmp_path, *pretrain_arguments(phantom, "s-mvd-cl", "--monitor-every", 0))
    run_densecf(tmp_path, *finetune_arguments(phantom))
    forms = []
    for words in commands(PAGE):
        done = run_densecf(tmp_path, *words)
        assert "Exported" in done.stdout
        forms.append(words[words.index("--format") + 1])
    assert forms == ["smp", "timm", "torchvision", "onnx", "monai-bundle"]
    monkeypatch.chdir(tmp_path)
    shutil.copytree(phantom / "examples", "images")
    pretrained, tuned = "runs/pretrain/s-mvd-cl", load_run("runs/finetune/s-mvd-cl/folds/0").model
    image = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features = load_image_encoder(pretrained)[0](image)
        masks = tuned(normalise(image)).softmax(1)
        wanted = [dense_features(load_run(pretrained).model, image), features, features, masks, masks]
        for form, code, expected in zip(forms, blocks(PAGE, "python"), wanted, strict=True):
            made = {"image": image}
            exec(code, made)
            found = torch.as_tensor(made["output"]).cpu()
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4, msg=lambda text, form=form: form + text)
    files = sorted((tmp_path / "images").glob("*.png"))
    assert files
    for file in files:
        found = np.asarray(Image.open(tmp_path / "masks" / f"{file.stem}_mask.png"))
        agree = found == predict_masks(tuned, [load_image(file, 32)[0]])[0]
        assert agree.mean() > 0.999, file
    for card in (tmp_path / "runs/export").glob("*/README.md"):
        assert str(tmp_path) not in ModelCard.load(card).content
