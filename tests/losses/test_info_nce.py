import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from densecf.losses import chance_level, info_nce, streaming
from densecf.losses.info_nce import info_nce_sum
from tests.losses.oracle import slow_info_nce

assert_exact = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-10)


def random_rows(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def random_ids(size: int, low: int, high: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(low, high, (size,), generator=torch.Generator().manual_seed(seed + 1000))


def grad_of(leaf: torch.Tensor) -> torch.Tensor:
    assert leaf.grad is not None
    return leaf.grad


def assert_equals_slow(queries, keys, *args, tile=None, **options) -> None:
    """Compares values and gradients, in queries and keys, with the double loop."""
    leaves = [queries] if queries is keys else [queries, keys]
    slow = slow_info_nce(queries, keys, *args, **options)
    slow_grads = torch.autograd.grad(slow, leaves, allow_unused=True) if slow.requires_grad else [None] * len(leaves)
    if tile is None:
        fast = info_nce(queries, keys, *args, **options)
    else:
        options["self_offset"] = 0 if options.pop("exclude_self", False) else None
        total, count = info_nce_sum(queries, keys, *args, tile=tile, **options)
        fast = total / count.clamp(min=1)
    assert_exact(fast, slow)
    for leaf, grad, slow_grad in zip(leaves, torch.autograd.grad(fast, leaves), slow_grads, strict=True):
        assert_exact(grad, torch.zeros_like(leaf) if slow_grad is None else slow_grad)


class TestAgainstTheDoubleLoop:
    @pytest.mark.parametrize("temperature", [0.01, 0.07, 0.7, 1.0])
    @pytest.mark.parametrize("masked", [False, True])
    def test_queries_and_keys(self, temperature, masked):
        mask = torch.arange(13) % 3 > 0 if masked else None
        ids = random_ids(13, -1, 4), random_ids(17, -1, 4, seed=1)
        assert_equals_slow(
            random_rows(13, 5), random_rows(17, 5, seed=1), *ids, temperature=temperature, query_mask=mask
        )

    @pytest.mark.parametrize("temperature", [0.01, 0.07, 0.7, 1.0])
    @pytest.mark.parametrize("tile", [None, 1, 4, 7, 19, 20])
    def test_self_excluded_in_tiles(self, temperature, tile):
        rows, ids = random_rows(19, 5), random_ids(19, -1, 4)
        mask = torch.arange(19) % 4 > 0
        assert_equals_slow(rows, rows, ids, ids, temperature=temperature, exclude_self=True, query_mask=mask, tile=tile)

    def test_self_excluded_with_keys_of_their_own(self):
        """The keys may be another tensor (a momentum network's output) for the same rows."""
        ids = random_ids(11, -1, 3)
        rows, keys = random_rows(11, 4), random_rows(11, 4, seed=1)
        assert_equals_slow(rows, keys, ids, ids, temperature=0.3, exclude_self=True)

    def test_ids_of_any_value(self):
        big = 2**62
        ids = torch.tensor([big, 3, -big, 10**12, 3, big, 10**12, 0, 0])
        rows = random_rows(9, 3)
        assert_equals_slow(rows, rows, ids, ids, temperature=0.2, exclude_self=True)

    def test_ids_of_no_key(self):
        query_ids, key_ids = torch.tensor([0, 5, 9, 3]), torch.tensor([3, 3, 7, -1, 0])
        assert_equals_slow(random_rows(4, 3), random_rows(5, 3, seed=1), query_ids, key_ids, temperature=0.2)

    @settings(max_examples=60)
    @given(data=st.data())
    def test_any_shapes_and_ids(self, data):
        exclude_self = data.draw(st.booleans())
        num_queries, dim = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 5))
        num_keys = num_queries if exclude_self else data.draw(st.integers(0, 9))
        draw_ids = lambda n: torch.tensor(  # noqa: E731
            data.draw(st.lists(st.integers(-2, 4), min_size=n, max_size=n)), dtype=torch.int64
        )
        query_ids = draw_ids(num_queries)
        key_ids = query_ids if exclude_self else draw_ids(num_keys)
        mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=num_queries, max_size=num_queries)))
        seed = data.draw(st.integers(0, 10**6))
        queries = random_rows(num_queries, dim, seed=seed)
        keys = queries if exclude_self else random_rows(num_keys, dim, seed=seed + 1)
        assert_equals_slow(
            queries,
            keys,
            query_ids,
            key_ids,
            temperature=data.draw(st.sampled_from([0.01, 0.05, 0.5, 1.0])),
            exclude_self=exclude_self,
            query_mask=mask,
            tile=data.draw(st.integers(1, 10)),
        )

    def test_gradcheck(self):
        ids = torch.tensor([0, 1, 0, 1, 2, 2, -1])
        for temperature in (0.01, 0.5):
            assert torch.autograd.gradcheck(
                lambda rows, t=temperature: info_nce(rows, rows, ids, ids, temperature=t, exclude_self=True),
                (random_rows(7, 3),),
            )
        assert torch.autograd.gradcheck(
            lambda q, k: info_nce(q, k, ids, ids, temperature=0.5), (random_rows(7, 3), random_rows(7, 3, seed=1))
        )


