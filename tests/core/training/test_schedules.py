import pytest
import torch

from core.training.schedules import Halving, MultiStep, OneCycle, Plateau, Poly


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)


def rates(schedule, of: torch.optim.Optimizer, steps: int) -> list[float]:
    made = []
    for _ in range(steps):
        made.append(of.param_groups[0]["lr"])
        of.step()
        schedule.step()
    return made


def test_one_cycle_rises_and_falls_to_zero() -> None:
    of = optimizer()
    made = rates(OneCycle(of, 10, 4, warmup=0.1), of, 41)
    assert made[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8]) and made[4] == 1.0
    assert made[22] == pytest.approx(0.5) and made[40] == 0.0


def test_halving_counts_epochs() -> None:
    of = optimizer()
    assert rates(Halving(of, 2, 4), of, 8) == [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25]


def test_milestones_are_shares_of_the_run() -> None:
    of = optimizer()
    assert rates(MultiStep(of, 10, 1, milestones=(0.5, 0.8), gamma=0.1), of, 10) == pytest.approx(
        5 * [1] + 3 * [0.1] + 2 * [0.01]
    )


@pytest.mark.parametrize(("mode", "sign"), [("min", 1), ("max", -1)])
def test_plateau_watches_the_best_value_ever(mode: str, sign: int) -> None:
    of = optimizer()
    schedule = Plateau(of, 1, 20, patience=1)
    schedule.watch(mode)
    made = []
    # Better than the last one, but not than the best, is no improvement.
    for value in (5, 4, 6, 5, 4.5, 3, 3.5):
        schedule.step(sign * value)
        made.append(of.param_groups[0]["lr"])
    assert made == [1, 1, 1, 0.5, 0.5, 0.5, 0.5]


def test_plateau_keeps_the_rate_at_first_and_goes_on_from_a_checkpoint() -> None:
    of = optimizer()
    schedule = Plateau(of, 1, 20, keep=3, patience=0)
    schedule.watch("min")
    for _ in range(3):
        schedule.step(1.0)
    assert of.param_groups[0]["lr"] == 1.0
    state = schedule.state_dict()
    other = optimizer()
    again = Plateau(other, 1, 20, keep=3, patience=0)
    again.watch("min")
    again.load_state_dict(state)
    again.step(1.0)
    assert other.param_groups[0]["lr"] == 0.5


def test_poly_rises_then_falls_as_a_power_of_what_is_left() -> None:
    of = optimizer()
    made = rates(Poly(of, 10, 2, power=2.0, warmup=0.1), of, 21)
    assert made[:2] == pytest.approx([1 / 3, (19 / 20) ** 2 * 2 / 3]) and made[10] == pytest.approx(0.25)
    assert made[20] == 0.0
    of = optimizer()
    assert rates(Poly(of, 10, 1, power=1.0, horizon=2.0), of, 11)[10] == pytest.approx(0.5)
