"""What a layer keeps for the backward pass, what recomputation leaves of it, and layers at half the rate."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from apps.audio.models.layers import LayerStack, MossFormer2Layer
from core.temporal_unet import TemporalUNet

DIM, KEY, GROUP, INNER = 16, 8, 10, 12


def kept(module, frames):
    """Numbers kept by a forward pass, parameters and input aside."""
    x = torch.randn(1, frames, DIM, requires_grad=True)
    own = {t.untyped_storage().data_ptr() for t in (x, *module.parameters())}
    held = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = (storage.nbytes() // tensor.element_size(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = module(x)
    assert y.requires_grad
    return sum(count for count, _ in held.values())


def a_frame(module):
    """Numbers that one more frame costs."""
    return (kept(module, 800) - kept(module, 400)) / 400


def layers(depth):
    return [MossFormer2Layer(DIM, key_dim=KEY, group=GROUP, inner=INNER, order=3, dropout=0.0) for _ in range(depth)]


def test_only_what_products_and_convolutions_are_given():
    hidden = 4 * DIM
    # Input of the products, before and after the convolution, copies, turns, local weights, attended, before the last
    # convolution.
    attention = DIM + 2 * (hidden + KEY) + 4 * KEY + 2 * KEY // 2 + GROUP + hidden + DIM
    # Input of the product, its result, before and after the convolution, relu, p, [o, p], two norms, the memory.
    memory = DIM + INNER + 2 * 2 * INNER + (1 + 1 + 2 + 2 + 1) * INNER
    few = 3  # factors and means of norms
    assert a_frame(layers(1)[0]) <= attention + memory + few


def test_recomputing_keeps_the_input_of_a_layer():
    stack = LayerStack(DIM, layers(4), recompute=True)
    # x of each layer but the first, and the two norms behind them.
    assert a_frame(stack) <= (3 + 3) * DIM + 4


def test_layers_at_half_the_rate_cost_about_half():
    """MossFormer2's layers in the middle of a stack, inside a temporal U-Net; products counted, no clock."""

    def products(middle):
        stack = LayerStack(DIM, [*layers(1), *middle, *layers(1)]).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            y = stack(torch.randn(1, 400, DIM))
        assert y.shape == (1, 400, DIM)
        return counter.get_total_flops()

    outer = products([])
    full, half = products(layers(6)) - outer, products([TemporalUNet(DIM, layers(6))]) - outer
    assert 0.45 * full < half < 0.6 * full


def test_a_clip_in_a_batch_is_what_it_is_alone_with_layers_at_half_the_rate():
    torch.manual_seed(0)
    stack = LayerStack(DIM, [*layers(1), TemporalUNet(DIM, layers(2)), *layers(1)]).double()
    lengths = torch.tensor([31, 8, 1])
    mask = torch.arange(31) < lengths[:, None]
    x = torch.randn(3, 31, DIM, dtype=torch.float64)
    y = stack(x, mask)
    for row, clip, length in zip(y, x, lengths.tolist(), strict=True):
        torch.testing.assert_close(row[:length], stack(clip[None, :length])[0])
    stack.recompute = True
    stack.train()
    torch.testing.assert_close(stack(x, mask)[mask], y[mask])