class TestOnAccelerators:
    """There, queries that do not count cannot be skipped without asking the device which ones they are."""

    @pytest.fixture
    def visit_all(self, monkeypatch):
        monkeypatch.setattr(streaming, "_rows_to_visit", lambda valid: torch.arange(len(valid)))

    @pytest.mark.parametrize("temperature", [0.01, 0.7])
    @pytest.mark.parametrize("tile", [3, 19, 50])
    def test_self_excluded(self, visit_all, temperature, tile):
        rows, ids = random_rows(19, 5), random_ids(19, -1, 4)
        mask = torch.arange(19) % 4 > 0
        assert_equals_slow(rows, rows, ids, ids, temperature=temperature, exclude_self=True, query_mask=mask, tile=tile)

    @pytest.mark.parametrize("temperature", [0.01, 0.7])
    def test_queries_and_keys(self, visit_all, temperature):
        ids = random_ids(13, -1, 5), random_ids(17, -1, 4, seed=1)
        assert_equals_slow(random_rows(13, 5), random_rows(17, 5, seed=1), *ids, temperature=temperature)

    @pytest.mark.parametrize("temperature", [0.01, 0.5])
    @pytest.mark.parametrize("ids", [[0, 1, 2, 3], [-1, -1, -1, -1], [0, -1, -1, -1]])
    def test_no_valid_query(self, visit_all, ids, temperature):
        rows, ids = torch.full((4, 3), float("nan")), torch.tensor(ids)
        rows[ids >= 0] = torch.randn(int((ids >= 0).sum()), 3)
        rows.requires_grad_()
        loss = info_nce(rows, rows, ids, ids, temperature=temperature, exclude_self=True)
        loss.backward()
        assert loss.item() == 0
        assert (grad_of(rows) == 0).all()

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_gpu_equals_cpu_without_waiting_for_the_device(self):
        rows, ids = random_rows(500, 16), random_ids(500, -1, 4)
        mask = torch.arange(500) % 4 > 0
        expected = info_nce(rows, rows, ids, ids, temperature=0.2, exclude_self=True, query_mask=mask)
        expected.backward()
        on_gpu = rows.detach().cuda().requires_grad_()
        ids, mask = ids.cuda(), mask.cuda()
        torch.cuda.set_sync_debug_mode("error")
        try:
            loss = info_nce(on_gpu, on_gpu, ids, ids, temperature=0.2, exclude_self=True, query_mask=mask)
            loss.backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert_exact(loss.cpu(), expected)
        assert_exact(grad_of(on_gpu).cpu(), grad_of(rows))


