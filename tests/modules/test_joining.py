"""Gather of unequal counts, queue and shuffling: two gloo processes must equal one process on the joined batch."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from kinema.errors import RecipeError
from kinema.losses import queue_info_nce
from kinema.modules import FeatureQueue, gather_rows, shuffled, whole_batches
from kinema.modules.gather import all_gather

ROWS, DIM = 7, 5
SHARES = {"equal": 4, "unequal": 2}
"""How many of the rows the first process holds: of eight, or of seven."""


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def share_of(x, shares, rank):
    first = SHARES[shares]
    x = torch.cat([x, x[:1] * 0.5]) if shares == "equal" else x
    return x[:first] if rank == 0 else x[first:]


def joined_of(x, shares):
    return torch.cat([share_of(x, shares, 0), share_of(x, shares, 1)])


def in_batch(x, rows, first, rank=0):
    """Sum over own rows of a softmax over all rows; the gradient that reaches the gather has strides."""
    scores = x @ (rows.t().contiguous() if rank else rows.t())
    return nn.functional.cross_entropy(scores, first + torch.arange(len(x)), reduction="sum")


def gather_case(shares, rank):
    x = share_of(numbers(ROWS, DIM), shares, rank).clone().requires_grad_()
    joined = gather_rows(x)
    seen = []
    joined.rows.register_hook(seen.append)
    loss = in_batch(x, joined.rows, joined.first, rank)
    loss.backward()
    return {"rows": joined.rows.detach(), "first": joined.first, "counts": joined.counts, "grad": x.grad, "seen": seen}


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), nn.BatchNorm3d(4), nn.AdaptiveAvgPool3d(1), nn.Flatten())


def shuffle_case(shares, rank):
    net = network().double()
    out = shuffled(net, share_of(numbers(ROWS, 3, 2, 4, 4), shares, rank), step=5)
    return {"out": out, "mean": net[1].running_mean}


def queue_case(rank):
    torch.manual_seed(0)
    queue = FeatureQueue(12, DIM).double()
    states = []
    for step in range(4):
        queue.push(share_of(numbers(ROWS, DIM, seed=step), "unequal" if step % 2 else "equal", rank))
        states.append({name: value.clone() for name, value in queue.state_dict().items()})
    return states


def contrast_case(rank):
    queries, keys, own = (numbers(ROWS, *shape, seed=k) for k, shape in enumerate([(DIM,), (DIM,), (2, DIM)]))
    weights = torch.eye(DIM, dtype=torch.float64).requires_grad_()
    queries, keys, own = (share_of(x, "unequal", rank) for x in (queries, keys, own))
    found = queue_info_nce(queries @ weights, keys, numbers(9, DIM, seed=8), negatives=own @ weights)
    (found.loss * len(queries)).backward()
    total = weights.grad.clone()
    dist.all_reduce(total)
    return {"loss": found.loss.detach() * len(queries), "grad": total}


def worker(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    results = {"queue": queue_case(rank), "contrast": contrast_case(rank)}
    for shares in SHARES:
        results["gather", shares] = gather_case(shares, rank)
        results["shuffle", shares] = shuffle_case(shares, rank)
    results["order"] = shuffled(lambda x: x, torch.arange(3.0) + 3 * rank, step=1, groups=2)
    results["empty"] = gather_rows(torch.ones(2 * rank, 3)).rows
    results["plain"] = all_gather(torch.full((2, 1), float(rank)))
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("joining")
    mp.spawn(worker, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("shares", SHARES)
def test_rows_are_joined_in_order_and_their_gradients_are_those_of_one_process(ranks, shares):
    whole = joined_of(numbers(ROWS, DIM), shares).clone().requires_grad_()
    in_batch(whole, whole, 0).backward()
    found = [rank["gather", shares] for rank in ranks]
    for rank in found:
        torch.testing.assert_close(rank["rows"], whole.detach(), rtol=0, atol=0)
        assert rank["counts"] == (len(found[0]["grad"]), len(found[1]["grad"]))
    assert [rank["first"] for rank in found] == [0, SHARES[shares]]
    torch.testing.assert_close(torch.cat([rank["grad"] for rank in found]), whole.grad)


def test_an_empty_share_and_equal_shapes_are_joined(ranks):
    for rank in ranks:
        assert torch.equal(rank["empty"], torch.ones(2, 3))
        assert rank["plain"].flatten().tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("shares", SHARES)
def test_shuffled_keys_equal_one_process_with_the_same_groups(ranks, shares):
    net, clips = network().double(), joined_of(numbers(ROWS, 3, 2, 4, 4), shares)
    whole = shuffled(net, clips, step=5, groups=2)
    torch.testing.assert_close(torch.cat([rank["shuffle", shares]["out"] for rank in ranks]), whole)
    assert not torch.allclose(whole, network().double()(clips))  # Groups do have other statistics than the batch.
    # Running statistics stay those of a process's own groups.
    assert not torch.equal(*(rank["shuffle", shares]["mean"] for rank in ranks))


def test_shuffling_is_undone(ranks):
    assert torch.cat([rank["order"] for rank in ranks]).tolist() == [0, 1, 2, 3, 4, 5]
    seen = []
    index = torch.arange(9.0)
    out = shuffled(lambda x: seen.append(x.clone()) or x, index, step=2, groups=3)
    assert torch.equal(out, index) and [len(part) for part in seen] == [3, 3, 3]
    assert sorted(torch.cat(seen).tolist()) == index.tolist() and torch.cat(seen).tolist() != index.tolist()
    again, other = [], []
    shuffled(lambda x: again.append(x.clone()) or x, index, step=2, groups=3)
    shuffled(lambda x: other.append(x.clone()) or x, index, step=3, groups=3)
    assert torch.equal(torch.cat(again), torch.cat(seen)) and not torch.equal(torch.cat(other), torch.cat(seen))


def test_one_process_with_one_group_encodes_the_batch_as_it_is():
    clips = torch.randn(4, 2, requires_grad=True)
    linear = nn.Linear(2, 3)
    out = shuffled(linear, clips, step=0)
    assert torch.equal(out, linear(clips)) and not out.requires_grad
    assert len(shuffled(linear, clips[:2], step=0, groups=3)) == 2  # fewer rows than groups


def test_queues_of_two_processes_hold_what_one_would(ranks):
    torch.manual_seed(0)
    queue = FeatureQueue(12, DIM).double()
    for step in range(4):
        queue.push(joined_of(numbers(ROWS, DIM, seed=step), "unequal" if step % 2 else "equal"))
        for rank in ranks:
            for name, value in queue.state_dict().items():
                assert torch.equal(rank["queue"][step][name], value)
    assert int(queue.position) == (8 + 7 + 8 + 7) % 12


def test_contrast_of_two_processes_equals_the_joined_batch(ranks):
    queries, keys, own = (numbers(ROWS, *shape, seed=k) for k, shape in enumerate([(DIM,), (DIM,), (2, DIM)]))
    weights = torch.eye(DIM, dtype=torch.float64).requires_grad_()
    found = queue_info_nce(queries @ weights, keys, numbers(9, DIM, seed=8), negatives=own @ weights)
    (found.loss * ROWS).backward()
    torch.testing.assert_close(ranks[0]["contrast"]["loss"] + ranks[1]["contrast"]["loss"], found.loss.detach() * ROWS)
    for rank in ranks:
        torch.testing.assert_close(rank["contrast"]["grad"], weights.grad)


def test_a_ring_overwrites_its_oldest_keys_in_order():
    """12 places, 5 keys a step: the next place is 5, 10, 3, 8."""
    queue, expected = FeatureQueue(12, 2), None
    expected = queue.rows.clone()
    position, places = 0, []
    for step in range(4):
        keys = torch.full((5, 2), float(step)) + torch.arange(5.0)[:, None] / 10
        queue.push(keys)
        for key in keys:
            expected[position] = key
            position = (position + 1) % 12
        places.append(int(queue.position))
        torch.testing.assert_close(queue.rows, expected)
    assert places == [5, 10, 3, 8]
    assert torch.equal(queue.rows[8:10], torch.tensor([[1.3, 1.3], [1.4, 1.4]]))


def test_more_keys_than_places_leave_the_last():
    queue = FeatureQueue(4, 1)
    queue.push(torch.arange(10.0)[:, None])
    assert sorted(queue.rows.flatten().tolist()) == [6, 7, 8, 9] and int(queue.position) == 2
    queue.push(torch.tensor([[10.0]]))
    assert sorted(queue.rows.flatten().tolist()) == [7, 8, 9, 10]


def test_rows_before_any_key():
    torch.manual_seed(0)
    gaussian, uniform = FeatureQueue(2000, 12), FeatureQueue(2000, 12, start="uniform")
    torch.testing.assert_close(gaussian.rows.norm(dim=1), torch.ones(2000))
    assert gaussian.rows.mean(0).abs().max() < 0.05
    assert uniform.rows.abs().max() <= 0.5 and uniform.rows.abs().max() > 0.49  # 1 / sqrt(12 / 3)
    assert uniform.rows.square().mean().item() == pytest.approx(0.25 / 3, rel=0.03)
    with pytest.raises(RecipeError, match="queue=0: a queue needs room"):
        FeatureQueue(0, 4)


def test_a_queue_holds_whole_batches():
    assert whole_batches(16384, 96) == 16320 and whole_batches(16384, 64) == 16384
    with pytest.raises(RecipeError, match="queue=10 cannot hold a batch of 11"):
        whole_batches(10, 11)
