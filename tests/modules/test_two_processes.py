"""Sync batch normalisation and gather: two gloo processes must equal one process that holds the joined batch."""

import copy
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from kinema.backbones import build_backbone
from kinema.modules.gather import all_gather, distributed
from kinema.modules.sync_bn import SyncBatchNorm, convert_sync_batchnorm

SHAPE = (5, 3, 2, 4, 4)


def joined_batch(offset=0.0, dtype=torch.float64, shape=SHAPE):
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(*shape, generator=generator, dtype=torch.float64) + offset).to(dtype)


def share_of(rank, x, first):
    return x[:first] if rank == 0 else x[first:]


def layer(**options):
    norm = nn.BatchNorm3d(3, dtype=torch.float64, **options)
    if norm.affine:
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([0.5, -1.0, 2.0]))
            norm.bias.copy_(torch.tensor([1.0, 0.0, -3.0]))
    return norm


def network():
    torch.manual_seed(2)
    return build_backbone("r2plus1d", width=4).double()


def run_share(module, x):
    """Two steps in train mode; the loss is a sum over samples, so that shares add up to the joined batch."""
    x = x.clone().requires_grad_()
    module(x.detach() * 0.5 - 0.3)
    out = module(x)
    (out * out.detach().cos()).sum().backward()
    return {
        "out": out.detach(),
        "input": x.grad,
        "weights": [parameter.grad for parameter in module.parameters()],
        "buffers": list(module.buffers()),
    }


def gather_case(rank):
    x = (torch.arange(6, dtype=torch.float64).view(2, 3) + 10 * rank).requires_grad_()
    joined = all_gather(x)
    seen = []
    joined.register_hook(seen.append)
    weight = torch.arange(12, dtype=torch.float64).view(3, 4) * (rank + 1)
    # The same loss, but only the first process's gradient arrives with strides.
    (joined.t() * weight if rank == 0 else joined * weight.t().contiguous()).sum().backward()
    return {"joined": joined.detach(), "grad": x.grad, "seen": seen[0], "labels": all_gather(torch.tensor([rank]))}


CASES = {
    "unequal": ({}, 3),
    "empty share": ({}, 5),
    "no affine": ({"affine": False}, 2),
    "cumulative": ({"momentum": None}, 4),
}