class TestClosedForms:
    @pytest.mark.parametrize("num_rows", [2, 5, 64])
    def test_identical_rows_give_log_of_the_number_of_keys(self, num_rows):
        rows = torch.ones(num_rows, 8)
        ids = torch.zeros(num_rows, dtype=torch.int64)
        loss = info_nce(rows, rows, ids, ids, temperature=0.1, exclude_self=True)
        assert loss.item() == pytest.approx(math.log(num_rows - 1), abs=1e-5)
        assert info_nce(rows, rows, ids, ids, temperature=0.1).item() == pytest.approx(math.log(num_rows), abs=1e-5)

    def test_perfect_rows_reach_zero_as_the_temperature_falls(self):
        ids = torch.arange(8).repeat(2)
        rows = torch.eye(8)[ids]
        losses = [
            info_nce(rows, rows, ids, ids, temperature=t, exclude_self=True).item() for t in (1.0, 0.3, 0.1, 0.01)
        ]
        assert all(low < high for high, low in pairwise(losses))
        assert losses[-1] == pytest.approx(0, abs=1e-6)

    def test_several_perfect_positives_give_the_logarithm_of_their_number(self):
        """With positives averaged outside the logarithm, P equal positives cannot do better than log P."""
        ids = torch.arange(4).repeat(3)
        rows = torch.eye(4)[ids]
        loss = info_nce(rows, rows, ids, ids, temperature=0.01, exclude_self=True)
        assert loss.item() == pytest.approx(math.log(2), abs=1e-5)

    @pytest.mark.parametrize("batch", [2, 3, 8, 64])
    def test_two_views_of_images_give_ntxent(self, batch):
        loss_module = pytest.importorskip("lightly.loss", reason="compares with lightly")
        first, second = random_rows(batch, 16, dtype=torch.float32), random_rows(batch, 16, seed=1, dtype=torch.float32)
        rows, ids = torch.cat((first, second)), torch.arange(batch).repeat(2)
        ours = info_nce(rows, rows, ids, ids, temperature=0.5, exclude_self=True)
        torch.testing.assert_close(ours, loss_module.NTXentLoss(temperature=0.5)(first, second), rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("temperature", [0.07, 0.7])
    def test_class_ids_give_supcon(self, temperature):
        losses = pytest.importorskip("pytorch_metric_learning.losses", reason="compares with it")
        rows, ids = random_rows(60, 16), random_ids(60, 0, 3)
        ours = info_nce(rows, rows, ids, ids, temperature=temperature, exclude_self=True)
        theirs = losses.SupConLoss(temperature=temperature)(rows, ids)
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
        for ours_grad, theirs_grad in zip(
            torch.autograd.grad(ours, rows), torch.autograd.grad(theirs, rows), strict=True
        ):
            torch.testing.assert_close(ours_grad, theirs_grad, rtol=1e-6, atol=1e-6)


class TestRowsThatTakeNoPart:
    @pytest.mark.parametrize("temperature", [0.01, 0.5])
    @pytest.mark.parametrize("filling", [1.0, float("nan"), float("inf")])
    def test_negative_ids_are_as_if_removed(self, filling, temperature):
        """Whatever they hold."""
        rows, ids = random_rows(20, 4), random_ids(20, -2, 3)
        there = ids >= 0
        assert 0 < there.sum() < 20
        spoilt = torch.where(there[:, None], rows.detach(), filling).requires_grad_()
        loss = info_nce(spoilt, spoilt, ids, ids, temperature=temperature, exclude_self=True)
        kept = rows.detach()[there].requires_grad_()
        expected = info_nce(kept, kept, ids[there], ids[there], temperature=temperature, exclude_self=True)
        assert_exact(loss, expected)
        loss.backward()
        expected.backward()
        assert_exact(grad_of(spoilt)[there], grad_of(kept))
        assert (grad_of(spoilt)[~there] == 0).all()

    def test_rows_that_are_absent_do_not_set_the_scale(self):
        """Two keys opposite to the query, at so low a temperature that only the row maximum saves them."""
        query, ids = torch.tensor([[1.0, 0.0]]), torch.tensor([0])
        keys, key_ids = torch.tensor([[-1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1, -1])
        loss = info_nce(query, keys, ids, key_ids, temperature=0.001)
        assert loss.item() == pytest.approx(math.log(2), abs=1e-3)

    def test_masked_queries_get_no_gradient_as_queries(self):
        queries, keys = random_rows(10, 4), random_rows(12, 4, seed=1)
        mask = torch.arange(10) < 6
        ids = random_ids(10, 0, 2), random_ids(12, 0, 2, seed=1)
        info_nce(queries, keys, *ids, temperature=0.5, query_mask=mask).backward()
        assert (grad_of(queries)[~mask] == 0).all()
        assert (grad_of(queries)[mask] != 0).any(dim=1).all()

    def test_masked_queries_remain_keys(self):
        rows, ids = random_rows(10, 4), random_ids(10, 0, 2)
        mask = torch.arange(10) < 6
        info_nce(rows, rows, ids, ids, temperature=0.5, exclude_self=True, query_mask=mask).backward()
        assert (grad_of(rows) != 0).any(dim=1).all()

    @pytest.mark.parametrize("temperature", [0.01, 0.5])
    @pytest.mark.parametrize("ids", [[0, 1, 2, 3], [-1, -1, -1, -1], [0, -1, -1, -1]])
    def test_no_valid_query_gives_zero_with_zero_gradients(self, ids, temperature):
        rows, ids = random_rows(4, 3), torch.tensor(ids)
        loss = info_nce(rows, rows, ids, ids, temperature=temperature, exclude_self=True)
        loss.backward()
        assert loss.item() == 0
        assert (grad_of(rows) == 0).all()

    def test_no_rows_at_all(self):
        rows, ids = random_rows(0, 3), random_ids(0, 0, 1)
        info_nce(rows, rows, ids, ids, temperature=0.5, exclude_self=True).backward()
        assert grad_of(rows).shape == (0, 3)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_zero_vectors_are_harmless(self, dtype):
        rows = torch.cat((torch.zeros(3, 4, dtype=dtype), random_rows(7, 4).detach().to(dtype))).requires_grad_()
        ids = torch.arange(10) % 2
        loss = info_nce(rows, rows, ids, ids, temperature=0.5, exclude_self=True)
        loss.backward()
        torch.testing.assert_close(
            loss, slow_info_nce(rows, rows, ids, ids, temperature=0.5, exclude_self=True), rtol=1e-5, atol=1e-5
        )
        assert grad_of(rows).isfinite().all()
        assert (grad_of(rows)[:3] == 0).all()

    def test_nan_in_a_row_that_counts_is_not_hidden(self):
        rows, ids = random_rows(6, 3).detach(), torch.arange(6) % 2
        rows[2, 1] = float("nan")
        assert info_nce(rows, rows, ids, ids, temperature=0.5, exclude_self=True).isnan()


class TestProperties:
    def test_renaming_classes_changes_nothing(self):
        rows, ids = random_rows(30, 4), random_ids(30, 0, 4)
        renamed = torch.tensor([70, 2, 10**15, 31])[ids]
        losses = [info_nce(rows, rows, i, i, temperature=0.5, exclude_self=True) for i in (ids, renamed)]
        assert_exact(*losses)

    def test_order_of_rows_changes_nothing(self):
        rows, ids = random_rows(30, 4), random_ids(30, -1, 4)
        order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
        losses = [info_nce(rows[o], rows[o], ids[o], ids[o], temperature=0.5) for o in (torch.arange(30), order)]
        assert_exact(*losses)

    def test_length_of_rows_changes_nothing(self):
        rows, ids = random_rows(30, 4), random_ids(30, 0, 4)
        scaled = rows * torch.linspace(0.1, 100, 30, dtype=torch.float64)[:, None]
        losses = [info_nce(r, r, ids, ids, temperature=0.5) for r in (rows, scaled)]
        assert_exact(*losses)

    @pytest.mark.parametrize(("of_queries", "of_keys"), [(True, False), (False, True)])
    def test_gradients_only_where_wanted(self, of_queries, of_keys):
        queries, keys = random_rows(9, 4), random_rows(8, 4, seed=1)
        ids = random_ids(9, 0, 3), random_ids(8, 0, 3, seed=1)
        info_nce(queries, keys, *ids, temperature=0.5).backward()
        some = queries.detach().requires_grad_(of_queries), keys.detach().requires_grad_(of_keys)
        info_nce(*some, *ids, temperature=0.5).backward()
        for part, whole, wanted in zip(some, (queries, keys), (of_queries, of_keys), strict=True):
            if wanted:
                assert_exact(grad_of(part), grad_of(whole))
            else:
                assert part.grad is None

    def test_no_grad_and_gradients_twice(self):
        rows, ids = random_rows(9, 4), random_ids(9, 0, 3)
        with torch.no_grad():
            value = info_nce(rows, rows, ids, ids, temperature=0.5)
        assert not value.requires_grad
        loss = info_nce(rows, rows, ids, ids, temperature=0.5)
        torch.testing.assert_close(loss.detach(), value)
        loss.backward(retain_graph=True)
        once = grad_of(rows).clone()
        loss.backward()
        torch.testing.assert_close(grad_of(rows), 2 * once)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_rows_are_computed_in_single(self, dtype):
        rows, ids = random_rows(40, 8, dtype=torch.float32).detach().to(dtype), random_ids(40, 0, 3)
        half, single = rows.clone().requires_grad_(), rows.float().requires_grad_()
        losses = [info_nce(r, r, ids, ids, temperature=0.07, exclude_self=True) for r in (half, single)]
        assert losses[0].dtype == torch.float32
        torch.testing.assert_close(*losses)
        for loss in losses:
            loss.backward()
        assert grad_of(half).dtype == dtype
        torch.testing.assert_close(grad_of(half).float(), grad_of(single), rtol=0.01, atol=1e-5)

    def test_autocast_does_not_reach_inside(self):
        rows, ids = random_rows(40, 8, dtype=torch.float32), random_ids(40, 0, 3)
        outside = info_nce(rows, rows, ids, ids, temperature=0.07, exclude_self=True)
        with torch.autocast("cpu", torch.bfloat16):
            inside = info_nce(rows, rows, ids, ids, temperature=0.07, exclude_self=True)
            head = nn.Linear(8, 8)(rows)
            assert head.dtype == torch.bfloat16
            info_nce(head, head, ids, ids, temperature=0.07, exclude_self=True).backward()
        assert torch.equal(inside, outside)
        assert grad_of(rows).isfinite().all()

    @pytest.mark.parametrize("temperature", [0.01, 1 / 61, 1 / 59, 0.07, 1.0])
    def test_single_precision_is_as_good_as_it_can_be(self, temperature):
        """On both sides of the temperature at which the row maximum is needed."""
        rows, ids = random_rows(300, 16), random_ids(300, -1, 3)
        single = rows.detach().float().requires_grad_()
        losses = [info_nce(r, r, ids, ids, temperature=temperature, exclude_self=True) for r in (single, rows)]
        for loss in losses:
            loss.backward()
        torch.testing.assert_close(losses[0].double(), losses[1], rtol=2e-6, atol=2e-6)
        error = (grad_of(single).double() - grad_of(rows)).norm() / grad_of(rows).norm()
        assert error < 1e-5


class TestChanceLevel:
    def test_is_the_loss_of_equal_similarities(self):
        ids = random_ids(30, -1, 4)
        mask = torch.arange(30) % 2 > 0
        rows = torch.ones(30, 4)
        for exclude_self in (True, False):
            level = chance_level(ids, ids, exclude_self=exclude_self, query_mask=mask)
            loss = info_nce(rows, rows, ids, ids, temperature=0.5, exclude_self=exclude_self, query_mask=mask)
            torch.testing.assert_close(level, loss, rtol=1e-6, atol=1e-6)

    def test_without_valid_queries(self):
        ids = torch.tensor([0, 1, 2])
        assert chance_level(ids, ids, exclude_self=True) == 0
        assert chance_level(ids, ids) == pytest.approx(math.log(3))


class TestMisuse:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"queries": torch.ones(4, 2)}, r"\(4, 2\), \(4, 3\)"),
            ({"query_ids": torch.zeros(5, dtype=torch.int64)}, "query_ids.*4.*5"),
            ({"key_ids": torch.zeros(4)}, "key_ids must be int64"),
            ({"query_mask": torch.ones(4)}, "query_mask must be bool"),
            ({"temperature": 0.0}, "temperature must be positive"),
            (
                {"keys": torch.ones(5, 3), "key_ids": torch.zeros(5, dtype=torch.int64), "exclude_self": True},
                "one key a query",
            ),
        ],
    )
    def test_message_says_what_does_not_fit(self, change, message):
        ids = torch.zeros(4, dtype=torch.int64)
        fine = {
            "queries": torch.ones(4, 3),
            "keys": torch.ones(4, 3),
            "query_ids": ids,
            "key_ids": ids,
            "temperature": 0.5,
        }
        with pytest.raises(ValueError, match=message):
            info_nce(**(fine | change))
