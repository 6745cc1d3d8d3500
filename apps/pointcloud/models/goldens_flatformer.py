"""FlatFormer's encoder under the names and calling conventions of its release, for `omnimix verify`."""

__all__ = ["FLATFORMER_ENCODER"]

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from apps.pointcloud.models.flatformer import FlatFormer, FlatFormerLayer, plane_positions
from apps.pointcloud.models.names_flatformer import flatformer_rules, layer_rules
from core.checkpoint import Mapping
from core.sparse import Sites, SparseTensor
from core.sparse.flattened import Flattened, flattened, groups
from core.verify import Facts, Golden

ORDERS = {
    "x": {"outer": 0},
    "x_shift": {"outer": 0, "shifted": True},
    "y": {"outer": 1},
    "y_shift": {"outer": 1, "shifted": True},
}


def _sites(facts: Facts, coords: Tensor) -> Sites:
    """Pillars (b, z, y, x) as sites (b, y, x)."""
    nx, ny, _ = facts.config["sparse_shape"]
    coords = coords.long()
    batch = facts.get("batch_size", int(coords[:, 0].amax()) + 1)
    # Places given twice stay two rows.
    return Sites(coords[:, [0, 2, 3]], (ny, nx), batch)


def _window(facts: Facts) -> tuple[int, int]:
    wx, wy, _ = facts.config["window_shape"]
    return wy, wx


def _activation(facts: Facts) -> Callable[[Tensor], Tensor]:
    return {"gelu": F.gelu, "relu": F.relu}[facts.get("activation", "gelu")]


def mapping(facts: Facts) -> Callable[[Tensor], dict[str, Tensor]]:
    """The four orders and the groups, as the release returns them."""

    def run(coords: Tensor) -> dict[str, Tensor]:
        sites = _sites(facts, coords)
        size = facts.config["group_size"]
        cut = groups(sites.offsets, size)
        made = {"flat2win": cut.slots.flatten(), "win2flat": cut.place}
        for name, order in ORDERS.items():
            made[name] = flattened(sites, _window(facts), size, **order).rows.flatten()[cut.place]
        return made

    return run


def positions(facts: Facts) -> Callable[[Tensor], Tensor]:
    """The embedding alone."""
    return lambda coords: plane_positions(
        _sites(facts, coords),
        facts.config["feat_dim"],
        temperature=facts.get("pos_temperature", 10000),
        normalise=facts.get("normalize_pos", False),
    )


class _Layer(nn.Module):
    def __init__(self, layer: nn.Module, size: int) -> None:
        super().__init__()
        self.layer, self.size = layer, size

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        rows = torch.arange(len(x))
        return self.layer(x, position, Flattened(rows.view(-1, self.size), rows, None))


class _Encoder(nn.Module):
    def __init__(self, facts: Facts) -> None:
        super().__init__()
        config = facts.config
        self.facts = facts
        self.encoder = FlatFormer(
            config["in_channels"],
            config["num_heads"],
            config["num_blocks"],
            window=_window(facts),
            size=config["group_size"],
            temperature=facts.get("pos_temperature", 10000),
            normalise=facts.get("normalize_pos", False),
            activation=_activation(facts),
        )

    def forward(self, x: Tensor, coords: Tensor) -> dict[str, Tensor]:
        nx, ny, _ = self.facts.config["sparse_shape"]
        given = SparseTensor.of(x, coords[:, [0, 2, 3]], (ny, nx), self.facts.config["batch_size"])
        y = self.encoder(given)
        return {"voxels": y.sites.restore(y.features)}


FLATFORMER_ENCODER = {
    "FlattenedWindowMapping": Golden(mapping),
    "PositionalEmbedding": Golden(positions),
    "BasicLayer": Golden(
        lambda facts: _Layer(
            FlatFormerLayer(facts.config["in_channels"], facts.config["num_heads"], _activation(facts)),
            facts.config["group_size"],
        ),
        Mapping(*layer_rules("layer.", "")),
    ),
    "FlatFormer": Golden(
        _Encoder, lambda facts: Mapping(*flatformer_rules("encoder.", "", facts.config["num_blocks"]))
    ),
}
