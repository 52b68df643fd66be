import pytest
import torch

from kinema.errors import RecipeError
from kinema.targets.statistics import partition
from kinema.targets.statistics.patterns import joint_cells
from tests.targets.statistics_oracle import regions_of

CPU = torch.device("cpu")


def test_areas_of_the_published_crop():
    assert partition(1, 112).sum((1, 2)).tolist() == [784] * 16
    assert partition(2, 112).sum((1, 2)).tolist() == [784, 2352, 3920, 5488]
    assert partition(3, 112).sum((1, 2)).tolist() == [1596] * 8


@pytest.mark.parametrize("pattern", [1, 2])
def test_grid_and_rings_are_partitions(pattern):
    assert (partition(pattern, 112).sum(0) == 1).all()


def test_triangles_share_only_the_diagonals():
    shared = partition(3, 112).sum(0)
    index = torch.arange(112)
    diagonals = (index[:, None] == index) | (index[:, None] == 111 - index)
    assert torch.equal(shared, torch.where(diagonals, 2, 1))
    assert int((shared == 2).sum()) == 4 * 56


@pytest.mark.parametrize("size", [8, 32, 64, 112])
def test_every_pixel_is_in_the_regions_of_the_definition(size):
    for pattern in (1, 2, 3):
        masks = partition(pattern, size)
        for row in range(0, size, 3):
            for col in range(size):
                inside = (masks[:, row, col].nonzero()[:, 0] + 1).tolist()
                assert inside == sorted(regions_of(row, col, size)[pattern - 1])


def test_corners_of_pattern_2_and_halves_of_pattern_3():
    rings, triangles = partition(2, 112), partition(3, 112)
    assert rings[0, 42:70, 42:70].all() and rings[1, 28, 28] and rings[2, 14, 97] and rings[3, 0, 111]
    middle_of_sides = [(50, 5), (5, 50), (5, 60), (50, 106), (60, 5), (106, 50), (106, 60), (60, 106)]
    assert [int(triangles[:, y, x].nonzero()) + 1 for y, x in middle_of_sides] == list(range(1, 9))


@pytest.mark.parametrize("size", [0, 4, 100, 113])
def test_other_sizes_are_refused_with_a_remedy(size):
    with pytest.raises(RecipeError, match="multiple of 8"):
        partition(1, size)


def test_unknown_pattern_is_refused():
    with pytest.raises(RecipeError, match="pattern 4"):
        partition(4, 112)


@pytest.mark.parametrize("size", [8, 112])
def test_sums_over_cells_are_sums_over_regions(size):
    cells = joint_cells(size, CPU)
    values = torch.randint(0, 1000, (size * size, 3), generator=torch.Generator().manual_seed(1)).float()
    per_cell = torch.zeros(cells.total, 3).index_add_(0, cells.of_pixel, values)
    masks = torch.cat([partition(pattern, size) for pattern in (1, 2, 3)]).flatten(1)
    expected = torch.stack([values[mask].sum(0) for mask in masks])
    assert torch.equal(cells.sum_regions(torch.stack((per_cell, 2 * per_cell))), torch.stack((expected, 2 * expected)))
    assert torch.equal(cells.areas, masks.sum(1).double())