def worker(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    results = {}
    for name, (options, first) in CASES.items():
        results[name] = run_share(convert_sync_batchnorm(layer(**options)), share_of(rank, joined_batch(), first))
    sync = convert_sync_batchnorm(network())
    results["network"] = run_share(sync, share_of(rank, joined_batch(shape=(3, 3, 4, 16, 16)), 2))
    far = share_of(rank, joined_batch(offset=3000.0, dtype=torch.float32), 2)
    results["far"] = run_share(convert_sync_batchnorm(layer().float()), far)
    half = share_of(rank, joined_batch(dtype=torch.bfloat16), 2)
    with torch.autocast("cpu", torch.bfloat16):
        results["half"] = run_share(convert_sync_batchnorm(layer().float()), half)
    results["vectors"] = run_share(convert_sync_batchnorm(nn.BatchNorm1d(3).double()), joined_batch()[:, :, 0, 0, rank])
    results["eval"] = convert_sync_batchnorm(layer()).eval()(joined_batch()[: rank + 1]).detach()
    results["gather"] = gather_case(rank)
    results["distributed"] = distributed()
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two_processes")
    mp.spawn(worker, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def assert_equals_joined(shares, joined, rtol=1e-9, atol=1e-10):
    close = {"rtol": rtol, "atol": atol}
    for key in ("out", "input"):
        torch.testing.assert_close(torch.cat([share[key] for share in shares]), joined[key], **close)
    for first, second, whole in zip(shares[0]["weights"], shares[1]["weights"], joined["weights"], strict=True):
        torch.testing.assert_close(first + second, whole, **close)
    for share in shares:
        for buffer, whole in zip(share["buffers"], joined["buffers"], strict=True):
            torch.testing.assert_close(buffer, whole, **close)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_equal_the_joined_batch(ranks, case):
    options, _ = CASES[case]
    assert_equals_joined([rank[case] for rank in ranks], run_share(layer(**options), joined_batch()))


def test_a_whole_backbone_equals_the_joined_batch(ranks):
    joined = run_share(network(), joined_batch(shape=(3, 3, 4, 16, 16)))
    assert_equals_joined([rank["network"] for rank in ranks], joined, rtol=1e-7, atol=1e-8)


def test_vectors_equal_the_joined_batch(ranks):
    joined = torch.cat([joined_batch()[:, :, 0, 0, rank] for rank in range(2)])
    assert_equals_joined([rank["vectors"] for rank in ranks], run_share(nn.BatchNorm1d(3).double(), joined))


def test_statistics_survive_a_mean_far_from_zero(ranks):
    """In float32, a mean of squares minus a squared mean would be wrong by about 1 here."""
    exact = joined_batch(offset=3000.0, dtype=torch.float32).double()
    variance = exact.transpose(0, 1).flatten(1).var(1)
    plain = layer()
    run_share(plain, exact)
    for rank in ranks:
        mean, var = rank["far"]["buffers"][:2]
        torch.testing.assert_close(mean.double(), plain.running_mean, rtol=1e-6, atol=0)
        torch.testing.assert_close(var.double(), plain.running_var, rtol=1e-4, atol=0)
    assert variance.max() < 2


def test_half_precision_keeps_float32_statistics(ranks):
    batch, plain = joined_batch(dtype=torch.bfloat16), layer()
    plain((batch * 0.5 - 0.3).double())
    expected = plain(batch.double()).detach()
    for rank in ranks:
        mean, variance = rank["half"]["buffers"][:2]
        torch.testing.assert_close(mean.double(), plain.running_mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(variance.double(), plain.running_var, rtol=1e-5, atol=1e-6)
        assert rank["half"]["out"].dtype == rank["half"]["input"].dtype == torch.bfloat16
    out = torch.cat([rank["half"]["out"] for rank in ranks]).double()
    torch.testing.assert_close(out, expected, rtol=2**-8, atol=2**-8)


def test_eval_mode_is_ordinary(ranks):
    for rank, result in enumerate(ranks):
        torch.testing.assert_close(result["eval"], layer().eval()(joined_batch()[: rank + 1]).detach())


def test_gather_orders_by_rank_and_sums_gradients(ranks):
    first = torch.arange(6, dtype=torch.float64).view(2, 3)
    weight = torch.arange(12, dtype=torch.float64).view(3, 4)
    for rank, result in enumerate(ranks):
        gathered = result["gather"]
        assert result["distributed"]
        torch.testing.assert_close(gathered["joined"], torch.cat([first, first + 10]))
        torch.testing.assert_close(gathered["labels"], torch.tensor([0, 1]))
        torch.testing.assert_close(gathered["grad"], 3 * weight.t()[2 * rank : 2 * rank + 2])


def test_gather_takes_any_strides_and_leaves_gradients_alone(ranks):
    for rank, result in enumerate(ranks):
        seen = result["gather"]["seen"]
        assert seen.is_contiguous() == (rank == 1)
        torch.testing.assert_close(seen, (rank + 1) * torch.arange(12, dtype=torch.float64).view(3, 4).t())


def test_one_process_is_ordinary_batch_normalisation():
    expected = run_share(layer(), joined_batch())
    actual = run_share(convert_sync_batchnorm(layer()), joined_batch())
    for key, value in expected.items():
        torch.testing.assert_close(actual[key], value, rtol=0, atol=0)
    assert not distributed()


def test_gather_in_one_process_is_the_identity():
    x = torch.randn(2, 3)
    assert all_gather(x) is x


def test_conversion_keeps_layers_parameters_and_modes():
    norm = nn.BatchNorm2d(4).eval()
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Sequential(norm, norm), nn.BatchNorm3d(2), nn.InstanceNorm2d(3))
    before = copy.deepcopy(model.state_dict())
    weight = norm.weight
    assert convert_sync_batchnorm(model) is model
    kinds = [type(part) for part in (model[0], model[1][0], model[2])]
    assert kinds == [SyncBatchNorm] * 3
    assert type(model[3]) is nn.InstanceNorm2d
    assert model[1][0] is model[1][1] and model[1][0].weight is weight and not model[1][0].training
    torch.testing.assert_close(dict(model.state_dict()), dict(before))
