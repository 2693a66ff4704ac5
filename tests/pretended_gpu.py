"""A pretended GPU: tensors that say that they lie on cuda:0, and compute on the CPU.

Inside `pretended_gpu` torch finds one GPU. Every operator sees its tensors first, and refuses what
CUDA refuses: tensors of two devices, a generator of the other device, a product of integers, an
operator without a CUDA kernel. Launched kernels and waits of the CPU for the GPU are counted, each
wait with the line of the package that asked for it.

It cannot see what needs the kernels themselves: their rounding, their order of summation, memory,
speed, work on several streams, compiled code.

Torch's C++ asks a driver about tensors on "cuda". Below Python these tensors are therefore on
"lazy", a device that is in every build of torch, that nothing else here uses, and whose backward
pass runs in the calling thread. Autocast is done here, by CUDA's lists of functions.
"""

import contextlib
import sys
from collections import Counter
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode

GPU, INSIDE = torch.device("cuda", 0), torch.device("lazy", 0)
COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
aten = torch.ops.aten

WAITS = {
    aten._local_scalar_dense.default: 1,
    aten.nonzero.default: 1,
    aten.masked_select.default: 1,
    aten.equal.default: 1,
    aten.bincount.default: 2,  # the least and the largest value
    aten._unique2.default: 1,
    aten.unique_dim.default: 1,
    aten.unique_consecutive.default: 1,
    aten.repeat_interleave.Tensor: 1,
}
"""Operators whose result or its shape the CPU has to know, and how often it waits for it."""

INDEXING = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
}
COPIES = {aten.copy_.default, aten._to_copy.default, aten._foreach_copy_.default}
PRODUCTS = {"mm", "bmm", "mv", "addmm", "baddbmm", "addmv", "dot", "convolution"}
FREE = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "lift_fresh"}
"""Operators that launch nothing."""

# Of the lists in torch's documentation of autocast ("CUDA Op-Specific Behavior"), what matters to
# a network. Batch norm, pooling, interpolation and `cat` are on neither.
HALVED = {
    "torch.conv1d", "torch.conv2d", "torch.conv3d", "torch.conv_transpose2d", "torch.einsum",
    "torch.matmul", "torch.mm", "torch.bmm", "torch.addmm", "torch.nn.functional.linear",
    "torch.nn.functional.conv2d", "torch.nn.functional.conv_transpose2d", "torch.Tensor.matmul",
    "torch.Tensor.__matmul__", "torch.Tensor.__rmatmul__", "torch.Tensor.mm", "torch.Tensor.bmm",
}  # fmt: skip
WIDENED = {
    "softmax", "log_softmax", "layer_norm", "group_norm", "norm", "normalize", "exp", "log", "pow",
    "__pow__", "rsqrt", "reciprocal", "cumsum", "prod", "sum", "nll_loss", "cross_entropy",
    "cosine_similarity", "mse_loss", "softplus", "std", "var", "__rpow__", "square",
}  # fmt: skip


class OnGPU(Tensor):
    """A tensor whose numbers a tensor on the CPU holds; only `Operators` may look at them."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor, requires_grad: bool = False):
        with torch.inference_mode(False):  # a view may be of a tensor made outside of it
            made = Tensor._make_wrapper_subclass(
                cls,
                held.size(),
                strides=held.stride(),
                storage_offset=held.storage_offset(),
                dtype=held.dtype,
                device=INSIDE,
                requires_grad=requires_grad,
            )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise AssertionError(f"{func} reached a tensor of the pretended GPU from outside of it")

    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    @property
    def data(self):
        return self.detach()

    @data.setter
    def data(self, value):
        Tensor.data.__set__(self, value)
        self.held = value.held

    def __reduce_ex__(self, protocol):
        # In a file tensors keep their numbers; where they lie is for the reader to say.
        return self.held.__reduce_ex__(protocol)

    def __repr__(self):
        return f"OnGPU({tuple(self.shape)}, {self.dtype})"


class Calls(TorchFunctionMode):
    """What Python calls: devices are renamed, moves are made, autocast casts."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in (Tensor.to, Tensor.cuda, Tensor.cpu):
            return _move(func, *args, **kwargs)
        if func is Tensor.numpy and isinstance(args[0], OnGPU):
            raise TypeError(
                "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first"
            )
        if func is Tensor.tolist and isinstance(args[0], OnGPU):
            return _move(Tensor.cpu, args[0]).tolist()
        if func is Tensor.pin_memory:
            if isinstance(args[0], OnGPU):
                raise RuntimeError("cannot pin a CUDA tensor: only dense CPU tensors can be pinned")
            pinned = args[0].clone()
            pinned.pinned = True
            return pinned
        if func is Tensor.is_pinned:
            return getattr(args[0], "pinned", False)
        if func is Tensor.new_tensor and isinstance(args[0], OnGPU) and not kwargs.get("device"):
            kwargs.setdefault("dtype", args[0].dtype)
            return torch.Tensor.to(torch.tensor(*args[1:], **kwargs), INSIDE)
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], OnGPU):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            index = tuple(torch.tensor(x) if isinstance(x, list) else x for x in index)
            args = (args[0], index, *args[2:])
        device = kwargs.get("device")
        if device is not None and torch.device(device).type == "cuda":
            if func is torch.tensor or func is torch.as_tensor:
                kwargs.pop("device")
                return func(*args, **kwargs).to(INSIDE)
            kwargs["device"] = INSIDE
        if torch.is_autocast_enabled("cuda"):
            args, kwargs = _autocast(func, args, kwargs)
        return func(*args, **kwargs)


