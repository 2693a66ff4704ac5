"""A step taken apart: the rule that groups operators, traces of a CPU and of a GPU, the command."""

import json

import pytest
import torch
from cli_tools import call

from segcourse import losses
from segcourse.cli import stepping, timing
from segcourse.cli.trace import IDLE, TRANSFERS, breakdown, group
from segcourse.full_resolution import FullResolutionNet
from segcourse.records import plain

ENGINE = "autograd::engine::evaluate_function: "


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("steps > data > aten::gather", "data and augmentation"),
        ("steps > data", "data and augmentation"),
        ("steps > forward > aten::conv2d > aten::mkldnn_convolution", "convolution forward"),
        ("steps > forward > aten::conv2d > aten::contiguous > aten::copy_", "convolution forward"),
        ("steps > forward > aten::conv2d > aten::to > aten::_to_copy > aten::copy_", "casts"),
        ("steps > forward > aten::linear > aten::addmm", "convolution forward"),
        ("steps > forward > aten::conv_transpose2d", "convolution forward"),
        (f"{ENGINE}ConvolutionBackward0 > aten::convolution_backward", "convolution backward"),
        (f"steps > backward > {ENGINE}ConvolutionBackward0 > aten::add_", "convolution backward"),
        (f"steps > backward > {ENGINE}ToCopyBackward0 > aten::copy_", "casts"),
        ("steps > forward > aten::batch_norm > aten::cudnn_batch_norm", "norm"),
        (f"{ENGINE}CudnnBatchNormBackward0 > aten::cudnn_batch_norm_backward", "norm"),
        ("steps > forward > aten::upsample_bilinear2d", "resize"),
        (f"{ENGINE}GridSampler2DBackward0", "resize"),
        (f"{ENGINE}MaxPool2DWithIndicesBackward0 > aten::zero_", "activation and pooling"),
        ("steps > forward > aten::relu > aten::clamp_min", "activation and pooling"),
        ("steps > forward > aten::cat", "joining and padding"),
        ("steps > loss > aten::cross_entropy_loss", "loss"),
        (f"{ENGINE}LogSoftmaxBackward0 > aten::_log_softmax_backward_data", "loss"),
        (f"{ENGINE}NllLoss2DBackward0", "loss"),
        ("steps > optimizer > Optimizer.step#AdamW.step > aten::_to_copy", "optimizer"),
        ("steps > backward > Optimizer.zero_grad#AdamW.zero_grad", "optimizer"),
        ("steps > forward > CompiledFunction > triton_poi_fused_relu_batch_norm_0", "casts"),
        ("steps > forward", "between operators"),
        ("steps > backward", "between operators"),
        ("steps", "between operators"),
        (f"steps > backward > {ENGINE}torch::autograd::AccumulateGrad", "other"),
        ("steps > forward > Torch-Compiled Region: 0/0", "fused by the compiler"),
    ],
)
def test_operator_belongs_to_its_kind_of_work(path, kind):
    # What the compiler fuses is named after everything that is in it.
    kind = "fused by the compiler" if "triton_" in path else kind
    assert group(path.split(" > ")) == kind


def span(cat, name, start, end, tid=1, **args):
    return {
        "ph": "X", "cat": cat, "name": name, "tid": tid, "ts": start, "dur": end - start,
        "args": args,
    }  # fmt: skip


def test_operators_on_a_cpu_count_with_their_own_time_and_add_up_to_the_wall():
    found = breakdown(
        [
            {"ph": "M", "name": "process_name"},
            span("user_annotation", "steps", 100, 200),
            span("user_annotation", "forward", 110, 160),
            span("cpu_op", "aten::conv2d", 115, 145),
            span("cpu_op", "aten::_to_copy", 120, 130),
            span("cpu_op", "aten::relu", 145, 155),
            span("cpu_op", "aten::relu", 110, 190, tid=2),  # another thread: not in our way
            span("cpu_op", "aten::relu", 300, 400),  # after the steps
        ]
    )
    assert found.groups == {
        "between operators": 60,  # 50 outside the forward pass, 10 inside
        "convolution forward": 20,
        "casts": 10,
        "activation and pooling": 10,
    }
    assert sum(found.groups.values()) == found.wall == 100
    assert found.top[0] == ("steps", 50)
    assert not found.on_gpu


def test_kernels_on_a_gpu_belong_to_who_launched_them_and_gaps_are_idle():
    found = breakdown(
        [
            span("user_annotation", "steps", 0, 1000),
            span("user_annotation", "forward", 0, 100),
            span("cpu_op", "aten::conv2d", 10, 50, **{"External id": 7}),
            span("cuda_runtime", "cudaLaunchKernel", 20, 25, correlation=1),
            span("cpu_op", "aten::relu", 60, 90, **{"External id": 8}),
            span("cpu_op", f"{ENGINE}ConvolutionBackward0", 110, 150, tid=2),
            span("cuda_driver", "cuLaunchKernelEx", 120, 125, tid=2, correlation=2),
            span("cuda_runtime", "cudaMemcpyAsync", 160, 165, correlation=3),
            span("gpu_user_annotation", "forward", 200, 500, tid=7),
            span("kernel", "sm90_xmma_fprop", 200, 300, tid=7, correlation=1),
            span("kernel", "vectorized", 300, 330, tid=7, correlation=9, **{"External id": 8}),
            span("kernel", "sm90_xmma_wgrad", 400, 600, tid=7, correlation=2),
            span("kernel", "triton_poi_fused_relu_1", 600, 640, tid=7, correlation=99),
            span("gpu_memcpy", "Memcpy HtoD (Pinned -> Device)", 640, 650, tid=7, correlation=3),
            span("gpu_memset", "Memset (Device)", 620, 650, tid=8, correlation=98),  # overlaps
        ]
    )
    assert (
        found.groups
        == {
            "convolution backward": 200,
            "convolution forward": 100,
            "fused by the compiler": 40,
            "activation and pooling": 30,
            "other": 30,
            TRANSFERS: 10,
            IDLE: 620,
        }
        | {}
    )
    assert found.on_gpu
    assert found.top[0] == ("sm90_xmma_wgrad", 200)


