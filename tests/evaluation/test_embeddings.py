import json

import numpy as np
import pytest
import torch

from densecf.errors import DataError
from densecf.evaluation.embeddings import (
    cluster_purity,
    embeddings_table,
    evaluate_embeddings,
    kmeans_purity,
    separation,
)
from densecf.evaluation.pixel_probe import PixelProbe, class_dsc, probe_summary
from densecf.views.geometry import IGNORE


def blobs(count=200, dimension=6, noise=0.1, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), count)
    return (np.eye(classes, dimension)[labels] + noise * rng.standard_normal((len(labels), dimension))), labels


def probed(features, labels, test_features, truth, images=None, num_classes=None):
    """The summary of a probe fitted on some pixels and tested on others, which are of one image or of several."""
    predicted = PixelProbe(features, labels).predict(test_features)
    images = np.zeros(len(truth), int) if images is None else images
    num_classes = num_classes or labels.max() + 1
    dsc = [class_dsc(predicted[images == image], truth[images == image], num_classes) for image in np.unique(images)]
    return probe_summary(np.stack(dsc), float((predicted == truth).mean()))


def test_purity_of_separated_blobs_is_one():
    features, labels = blobs()
    assert kmeans_purity(features, labels) == 1.0


def test_purity_of_noise_is_about_the_largest_share():
    rng = np.random.default_rng(0)
    features, labels = rng.standard_normal((6000, 4)), np.repeat([0, 1, 2], 2000)
    assert kmeans_purity(features, labels, n_init=2) == pytest.approx(1 / 3, abs=0.03)


def test_purity_of_collapsed_features_is_the_largest_share():
    labels = np.array([0] * 60 + [1] * 30 + [2] * 10)
    assert kmeans_purity(np.ones((100, 4)), labels, n_init=1) == pytest.approx(0.6)


def test_purity_equals_a_slow_loop():
    rng = np.random.default_rng(1)
    clusters, labels = rng.integers(0, 4, 500), rng.integers(0, 3, 500)
    agreeing = 0
    for cluster in range(4):
        counts = {}
        for found, label in zip(clusters, labels, strict=True):
            if found == cluster:
                counts[label] = counts.get(label, 0) + 1
        agreeing += max(counts.values())
    assert cluster_purity(clusters, labels) == pytest.approx(agreeing / 500)


def test_purity_ignores_length_unless_asked_for():
    features, labels = blobs(noise=0.02)
    stretched = features * np.random.default_rng(2).uniform(1, 30, (len(labels), 1))
    assert kmeans_purity(stretched, labels) == 1.0
    assert kmeans_purity(stretched, labels, normalise=False) < 1.0


def test_separation_of_gaussians_in_closed_form():
    rng = np.random.default_rng(0)
    means, sigmas = np.array([[0.0, 0.0, 0.0], [3.0, 4.0, 0.0]]), (0.5, 2.0)
    labels = np.repeat([0, 1], 100_000)
    features = means[labels] + np.array(sigmas)[labels][:, None] * rng.standard_normal((200_000, 3))
    result = separation(features, labels, normalise=False)
    variances = 3 * np.array(sigmas) ** 2  # summed over three features
    assert result["class_distance"] == pytest.approx(5, rel=0.01)
    assert result["d_over_std"] == pytest.approx(5 / np.sqrt(variances).mean(), rel=0.01)
    assert result["d_over_variance"] == pytest.approx(5 / variances.mean(), rel=0.01)


def test_separation_equals_a_slow_loop():
    features, labels = blobs(count=20, noise=0.5)
    keep = np.arange(60) % 4 > 0
    result = separation(features[keep], labels[keep])
    rows = {c: [f / np.linalg.norm(f) for f in features[keep & (labels == c)]] for c in range(3)}
    centres = {c: sum(r) / len(r) for c, r in rows.items()}
    variances = [np.mean([np.sum((f - centres[c]) ** 2) for f in rows[c]]) for c in range(3)]
    distance = np.mean([np.linalg.norm(centres[a] - centres[b]) for a in range(3) for b in range(3) if a != b])
    assert result["d_over_std"] == pytest.approx(distance / np.mean(np.sqrt(variances)), rel=1e-5)
    assert result["d_over_variance"] == pytest.approx(distance / (np.mean(variances) + 1e-6), rel=1e-5)


def test_paper_definition_is_free_of_scale_and_the_code_is_not():
    features, labels = blobs()
    small, large = (separation(features * scale, labels, normalise=False) for scale in (1, 10))
    assert large["d_over_std"] == pytest.approx(small["d_over_std"], rel=1e-5)
    assert large["d_over_variance"] == pytest.approx(small["d_over_variance"] / 10, rel=1e-3)


def test_separation_of_points():
    assert separation(np.eye(3), np.arange(3))["d_over_std"] == np.inf
    assert separation(np.ones((4, 2)), np.array([0, 0, 1, 1]))["d_over_std"] == 0


def test_probe_is_perfect_where_classes_are_linearly_separable():
    train, test = blobs(seed=0), blobs(seed=1)
    result = probed(*train, *test)
    assert result == {"dsc": 100.0, "dsc_per_class": [100.0, 100.0, 100.0], "accuracy": 100.0}


def test_probe_cannot_do_what_a_line_cannot():
    rng = np.random.default_rng(0)
    features = rng.uniform(-1, 1, (4000, 2))
    labels = (features[:, 0] * features[:, 1] > 0).astype(int)  # exclusive or
    result = probed(features[:2000], labels[:2000], features[2000:], labels[2000:])
    assert result["accuracy"] < 65