def _move(func, x: Tensor, *args, **kwargs) -> Tensor:
    """`to`, `cuda` and `cpu`, to the device by the name that it has below Python."""
    if func is Tensor.cuda or func is Tensor.cpu:
        args, kwargs["device"] = (), GPU if func is Tensor.cuda else "cpu"
    if args and isinstance(args[0], Tensor):
        args, kwargs = args[1:], {"device": args[0].device, "dtype": args[0].dtype, **kwargs}
    copy = kwargs.pop("copy", False)
    device, dtype, non_blocking, layout = torch._C._nn._parse_to(*args, **kwargs)
    wanted = {"non_blocking": non_blocking, "copy": copy}
    if device is not None and device.type != x.device.type:
        wanted["device"] = INSIDE if device.type == "cuda" else device
    if layout is not None:
        wanted["memory_format"] = layout
    return Tensor.to(x, dtype=dtype or x.dtype, **wanted)


def _autocast(func, args, kwargs):
    name = resolve_name(func) or ""
    dtype = torch.get_autocast_dtype("cuda")
    if name not in HALVED:
        if name.rpartition(".")[2] not in WIDENED or kwargs.get("dtype"):
            return args, kwargs
        dtype = torch.float32

    def cast(x):
        if isinstance(x, OnGPU) and x.dtype in (torch.float32, torch.bfloat16):
            return Tensor.to(x, dtype)
        return type(x)(cast(one) for one in x) if type(x) in (list, tuple) else x

    return cast(tuple(args)), {key: cast(value) for key, value in kwargs.items()}


