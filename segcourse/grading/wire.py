"""What crosses between the tests and the student's code: plain values and tensors, never pickle.

A message is a JSON header and the bytes of its tensors. Each side checks what it reads: the other
may be anything. This file is also loaded alone, inside the sandbox, where segcourse is hidden.
torch is imported when a value needs it: most of a worker's start is torch.
"""

import json
import math
import re
import socket
import struct
import sys
import time

LONGEST_HEADER = 4 << 20
LARGEST_MESSAGE = 64 << 20
DEEPEST = 12
DTYPES = (
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
    *("uint8", "int8", "int16", "int32", "int64", "bool"),
)
KINDS = "None, bool, int, float, complex, str, list, tuple, dict, set, range, slice, tensor, array"


CONTROL = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]"  # colours of a terminal
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)


class NotPlain(TypeError):
    """A value that is not made of `KINDS`."""


def pack(value, blobs: list[bytes], depth: int = 0):
    """Turn a value into what JSON holds; the bytes of tensors are appended to `blobs`.

    Raises:
        NotPlain: it holds something else than `KINDS`, or is nested more than 12 deep.
    """
    if depth > DEEPEST:
        raise NotPlain(f"a value nested more than {DEEPEST} deep")
    if value is None or isinstance(value, bool):
        return value
    # Subclasses cross as what they extend, so that no method of theirs does.
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return {"f": float.hex(float.__float__(value))}
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, complex):
        return {"c": [float.hex(value.real), float.hex(value.imag)]}
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch and isinstance(value, torch.Tensor):
        return _pack_tensor(value, blobs)
    if torch and isinstance(value, torch.dtype) and str(value).removeprefix("torch.") in DTYPES:
        return {"y": str(value).removeprefix("torch.")}
    if numpy and isinstance(value, numpy.generic):
        return pack(value.item(), blobs, depth + 1)
    if numpy and isinstance(value, numpy.ndarray):
        import torch

        if value.dtype.kind not in "biufc":
            raise NotPlain(f"an array of {value.dtype}")
        return {"n": _pack_tensor(torch.from_numpy(numpy.array(value, order="C")), blobs)}
    if isinstance(value, slice | range):
        ends = [value.start, value.stop, value.step]
        return {"i" if isinstance(value, slice) else "r": [pack(v, blobs, depth + 1) for v in ends]}
    for letter, kind in (("l", list), ("u", tuple), ("s", set), ("z", frozenset)):
        if isinstance(value, kind):
            return {letter: [pack(item, blobs, depth + 1) for item in kind.__iter__(value)]}
    if isinstance(value, dict):
        items = dict.items(value)
        return {"d": [[pack(k, blobs, depth + 1), pack(v, blobs, depth + 1)] for k, v in items]}
    name = type(value).__name__
    raise NotPlain(f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}")