def test_trace_without_steps_is_refused():
    with pytest.raises(ValueError, match="no region 'steps': open one around the steps"):
        breakdown([span("cpu_op", "aten::relu", 0, 1)])


def test_step_is_the_one_of_the_training_loop():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 8, 8, generator=generator)
    labels = torch.randint(0, 4, (2, 8, 8), generator=generator)
    net = FullResolutionNet(4, (8,))
    twin = FullResolutionNet(4, (8,))
    twin.load_state_dict(net.state_dict())
    value = stepping.training_step(
        net, torch.optim.SGD(net.parameters(), 0.1), images, labels, False
    )
    loss = losses.cross_entropy(twin(images), labels)
    loss.backward()
    torch.optim.SGD(twin.parameters(), 0.1).step()
    assert value == loss.detach()
    for ours, theirs in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(stepping.prediction(net, images, False), twin(images).argmax(1))


def test_rates_are_work_over_seconds(monkeypatch):
    monkeypatch.setattr(timing, "median_seconds", lambda call, repeats, device: call() is None or 2)
    cpu = torch.device("cpu")
    assert timing.copy_bandwidth(cpu, 1, size=4000) == 2 * 4000 / 2
    assert timing.matrix_rate(cpu, torch.float32, 1, side=10) == 2 * 10**3 / 2


def test_profile_of_a_model_is_printed_and_recorded(tmp_path, capsys):
    words = ["--model", "aspp-s-light", "--height", 32, "--width", 40, "--batch", 2, "--steps", 2]
    words += [
        "--device",
        "cpu",
        "--json",
        tmp_path / "p.json",
        "--trace",
        tmp_path / "t" / "t.json",
    ]
    before = torch.get_num_threads()
    code, out, _ = call(capsys, "bench", "profile", *words)
    assert code == 0
    found = json.loads((tmp_path / "p.json").read_text("utf-8"))
    shares = {row["group"]: row["share"] for row in found["metrics"]["groups"]}
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
    for name in ("convolution forward", "convolution backward", "norm", "resize", "loss"):
        assert shares[name] > 0
        assert name in out
    assert shares["optimizer"] > 0
    assert shares["data and augmentation"] > 0
    assert "aspp-s-light, 2 x 3 x 32 x 40, fp32, cpu:" in out
    assert found["hardware"]["threads"] == 1
    assert torch.get_num_threads() == before
    assert found["command"].startswith("segcourse bench profile --model aspp-s-light --height 32")
    assert set(found["config"]) == {
        "model", "height", "width", "batch", "steps", "precision", "channels_last", "compile",
        "seed", "device", "threads",
    }  # fmt: skip
    events = json.loads((tmp_path / "t" / "t.json").read_text("utf-8"))["traceEvents"]
    again = breakdown(events)
    rows = [{"group": name, "share": took / again.wall} for name, took in again.groups.items()]
    recorded = [{key: row[key] for key in ("group", "share")} for row in found["metrics"]["groups"]]
    assert plain(rows) == recorded


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--batch", 1), "--batch is 1: give 2 or more"),
        (("--height", 8), "--height is 8: give 32 or more"),
        (("--threads", 0), "--threads is 0: give 1 or more"),
        (("--model", "patch"), "--model patch trains on windows: profile another model"),
    ],
)
def test_profile_refuses_what_it_cannot_do(words, message, capsys):
    small = ("--device", "cpu", "--height", 32, "--width", 32, "--batch", 2)
    code, out, err = call(capsys, "bench", "profile", *small, *words)
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.filterwarnings("default")
def test_profile_on_a_gpu_adds_up_kernels_and_names_who_launched_them(tmp_path, capsys):
    words = ["--model", "unet-light", "--batch", 8, "--steps", 3, "--precision", "bf16"]
    words += ["--channels-last", "--device", "cuda", "--json", tmp_path / "p.json"]
    code, out, _ = call(capsys, "bench", "profile", *words)
    assert code == 0
    found = json.loads((tmp_path / "p.json").read_text("utf-8"))["metrics"]
    assert found["on_gpu"]
    shares = {row["group"]: row["share"] for row in found["groups"]}
    assert sum(shares.values()) == pytest.approx(1, abs=0.05)  # a copy may overlap with a kernel
    for name in ("convolution forward", "convolution backward", "norm", "optimizer", "loss"):
        assert shares[name] > 0
    assert shares["data and augmentation"] > 0
    assert shares["other"] < 0.2  # kernels found their operators
    assert IDLE in shares
    assert IDLE in out
