import pytest

from core.mixers import ChannelGroupAttention
from core.mixers.channel_groups import channel_groups_reference
from core.testing import Case, check_mixer

# Both forms: more tokens than channels, and fewer.
GRIDS = [(1, 1), (2, 3), (5, 7)]
CASES = {
    "maps": Case(lambda: ChannelGroupAttention(8, 2), 8, GRIDS, channel_groups_reference, variance=None),
    "sequences": Case(
        lambda: ChannelGroupAttention(6, 3, bias=False, scale=0.3),
        6,
        [(1,), (9,)],
        channel_groups_reference,
        variance=None,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_properties(case):
    check_mixer(*case)


def test_heads_divide():
    with pytest.raises(ValueError, match="divides dim"):
        ChannelGroupAttention(8, 3)