def _pack_tensor(tensor, blobs: list[bytes]) -> dict:
    import torch

    name = str(tensor.dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise NotPlain(f"a tensor of {tensor.dtype}")
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.numel() * tensor.element_size() > LARGEST_MESSAGE:
        raise NotPlain(f"a tensor of more than {LARGEST_MESSAGE >> 20} MiB")
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().reshape(-1)
    # One element may keep the stride of the grid it was cut from.
    flat = flat.clone(memory_format=torch.contiguous_format)
    blobs.append(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return {"t": name, "shape": list(tensor.shape), "blob": len(blobs) - 1}


def unpack(value, blobs: list[bytes], depth: int = 0):
    """The value that `pack` was given; tensors are new ones.

    The bytes of each tensor are taken out of `blobs`: no value is larger than its message.

    Raises:
        ValueError: the header is not one that `pack` makes.
    """
    if depth > DEEPEST + 2:
        raise ValueError("nested too deep")
    if value is None or isinstance(value, bool | int | str):
        return value
    if not isinstance(value, dict) or not value:
        raise ValueError("not a packed value")
    letter, inner = next(iter(value.items()))
    if letter == "t":
        return _unpack_tensor(value, blobs)
    if letter == "n":
        return _unpack_tensor(inner, blobs).numpy()
    if letter == "f":
        return float.fromhex(inner)
    if letter == "c":
        return complex(*map(float.fromhex, inner))
    if letter == "y":
        return _dtype(inner)
    if letter == "d":
        pairs = [[unpack(item, blobs, depth + 1) for item in pair] for pair in inner]
        return {k: v for k, v in pairs}
    makers = {"l": list, "u": tuple, "s": set, "z": frozenset}
    items = [unpack(item, blobs, depth + 1) for item in inner]
    if letter in makers:
        return makers[letter](items)
    if letter in ("r", "i"):
        return (range if letter == "r" else slice)(*items)
    raise ValueError(f"unknown kind {letter!r}")


def _dtype(name: str):
    import torch

    if name not in DTYPES:
        raise ValueError("no dtype")
    return getattr(torch, name)


def _unpack_tensor(value: dict, blobs: list[bytes]):
    import torch

    shape, dtype, place = value["shape"], _dtype(value["t"]), value["blob"]
    if type(place) is not int or not 0 <= place < len(blobs) or blobs[place] is None:
        raise ValueError("no such bytes, or used twice")
    if not isinstance(shape, list) or len(shape) > 32:
        raise ValueError("not a shape")
    if not all(type(n) is int and 0 <= n < 2**40 for n in shape):
        raise ValueError("not a shape")
    size = 1 if dtype == torch.bool else torch.empty(0, dtype=dtype).element_size()
    if math.prod(shape) * size != len(blobs[place]):
        raise ValueError("shape and bytes differ")
    data, blobs[place] = bytearray(blobs[place]), None
    if not data:
        return torch.empty(shape, dtype=dtype)
    # A byte that is neither 0 nor 1 is no bool.
    raw = torch.uint8 if dtype == torch.bool else dtype
    tensor = torch.frombuffer(data, dtype=raw)
    return (tensor != 0 if dtype == torch.bool else tensor).reshape(shape)


def printable(text: str) -> str:
    """Text without what no file, page or terminal should get: control characters, surrogates.

    >>> printable("a\\tb\\x00\\ud800\\x1b[31mred")
    'a\\tb?red'
    """
    return CONTROL.sub("", text.encode("utf-8", "replace").decode())


def copied(value):
    """The value as it is after a crossing."""
    blobs: list[bytes] = []
    return unpack(pack(value, blobs), blobs)


def send(sock: socket.socket, message: dict, blobs: list[bytes], deadline: float) -> None:
    """Write one message before `deadline` (time.monotonic).

    Raises:
        NotPlain: it is larger than `LARGEST_MESSAGE`.
        TimeoutError, OSError: it was not taken in time, or the other end is gone.
    """
    header = json.dumps({**message, "blobs": [len(blob) for blob in blobs]}).encode()
    if len(header) > LONGEST_HEADER or sum(map(len, blobs)) > LARGEST_MESSAGE:
        raise NotPlain(f"a value of more than {LARGEST_MESSAGE >> 20} MiB")
    sock.settimeout(_left(deadline))
    sock.sendall(b"".join([struct.pack("<I", len(header)), header, *blobs]))


def receive(sock: socket.socket, deadline: float, wait=None) -> tuple[dict, list[bytes]]:
    """Read one message before `deadline`, however slowly its bytes come.

    Args:
        sock: the connection.
        deadline: in terms of time.monotonic.
        wait: called with the deadline before each read; returns when there is something to read.

    Raises:
        TimeoutError: the deadline has passed.
        EOFError: the other end is gone.
        ValueError: what came is no message.
    """
    (length,) = struct.unpack("<I", _exactly(sock, 4, deadline, wait))
    if length > LONGEST_HEADER:
        raise ValueError("header too long")
    text = _exactly(sock, length, deadline, wait).decode("utf-8", "replace")
    message = json.loads(text)
    if "\\u" in text:  # half of a surrogate pair can be written nowhere
        message = json.loads(json.dumps(message, ensure_ascii=False).encode("utf-8", "replace"))
    sizes = message.get("blobs") if isinstance(message, dict) else None
    if not isinstance(sizes, list) or not all(type(n) is int and n >= 0 for n in sizes):
        raise ValueError("not a message")
    if sum(sizes) > LARGEST_MESSAGE:
        raise ValueError("message too large")
    return message, [_exactly(sock, n, deadline, wait) for n in sizes]


def _exactly(sock: socket.socket, count: int, deadline: float, wait) -> bytes:
    data = bytearray()
    while len(data) < count:
        if wait:
            wait(deadline)
        sock.settimeout(_left(deadline))
        piece = sock.recv(min(1 << 20, count - len(data)))
        if not piece:
            raise EOFError("the other end is gone")
        data += piece
    return bytes(data)


def _left(deadline: float) -> float | None:
    if deadline == math.inf:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no time left")
    return left
