"""Front end and context module: the paper's table, and a start that changes nothing."""

import pytest
import torch
from torch import nn

from segcourse.context_module import (
    RATES,
    context_basic,
    context_large,
    identity_kernel,
    initialise_identity,
)
from segcourse.cost import multiply_adds, parameters
from segcourse.dilate import dilate
from segcourse.dilated_networks import (
    DilatedNet,
    dilated_context_light,
    dilated_context_vgg16,
    dilated_light,
    dilated_vgg16,
    front_end_light,
    front_end_vgg16,
    plug_in,
    rate_stack,
)
from segcourse.errors import UsageError
from segcourse.receptive_field import layer_fields, receptive_field


def numbers(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


@pytest.fixture
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("build", [context_basic, context_large])
@pytest.mark.parametrize("num_classes", [1, 3, 8, 21])
def test_at_the_start_scores_pass_through(build, num_classes):
    context = build(num_classes).double()
    scores = numbers((1, num_classes, 6, 7))
    assert (context(scores.relu()) - scores.relu()).abs().max() < 1e-12
    assert (context(scores) - scores.relu()).abs().max() < 1e-12, "a ReLU cuts what is negative"


def test_noise_parts_the_channels_of_a_class_and_little_else():
    context = context_large(3, noise=1e-3, generator=torch.Generator().manual_seed(0)).double()
    scores = numbers((1, 3, 6, 7)).relu()
    assert 0 < (context(scores) - scores).abs().max() < 0.2
    first = context[0].weight
    assert not first[0].equal(first[1])


def test_without_noise_the_channels_of_a_class_get_the_same_gradient():
    """They start alike and so stay alike, as book/atrous says."""
    context = context_large(2).double()
    (context(numbers((1, 2, 6, 7)).relu()) ** 2).sum().backward()
    first = context[0]
    assert first.weight[0].equal(first.weight[1])
    assert first.weight.grad[0].abs().max() > 0
    assert (first.weight.grad[0] - first.weight.grad[1]).abs().max() < 1e-12
    assert (first.bias.grad[0] - first.bias.grad[1]).abs() < 1e-12


def test_equation_five_by_hand():
    """Two classes, two channels each to four each: K / d = 1 / 4 within a class."""
    weight = identity_kernel(4, 8, 3, 2)
    assert (
        weight[:, :, 1, 1].tolist() == [[0.25] * 2 + [0.0] * 2] * 4 + [[0.0] * 2 + [0.25] * 2] * 4
    )
    assert weight.sum() == weight[:, :, 1, 1].sum()


def test_the_layers_are_those_of_the_papers_table_one():
    fields = [field.size for name, field in layer_fields(context_basic(21)) if int(name) % 2 == 0]
    assert fields == [3, 5, 9, 17, 33, 65, 67, 67]
    for build, widths in ((context_basic, [1] * 8), (context_large, [2, 2, 4, 8, 16, 32, 32, 1])):
        convolutions = [layer for layer in build(21) if isinstance(layer, nn.Conv2d)]
        assert [layer.out_channels // 21 for layer in convolutions] == widths
        assert [layer.dilation[0] for layer in convolutions] == [*RATES, 1]
    # 64 C^2 weights and 8 C biases with C = 21.
    assert parameters(context_basic(21)) == 64 * 21**2 + 8 * 21


def test_what_cannot_be_the_identity_is_refused():
    with pytest.raises(ValueError, match="multiples of the number of classes"):
        identity_kernel(4, 6, 3, 4)
    with pytest.raises(ValueError, match="no middle tap"):
        identity_kernel(4, 4, 2, 4)
    with pytest.raises(ValueError, match="each of 5 classes"):
        initialise_identity(nn.Sequential(nn.Conv2d(5, 6, 1)), 5)
    with pytest.raises(ValueError, match="rates"):
        context_basic(3, ())


def test_vgg16s_front_end_is_the_papers():
    with torch.device("meta"):
        front_end, net = front_end_vgg16(21), dilated_vgg16(21)
    convolutions = [layer for layer in front_end if isinstance(layer, nn.Conv2d)]
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in front_end) == 3
    assert [layer.dilation[0] for layer in convolutions] == [1] * 10 + [2] * 3 + [4, 1, 1]
    assert receptive_field(front_end).stride == 8
    assert round(parameters(net) / 1e6) == 134


@pytest.mark.parametrize("size", [(64, 64), (33, 47)])
@pytest.mark.parametrize("build", [dilated_light, dilated_context_light])
def test_logits_have_the_images_size(build, size, seeded):
    assert build(4).eval()(torch.rand(1, 3, *size)).shape == (1, 4, *size)


@pytest.mark.parametrize("build", [dilated_vgg16, dilated_context_vgg16])
def test_large_networks_meet_the_contract_too(build):
    with torch.device("meta"):
        assert build(5)(torch.rand(1, 3, 45, 60)).shape == (1, 5, 45, 60)


def test_rates_change_the_field_of_a_stack_and_nothing_else(seeded):
    costs = set()
    for rates in ((1, 1, 1), (2, 2, 2), (1, 2, 5)):
        net = rate_stack(4, rates, width=8)
        assert receptive_field(net.front_end).size == 3 + 4 * sum(rates)
        costs.add((parameters(net), multiply_adds(net, (64, 64))))
    assert len(costs) == 1


def test_the_light_front_end_is_the_strided_network(seeded):
    dense = front_end_light(4).double().eval()
    torch.manual_seed(0)
    strided = front_end_light(4, output_stride=32).double().eval()
    image = numbers((1, 3, 64, 96))
    assert (dense(image)[:, :, ::4, ::4] - strided(image)).abs().max() < 1e-12
    assert parameters(dense) == parameters(strided)
    assert dilate(strided, 8)(image).equal(dense(image))


def test_every_weight_of_a_fresh_network_learns(seeded):
    net = dilated_context_light(4)
    loss = nn.functional.cross_entropy(net(torch.rand(2, 3, 64, 64)), torch.randint(4, (2, 64, 64)))
    loss.backward()
    silent = [name for name, p in net.named_parameters() if not p.grad.abs().sum() > 0]
    assert not silent


def test_a_context_module_plugged_in_keeps_the_label_map(seeded):
    trained, target = dilated_light(4).double().eval(), dilated_context_light(4).double().eval()
    score = trained.front_end[-1]
    nn.init.normal_(score.weight)
    plug_in(trained, target)
    image = numbers((1, 3, 64, 64))
    scores = trained.front_end(image)
    assert (target.context(target.front_end(image)) - scores.relu()).abs().max() < 1e-12
    assert (scores.amax(1) > 0).double().mean() > 0.5
    clear = (scores.amax(1) > 0)[0]
    same = target.context(scores).argmax(1)[0] == scores.argmax(1)[0]
    assert same[clear].all()


def test_front_ends_that_do_not_fit_are_refused(seeded):
    target = dilated_context_light(4)
    with pytest.raises(UsageError, match="scores 5 classes and the context module takes 4"):
        plug_in(dilated_light(5), target)
    with pytest.raises(UsageError, match="has a context module already"):
        plug_in(target, dilated_context_light(4))
    other = DilatedNet(front_end_light(4, widths=(4, 4, 4, 4, 4)), 4)
    with pytest.raises(UsageError, match="build both on one network"):
        plug_in(other, target)


def test_small_images_and_other_shapes_are_refused():
    with pytest.raises(ValueError, match="32 up"):
        dilated_light(4)(torch.rand(1, 3, 20, 64))
    with pytest.raises(ValueError, match="passes the strides"):
        front_end_light(4, output_stride=6)