def test_probe_averages_the_dsc_over_images():
    features, labels = blobs(classes=2, count=50)
    # Image 0 is right; in image 1 the truth is class 1 for all, of which one half look like class 0.
    test_features = np.concatenate([features, features])
    test_labels = np.concatenate([labels, np.ones(100, int)])
    result = probed(features, labels, test_features, test_labels, images=np.repeat([0, 1], 100))
    assert result["dsc_per_class"] == pytest.approx([50.0, 100 * (1 + 2 * 50 / 150) / 2])
    assert result["dsc"] == result["dsc_per_class"][1]
    assert result["accuracy"] == 75


def test_probe_reports_absent_classes_as_none():
    features, labels = blobs(classes=2)
    result = probed(features, labels, features, labels, num_classes=4)
    assert result["dsc_per_class"][2:] == [None, None]
    assert result["dsc"] == 100.0


def test_ignored_pixels_never_count():
    features, labels = blobs()
    spoiled = np.concatenate([features, np.full((50, 6), np.nan)])
    ignored = np.concatenate([labels, np.full(50, IGNORE)]).astype(np.uint8)
    assert kmeans_purity(spoiled, ignored) == 1.0
    assert separation(spoiled, ignored) == separation(features, labels)


def test_torch_tensors_are_taken():
    features, labels = blobs()
    tensors = torch.tensor(features, dtype=torch.float32, requires_grad=True), torch.tensor(labels, dtype=torch.uint8)
    assert kmeans_purity(*tensors) == 1.0


def images_of(count=6, size=(10, 9), noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    masks = [rng.integers(0, 3, size).astype(np.uint8) for _ in range(count)]
    for mask in masks:
        mask[0, 0] = IGNORE
    centres = np.eye(3, 5)
    maps = [
        (centres[np.minimum(mask, 2)] + noise * rng.standard_normal((*size, 5))).transpose(2, 0, 1).astype(np.float32)
        for mask in masks
    ]
    return maps, masks


def test_everything_at_once_on_separated_classes():
    maps, masks = images_of()
    result = evaluate_embeddings(maps, masks, groups=["a", "a", "b", "c", "d", "e"])
    assert result["purity"] == 1.0
    assert result["probe"]["dsc"] == 100.0
    assert result["separation"]["d_over_std"] > 3
    assert result["num_images"] == 6
    assert result["num_pixels"] == 6 * 89
    assert json.loads(json.dumps(result)) == result
    assert evaluate_embeddings(maps, masks, groups=["a", "a", "b", "c", "d", "e"]) == result


def test_no_patient_is_on_both_sides_of_the_probe():
    maps, masks = images_of(count=9)
    # Each patient's own feature carries the class with another sign: only patients seen in training can be right.
    groups = [index // 3 for index in range(9)]
    asked = []

    class Asked(list):
        def __getitem__(self, index):
            asked.append(index)
            return super().__getitem__(index)

    result = evaluate_embeddings(maps, masks, groups=groups, probe_features_per_image=Asked(maps))
    assert result["num_probe_train"] + result["num_probe_test"] == 9
    train, test = asked[: result["num_probe_train"]], asked[result["num_probe_train"] :]
    assert {groups[i] for i in train}.isdisjoint({groups[i] for i in test})
    assert sorted(train + test) == list(range(9))


def test_probe_features_may_differ_from_the_cluster_features():
    maps, masks = images_of()
    noise = [np.random.default_rng(index).standard_normal((4, 10, 9)) for index in range(6)]
    result = evaluate_embeddings(noise, masks, groups=range(6), probe_features_per_image=maps)
    assert result["probe"]["dsc"] == 100.0
    assert result["purity"] < 0.5


def test_table():
    maps, masks = images_of()
    result = evaluate_embeddings(maps, masks, groups=range(6))
    lines = embeddings_table({"s-mvd-cl": result, "none": result}).splitlines()
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| s-mvd-cl | 1.0000 |")
    assert embeddings_table({"a|b": result}).splitlines()[2].startswith(r"| a\|b | 1.0000 |")


def test_failures_are_explained():
    features, labels = blobs()
    with pytest.raises(DataError, match="found only class 1"):
        separation(features, np.ones(len(labels), int))
    with pytest.raises(DataError, match="found only class none"):
        kmeans_purity(features, np.full(len(labels), IGNORE))
    with pytest.raises(DataError, match="NaN"):
        kmeans_purity(np.full_like(features, np.nan), labels)
    with pytest.raises(DataError, match="at least 3 labelled pixels, got 2"):
        kmeans_purity(features[199:201], labels[199:201])
    with pytest.raises(DataError, match=r"\(600, 6\) and \(10,\)"):
        separation(features, labels[:10])
    with pytest.raises(DataError, match="class indices"):
        separation(features, labels / 2)
    maps, masks = images_of()
    with pytest.raises(DataError, match="at least 2 patients"):
        evaluate_embeddings(maps, masks, groups=["a"] * 6)
    with pytest.raises(DataError, match="masks: 5, groups: 4"):
        evaluate_embeddings(maps, masks[:5], groups=range(4))
    with pytest.raises(DataError, match=r"image 2.*\(5, 10, 9\), the mask \(5, 9\)"):
        evaluate_embeddings(maps, [*masks[:2], masks[2][:5], *masks[3:]], groups=range(6))
