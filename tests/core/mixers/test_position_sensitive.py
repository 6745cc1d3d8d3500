"""Position-sensitive axial attention against sums over pairs."""

import pytest
import torch

from core.mixers import PositionSensitiveAttention
from core.mixers.position_sensitive import TokenBatchNorm
from core.testing import Case, check_mixer


def perturbed(mixer):
    """Norms that do something."""
    for part in mixer.modules():
        if isinstance(part, TokenBatchNorm):
            torch.nn.init.normal_(part.weight, 1.0, 0.2)
            torch.nn.init.normal_(part.bias, 0.0, 0.2)
            torch.nn.init.normal_(part.running_mean, 0.0, 0.2)
            torch.nn.init.uniform_(part.running_var, 0.5, 2.0)
    return mixer


def normed(norm, x):
    """A batch norm of single numbers of channel n."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return lambda value, n: (value - norm.running_mean[n]) * scale[n] + norm.bias[n]


def by_definition(mixer, x):
    """Token by token and head by head."""
    place = mixer.axis % (x.ndim - 2) + 1
    lines = x.movedim(place, -2)
    heads, far = mixer.heads, mixer.span - 1
    rows = []
    for line in lines.flatten(0, -3):
        qkv = torch.nn.functional.batch_norm(
            mixer.qkv(line),
            mixer.qkv_norm.running_mean,
            mixer.qkv_norm.running_var,
            mixer.qkv_norm.weight,
            mixer.qkv_norm.bias,
            eps=mixer.qkv_norm.eps,
        )
        q, k, v = (t.unflatten(-1, (heads, -1)) for t in qkv.split(mixer.widths, -1))
        score, out = normed(mixer.score_norm, x), normed(mixer.norm, x)
        width = v.shape[-1]
        for i in range(len(line)):
            parts = []
            for h in range(heads):
                near = [max(-far, min(far, m - i)) + far for m in range(len(line))]
                s = torch.stack(
                    [
                        score(q[i, h] @ k[m, h], h)
                        + score(q[i, h] @ mixer.q_table[near[m]], heads + h)
                        + score(k[m, h] @ mixer.k_table[near[m]], 2 * heads + h)
                        for m in range(len(line))
                    ]
                )
                w = s.softmax(0)
                content, position = w @ v[:, h], w @ mixer.v_table[near]
                channels = torch.arange(h * width, (h + 1) * width)
                parts.append(out(content, channels) + out(position, heads * width + channels))
            rows.append(torch.cat(parts))
    y = torch.stack(rows).view(*lines.shape[:-1], -1)
    return y.movedim(-2, place)


CASES = {
    "rows": Case(lambda: perturbed(PositionSensitiveAttention(8, 2, -1)), 8, [(1,), (3, 4), (2, 1, 3)], by_definition),
    "columns": Case(
        lambda: perturbed(PositionSensitiveAttention(6, 3, 0, key_dim=6, value_dim=12, span=4)),
        6,
        [(1, 2), (3, 4), (7, 2)],
        by_definition,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_contract(name):
    check_mixer(*CASES[name])


def test_statistics_leave_padding_out():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    wide, mixer = torch.cat([x, torch.full((2, 2, 8), 7.0)], 1), PositionSensitiveAttention(8, 2, 0).double().train()
    y = mixer(x, mask=mask)
    before = {name: value.clone() for name, value in mixer.state_dict().items() if "running" in name}
    mixer.load_state_dict(PositionSensitiveAttention(8, 2, 0).state_dict(), strict=False)
    torch.manual_seed(0)
    torch.randn(2, 5, 8, dtype=torch.float64)
    again = PositionSensitiveAttention(8, 2, 0).double().train()
    z = again(wide, mask=torch.cat([mask, torch.zeros(2, 2, dtype=torch.bool)], 1))
    torch.testing.assert_close(z[:, :5], y)
    for name, value in before.items():
        torch.testing.assert_close(again.state_dict()[name], value)


def test_a_single_value_has_no_variance():
    norm = TokenBatchNorm(3).train()
    x = torch.randn(1, 1, 3)
    torch.testing.assert_close(norm(x), x, rtol=1e-2, atol=1e-3)
    assert not norm.running_mean.any()


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="give widths that the number of heads divides"):
        PositionSensitiveAttention(6, 2, 0)
    with pytest.raises(ValueError, match="give one from -1 to 0"):
        PositionSensitiveAttention(4, 2, 1)(torch.randn(1, 3, 4))
