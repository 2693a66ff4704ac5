"""Learning rates against closed forms and torch's own schedulers; which weights decay."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD, lr_scheduler

from segcourse import optim
from segcourse.config import Config
from segcourse.errors import UsageError


def rates(config, steps=None):
    """The learning rate in each step of a run that steps its schedule as the loop does."""
    model = nn.Conv2d(3, 2, 1)
    optimizer = optim.optimizer(config, model)
    schedule = optim.schedule(config, optimizer)
    found = []
    for _ in range(steps or config.steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def torchs_rates(build, lr, steps):
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = build(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_poly_equals_the_closed_form_of_deeplab():
    config = Config(steps=40, lr=0.02, schedule="poly", power=0.9)
    expected = [0.02 * (1 - t / 40) ** 0.9 for t in range(40)]
    assert rates(config) == pytest.approx(expected, rel=1e-14)


def test_poly_equals_torchs_polynomial_lr():
    config = Config(steps=40, lr=0.02, schedule="poly", power=0.9)
    theirs = torchs_rates(
        lambda o: lr_scheduler.PolynomialLR(o, total_iters=40, power=0.9), 0.02, 40
    )
    assert rates(config) == pytest.approx(theirs, rel=1e-12)


def test_step_equals_torchs_multi_step_lr():
    config = Config(steps=50, lr=0.1, schedule="step", milestones=(0.6, 0.85), gamma=0.1)
    theirs = torchs_rates(
        lambda o: lr_scheduler.MultiStepLR(o, milestones=[30, 43], gamma=0.1), 0.1, 50
    )
    assert rates(config) == pytest.approx(theirs, rel=1e-12)


def test_constant_stays_and_warm_up_is_linear():
    config = Config(steps=10, lr=0.5, schedule="constant", warmup=4)
    assert rates(config) == pytest.approx([0.125, 0.25, 0.375, 0.5, *[0.5] * 6], rel=1e-14)


@given(
    steps=st.integers(2, 300),
    part=st.floats(0, 0.99),
    schedule=st.sampled_from(["constant", "step", "poly"]),
    power=st.floats(0.1, 3),
)
def test_rate_rises_to_its_highest_then_never_rises_again(steps, part, schedule, power):
    config = Config(steps=steps, warmup=int(part * steps), schedule=schedule, power=power)
    factors = [optim.factor(config, step) for step in range(steps)]
    top = max(config.warmup - 1, 0)
    assert factors[top] == 1
    assert factors[:top] == sorted(factors[:top])
    assert factors[top:] == sorted(factors[top:], reverse=True)
    assert all(0 < f <= 1 for f in factors)


def test_a_schedule_restored_in_the_middle_goes_on_as_if_never_stopped():
    config = Config(steps=20, lr=0.1, warmup=5)
    whole = rates(config)
    optimizer = optim.optimizer(config, nn.Conv2d(3, 2, 1))
    schedule = optim.schedule(config, optimizer)
    for _ in range(8):
        optimizer.step()
        schedule.step()
    states = optimizer.state_dict(), schedule.state_dict()

    optimizer = optim.optimizer(config, nn.Conv2d(3, 2, 1))
    schedule = optim.schedule(config, optimizer)
    optimizer.load_state_dict(states[0])
    schedule.load_state_dict(states[1])
    rest = []
    for _ in range(12):
        rest.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rest == whole[8:]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_weight_decay_shrinks_kernels_and_leaves_biases_and_norms(name):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).double()
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(1.0)
            p.grad = torch.zeros_like(p)
    config = Config(optimizer=name, lr=0.1, weight_decay=0.5, momentum=0.0)
    optim.optimizer(config, model).step()
    assert model[0].weight.detach().unique().tolist() == pytest.approx([0.95])
    for p in (model[0].bias, model[1].weight, model[1].bias):
        assert p.detach().unique().tolist() == [1.0]


def test_frozen_parameters_are_left_out():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))
    model[0].requires_grad_(False)
    groups = optim.optimizer(Config(), model).param_groups
    assert {id(p) for g in groups for p in g["params"]} == {id(p) for p in model[1].parameters()}


def test_a_model_with_nothing_to_train_is_refused():
    with pytest.raises(UsageError, match="Conv2d has no parameter that trains: set requires_grad"):
        optim.optimizer(Config(), nn.Conv2d(3, 2, 1).requires_grad_(False))
