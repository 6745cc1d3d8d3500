import pytest
import torch

from core.mixers import PartitionAttention, WindowAttention
from core.partitions import Chunks, Overlapping, Spread, Strided, Windows
from core.positions import RelativeTable
from core.testing import Case, check_mixer

DIM, HEADS = 8, 2
MAPS = [(1, 1), (3, 4), (5, 7)]
CASES = {
    "dilated": Case(
        lambda: PartitionAttention(DIM, HEADS, Strided((2, 2), (2, 3)), score_bias=RelativeTable(HEADS, (2, 2))),
        DIM,
        MAPS,
    ),
    "spread": Case(lambda: PartitionAttention(DIM, HEADS, Spread((2, 2))), DIM, MAPS),
    "raster": Case(lambda: PartitionAttention(DIM, HEADS, Chunks(4)), DIM, MAPS),
    "overlapping": Case(
        lambda: PartitionAttention(
            DIM, HEADS, Overlapping((2, 2), (1, 1), (1, 1)), score_bias=RelativeTable(HEADS, (4, 4))
        ),
        DIM,
        MAPS,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_windows_are_window_attention():
    torch.manual_seed(0)
    general = PartitionAttention(DIM, HEADS, Windows((3, 3), (1, 1)), score_bias=RelativeTable(HEADS, (3, 3)))
    windows = WindowAttention(DIM, HEADS, (3, 3), shift=(1, 1))
    windows.load_state_dict(general.state_dict())
    x = torch.randn(2, 7, 8, DIM)
    torch.testing.assert_close(general(x), windows(x))


def test_there_is_no_mask():
    with pytest.raises(TypeError, match="mask"):
        PartitionAttention(DIM, HEADS, Chunks(4))(torch.randn(1, 5, DIM), mask=torch.ones(1, 5, dtype=torch.bool))
