"""The running average of the weights, against torch's."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from segcourse.averaging import RunningAverage


def test_the_average_is_torchs_to_the_bit_and_whole_numbers_are_the_models():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1).double())
    average = get_ema_multi_avg_fn(0.8)
    oracle = AveragedModel(model, multi_avg_fn=average, use_buffers=True)
    ours = RunningAverage(model, 0.8)
    for update in range(4):
        with torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                if tensor.is_floating_point():
                    tensor.add_(torch.rand_like(tensor))
        model[1].num_batches_tracked += 1
        oracle.update_parameters(model)
        ours.update(model)
        assert ours.updates == update + 1
    state, expected = ours.module.state_dict(), oracle.module.state_dict()
    assert state.pop("1.num_batches_tracked") == 4
    expected.pop("1.num_batches_tracked")
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert not torch.equal(state["0.weight"], model[0].weight)
