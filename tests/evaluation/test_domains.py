import numpy as np
import pytest

from densecf.errors import DataError
from densecf.evaluation.domains import project, separability, separability_markdown


def cohort(n=300, seed=0):
    rng = np.random.default_rng(seed)
    patients = np.array([f"p{i // 2}" for i in range(n)], dtype=object)
    domains = np.array(["A", "B", "C"], dtype=object)[rng.choice(3, n, p=[0.6, 0.3, 0.1])]
    return rng.normal(size=(n, 40)), domains, patients


def test_shuffled_labels_are_at_chance():
    features, domains, patients = cohort(1200)
    found = separability(features, domains, patients)
    assert found.chance == pytest.approx(1 / 3)
    assert abs(found.balanced_accuracy - found.chance) < 0.06
    assert (found.images, found.patients) == (1200, 600)


def test_separated_blobs_are_told_apart():
    features, domains, patients = cohort()
    features[:, :3] += 30 * np.stack([domains == name for name in "ABC"], axis=1)
    found = separability(features, domains, patients)
    assert found.balanced_accuracy == 1
    assert found.recognised == {"A": 1, "B": 1, "C": 1}
    assert found.by_fold == (1,) * 5
    assert "| chance | 33.3 |" in separability_markdown({"run": found}, "title")


def test_the_balance_is_over_domains_not_images():
    features, domains, patients = cohort()
    features[:, 0] += 50 * (domains == "A")
    found = separability(features, domains, patients)
    assert found.balanced_accuracy == pytest.approx(np.mean(list(found.recognised.values())))
    assert found.recognised["A"] == 1
    assert found.recognised["B"] + found.recognised["C"] < 1.5


def test_patients_are_not_recognised_for_scanners():
    """A code that only tells who the patient is says nothing of an unseen patient's scanner."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(60), 10)
    domains = np.where(rng.random(60) < 0.5, "A", "B")[people].astype(object)
    features = rng.normal(size=(60, 12))[people] * 10 + rng.normal(size=(600, 12)) * 0.01
    found = separability(features, domains, np.array([f"p{i}" for i in people], dtype=object))
    assert found.balanced_accuracy < 0.75  # with folds over images it would be 1


def test_what_cannot_be_measured():
    features, domains, patients = cohort(40)
    with pytest.raises(DataError, match="two domains"):
        separability(features, np.full(40, "A", object), patients)
    domains[:] = "A"
    domains[:4] = "B"
    with pytest.raises(DataError, match="5 folds need 5 patients"):
        separability(features, domains, patients)


@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_projections_repeat_and_keep_islands_apart(method):
    rng = np.random.default_rng(0)
    island = np.repeat([0, 1], 20)
    features = rng.normal(size=(40, 20)) + 40 * island[:, None]
    points, again = (project(features, method, seed=3) for _ in range(2))
    assert points.shape == (40, 2)
    np.testing.assert_array_equal(points, again)
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (island[distance.argmin(axis=1)] == island).all()


def test_too_few_points():
    with pytest.raises(DataError, match="5 images"):
        project(np.zeros((3, 4)), "tsne")