class Operators(TorchDispatchMode):
    """What torch computes: on the CPU, after a look at where everything lies.

    Attributes:
        launches: operators that launch a kernel, by name.
        waits: (what, line of the package) to how often the CPU waited for the GPU there.
        seen: (operator, dtypes of its tensors) of everything that ran on the GPU.
    """

    def __init__(self):
        super().__init__()
        self.launches: Counter = Counter()
        self.waits: Counter = Counter()
        self.seen: set[tuple[str, tuple[torch.dtype, ...]]] = set()
        self.generator = torch.Generator()  # of the GPU, for operators that are given none
        self._known: dict = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        traits = self._traits(func)
        if traits.composite:  # in inference mode they come whole
            with self:
                return func._op_dk(COMPOSITE, *args, **kwargs)
        held: dict[int, OnGPU] = {}  # the wrapper of each tensor that is handed on
        tensors: list[Tensor] = []

        def unwrap(x):
            if isinstance(x, Tensor):
                tensors.append(x)
                if isinstance(x, OnGPU):
                    held[id(x.held)] = x
                    return x.held
            elif type(x) in (list, tuple):
                return type(x)(unwrap(one) for one in x)
            return x

        inner = [unwrap(x) for x in args]
        named = {key: unwrap(x) for key, x in kwargs.items()}
        device = kwargs.get("device")
        to_gpu = device is not None and device.type in ("lazy", "cuda")
        if not held and not to_gpu:
            return func(*args, **kwargs)

        result_on_gpu = to_gpu or device is None
        if device is not None:
            named["device"] = torch.device("cpu")
        named.pop("pin_memory", None)
        self._check(func, args, kwargs, tensors)
        if traits.random and named.get("generator") is None and traits.takes_generator:
            named["generator"] = self.generator
        self._count(func, traits, args, kwargs, tensors, result_on_gpu)
        with self._own_generator(traits.random and not traits.takes_generator):
            out = func(*inner, **named)

        def wrap(x):
            if isinstance(x, Tensor):
                if id(x) in held or _among(x, tensors):  # what was written to
                    return held.get(id(x), x)
                return OnGPU(x) if result_on_gpu else x
            if type(x) in (list, tuple):
                return type(x)(wrap(one) for one in x)
            return x

        if traits.writes:
            for wrapper in held.values():
                if wrapper.shape != wrapper.held.shape:
                    raise RuntimeError(f"{func} changes a size: no pretended tensor can follow")
        return wrap(out)

    def _check(self, func, args, kwargs, tensors) -> None:
        """Raise what CUDA raises."""
        name = func.overloadpacket.__name__
        if not self._traits(func).on_cuda:
            raise NotImplementedError(f"Could not run {func.name()} with CUDA")
        if torch.Tag.inplace_view in func.tags:
            raise RuntimeError(f"{func} changes a shape in place: no pretended tensor can follow")
        generator = kwargs.get("generator")
        if generator is not None and generator.device.type != "cuda":
            raise RuntimeError(
                f"Expected a 'cuda' device type for generator but found 'cpu' ({func})"
            )
        on_gpu = [x for x in tensors if isinstance(x, OnGPU)]
        if name in PRODUCTS and any(not x.is_floating_point() for x in on_gpu):
            raise RuntimeError(f'"{name}_cuda" not implemented for integers')
        if "upsample" in name and any(x.dtype == torch.uint8 for x in on_gpu):
            raise RuntimeError(f"\"{name}_cuda\" not implemented for 'Byte'")
        others = [x for x in tensors if not isinstance(x, OnGPU)]
        if not on_gpu or not others or func in COPIES:
            return
        if func in INDEXING and isinstance(args[0], OnGPU):  # index tensors may lie on the CPU
            others = [x for x in others if x.ndim and not _among(x, args[1])]
            if not others:
                return
        pointwise = torch.Tag.pointwise in func.tags or name.startswith(("masked_fill", "fill"))
        pointwise = pointwise or (name.startswith("_foreach") and "Tensor" in func._overloadname)
        if pointwise and all(not x.ndim for x in others) and not self._writes_to_cpu(func, args):
            return  # a number, wherever it lies
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"cuda:0 and cpu! ({func} at {_place()})"
        )

    @contextlib.contextmanager
    def _own_generator(self, needed: bool):
        """Let an operator that takes no generator draw from the GPU's."""
        if not needed:
            yield
            return
        before = torch.get_rng_state()
        torch.set_rng_state(self.generator.get_state())
        yield
        self.generator.set_state(torch.get_rng_state())
        torch.set_rng_state(before)

    @staticmethod
    def _writes_to_cpu(func, args) -> bool:
        return func._schema.is_mutable and isinstance(args[0], Tensor) and args[0].is_cpu

    def _traits(self, func):
        """What a schema says, looked up once."""
        if func not in self._known:
            name, schema = func.overloadpacket.__name__, func._schema
            has = torch._C._dispatch_has_kernel_for_dispatch_key
            computed = torch._C._dispatch_has_computed_kernel_for_dispatch_key
            aliases = [one.alias_info for one in schema.returns]
            self._known[func] = SimpleNamespace(
                name=name,
                composite=has(func.name(), "CompositeImplicitAutograd"),
                on_cuda=not torch.version.cuda or computed(func.name(), "CUDA"),
                view=any(a is not None and not a.is_write for a in aliases),
                writes=schema.is_mutable,
                random=torch.Tag.nondeterministic_seeded in func.tags,
                takes_generator=any(one.name == "generator" for one in schema.arguments),
            )
        return self._known[func]

    def _count(self, func, traits, args, kwargs, tensors, result_on_gpu) -> None:
        dtypes = tuple(x.dtype for x in tensors if isinstance(x, OnGPU))
        self.seen.add((str(func), dtypes))
        if func in COPIES:
            self._count_copy(func, args, kwargs, tensors, result_on_gpu)
            return
        if traits.view or traits.name in FREE:
            return
        self.launches[traits.name] += 1
        if func in WAITS:
            self.wait(traits.name, WAITS[func])
        if func in INDEXING:
            indices = [x for x in args[1] if x is not None]
            masks = any(x.dtype in (torch.bool, torch.uint8) for x in indices)
            filled = len(args) > 2 and args[2].numel() == 1 and len(indices) == 1
            if masks and not filled:
                self.wait("mask")
            for x in indices:
                if not isinstance(x, OnGPU):
                    self.wait("index from the CPU")

    def _count_copy(self, func, args, kwargs, tensors, result_on_gpu) -> None:
        non_blocking = kwargs.get("non_blocking", False) or (
            func is aten.copy_.default and len(args) > 2 and args[2]
        )
        if func is aten._to_copy.default:
            source, target_on_gpu = args[0], result_on_gpu
        else:
            source, target_on_gpu = tensors[-1], isinstance(tensors[0], OnGPU)
        if isinstance(source, OnGPU) and target_on_gpu:
            self.launches["copy_"] += 1
        elif isinstance(source, OnGPU):
            if non_blocking:
                raise AssertionError(f"{_place()} may read a copy before it has arrived")
            self.wait("to the CPU")
        elif getattr(source, "pinned", False) and non_blocking:
            self.launches["sent"] += 1
        else:
            self.wait("from the CPU")

    def wait(self, what: str, times: int = 1) -> None:
        """Count that the CPU waits for the GPU."""
        self.waits[what, _place()] += times

    def start(self) -> None:
        """Forget what was counted."""
        self.launches.clear()
        self.waits.clear()


