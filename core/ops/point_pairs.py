"""Pairs of points as rotations leave them (point-pair features, Drost et al. 2010; RoITr, Yu et al. 2023).

    features_ij = (|d|, angle(n_i, d) / pi, angle(n_j, d) / pi, angle(n_i, n_j) / pi)     d = p_j - p_i
    angle(a, b) = atan2(|a x b|, a . b), 0 where a or b is 0

`pair_attend` is attention with an embedding e_ij (F,) of each pair, added to keys and values by linear maps:

    logit_ij = s q_i . (k_j + P e_ij)
    y_i      = sum_j softmax_j(logit_ij) (v_j + V e_ij)

Shapes: q (..., N, H, d), k, v (..., N, K, H, d), or (..., 1, K, H, d) where all queries have the same keys,
e (..., N, K, F), P, V (H, d, F) -> (..., N, H, d).

Decided: no map of a pair is computed. q . P e = (P^T q) . e, and the mean of V e is V times the mean of e, which takes
F instead of d F products a pair and head and keeps no vector a pair but e itself. Gradients are finite everywhere:
coincident points, parallel normals and missing ones (0) have gradient 0, where a norm's would be NaN.
"""

__all__ = [
    "pair_attend",
    "pair_attend_reference",
    "pair_features",
    "pair_features_reference",
    "pair_sinusoids",
    "places_and_normals",
    "safe_norm",
]

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def places_and_normals(coords: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates (..., D) as places (..., 3) and normals (..., 3).

    Args:
        coords: up to three numbers are a place without a normal, which becomes 0; six are a place and its normal.

    Raises:
        ValueError: another number of columns.
    """
    width = coords.shape[-1]
    if width not in (1, 2, 3, 6):
        raise ValueError(
            f"pairs of points: {width} coordinates a point; give a place of up to 3, or place and normal, 6"
        )
    if width == 6:
        return coords[..., :3], coords[..., 3:]
    places = F.pad(coords, (0, 3 - width))
    return places, torch.zeros_like(places)


def safe_norm(x: Tensor) -> Tensor:
    """Euclidean norm (...) of vectors (..., D); the gradient at 0 is 0."""
    square = x.square().sum(-1)
    zero = square == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, square).sqrt())


def pair_features(places: Tensor, normals: Tensor, other_places: Tensor, other_normals: Tensor) -> Tensor:
    """The four features of pairs.

    Args:
        places: (..., 3) of the first points.
        normals: (..., 3) of any length, 0 where unknown.
        other_places: (..., 3) of the second points; shapes broadcast.
        other_normals: (..., 3).

    Returns:
        (..., 4): distance in the places' unit, three angles as shares of pi.
    """
    step = other_places - places
    angles = (_angle(normals, step), _angle(other_normals, step), _angle(normals, other_normals))
    return torch.stack(torch.broadcast_tensors(safe_norm(step), *(angle / math.pi for angle in angles)), -1)


def pair_features_reference(places: Tensor, normals: Tensor, other_places: Tensor, other_normals: Tensor) -> Tensor:
    """The same by arc cosines, a pair at a time, which lose half the digits near 0 and pi."""
    vectors = torch.broadcast_tensors(normals, other_normals, other_places - places)
    rows = []
    for own, other, step in zip(*(t.reshape(-1, 3) for t in vectors), strict=True):
        row = [step.norm()]
        for a, b in ((own, step), (other, step), (own, other)):
            size = a.norm() * b.norm()
            row.append(torch.acos((a @ b / size).clamp(-1, 1)) / math.pi if size > 0 else size * 0)
        rows.append(torch.stack(row))
    return torch.stack(rows).view(*vectors[0].shape[:-1], 4) if rows else places.new_zeros(*vectors[0].shape[:-1], 4)


def pair_sinusoids(features: Tensor, dim: int) -> Tensor:
    """Each of F numbers as dim / F sinusoids: sin(s w_0), cos(s w_0), sin(s w_1), ..., w_i = 1e4^(-2 i F / dim).

    Args:
        features: (..., F).
        dim: width of the result, a multiple of 2 F.

    Returns:
        (..., dim), one number's sinusoids behind the other's.
    """
    width = dim // features.shape[-1]
    rates = torch.arange(0, width, 2, device=features.device, dtype=features.dtype).mul(-math.log(1e4) / width).exp()
    phase = features[..., None] * rates
    return torch.stack([phase.sin(), phase.cos()], -1).flatten(-3)


def pair_attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    pairs: Tensor,
    key_map: Tensor,
    value_map: Tensor,
    *,
    seen: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """Attention of each query to its K keys with embeddings of the pairs.

    Args:
        q, k, v: heads of queries, keys and values.
        pairs: (..., N, K, F), finite also where not seen.
        key_map: (H, d, F).
        value_map: (H, d, F).
        seen: (..., N, K) boolean, True = may attend; None = all.
        scale: factor of the scores, d ** -0.5 by default.

    Returns:
        (..., N, H, d); 0 for a query without any key.
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    q = q * scale
    from_pairs = torch.einsum("...hd,hdf->...hf", q, key_map) @ pairs.transpose(-1, -2)
    shared = k.shape[-4] == 1
    if shared:
        content = torch.einsum("...nhd,...khd->...nhk", q, k.squeeze(-4))
    else:
        content = (k.transpose(-3, -2) @ q[..., None]).squeeze(-1)
    weights = _softmax(content + from_pairs, None if seen is None else seen[..., None, :])
    if shared:
        mixed = torch.einsum("...nhk,...khd->...nhd", weights, v.squeeze(-4))
    else:
        mixed = (weights[..., None, :] @ v.transpose(-3, -2)).squeeze(-2)
    return mixed + torch.einsum("...hf,hdf->...hd", weights @ pairs, value_map)


def pair_attend_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    pairs: Tensor,
    key_map: Tensor,
    value_map: Tensor,
    *,
    seen: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """The same with the maps of every pair."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    keys = k + torch.einsum("hdf,...f->...hd", key_map, pairs)
    values = v + torch.einsum("hdf,...f->...hd", value_map, pairs)
    scores = scale * torch.einsum("...hd,...khd->...hk", q, keys)
    if seen is not None:
        scores = scores.masked_fill(~seen[..., None, :], -torch.inf)
    return torch.einsum("...hk,...khd->...hd", scores.softmax(-1).nan_to_num(0), values)


def _softmax(scores: Tensor, seen: Tensor | None) -> Tensor:
    """Over the last axis; rows without any key become 0."""
    if seen is None:
        return scores.softmax(-1)
    # The smallest finite number, so that an empty row makes no NaN on the way back.
    return scores.masked_fill(~seen, torch.finfo(scores.dtype).min).softmax(-1).masked_fill(~seen, 0)


def _angle(a: Tensor, b: Tensor) -> Tensor:
    """Between vectors (..., 3), from 0 to pi."""
    across, along = safe_norm(torch.linalg.cross(*torch.broadcast_tensors(a, b))), (a * b).sum(-1)
    none = (across == 0) & (along == 0)
    return torch.where(none, 0.0, torch.atan2(across, torch.where(none, 1.0, along)))