def _among(x, these) -> bool:
    return any(x is one for one in these)


def _place() -> str:
    """The line that asks: the innermost one that is neither torch's nor this file's."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name != __file__ and "/torch/" not in name and "contextlib" not in name:
            return f"{'/'.join(name.split('/')[-2:])}:{frame.f_lineno}"
        frame = frame.f_back
    return "?"


@contextlib.contextmanager
def pretended_gpu(monkeypatch):
    """One GPU, pretended; yields `Operators` with its counts."""
    gpu = Operators()
    cuda = torch.cuda
    properties = SimpleNamespace(name="Pretended GPU", total_memory=2**36, major=9, minor=0)
    for name, value in {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "device": contextlib.nullcontext,
        "synchronize": lambda device=None: gpu.wait("synchronize"),
        "is_bf16_supported": lambda including_emulation=True: True,
        "get_device_name": lambda device=None: properties.name,
        "get_device_properties": lambda device=None: properties,
        "memory_allocated": lambda device=None: 2**20,
        "max_memory_allocated": lambda device=None: 2**21,
        "reset_peak_memory_stats": lambda device=None: None,
        "empty_cache": lambda: None,
        "manual_seed_all": lambda seed: gpu.generator.manual_seed(seed),
        "get_rng_state": lambda device=None: gpu.generator.get_state(),
        "set_rng_state": lambda state, device=None: gpu.generator.set_state(state),
        "default_generators": (gpu.generator,),
        "is_current_stream_capturing": lambda: False,
    }.items():
        monkeypatch.setattr(cuda, name, value, raising=False)
    stream = SimpleNamespace(is_capturing=lambda: False)
    monkeypatch.setattr(torch.accelerator, "current_stream", lambda device=None: stream)
    monkeypatch.setattr(
        torch.accelerator, "synchronize", lambda device=None: gpu.wait("synchronize")
    )
    by_device = torch._C._group_tensors_by_device_and_dtype

    def grouped(*args, **kwargs):
        found = by_device(*args, **kwargs)
        return {
            (GPU if device == INSIDE else device, dtype): tensors
            for (device, dtype), tensors in found.items()
        }

    monkeypatch.setattr(torch._C, "_group_tensors_by_device_and_dtype", grouped)
    for module in (sys.modules["torch.optim.optimizer"], torch.utils._foreach_utils):
        types = [*module._foreach_supported_types, OnGPU]
        monkeypatch.setattr(module, "_foreach_supported_types", types)
    swapping = torch.__future__.get_swap_module_params_on_conversion()
    # A module that moves keeps its parameters, as optimizers and ties between layers need it.
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with gpu, Calls():
            yield gpu
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swapping)
