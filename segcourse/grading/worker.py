"""The untrusted side: runs a student's cells and answers calls, inside the sandbox.

Forked by `fork_server`, or started as a program: `python worker.py FD LIMITS LIBRARIES`. It trusts
nothing to itself: whatever the student's code does to this process, the other side only reads
plain values from it.
"""

import contextlib
import json
import math
import os
import random
import resource
import socket
import sys


def limit(limits: dict[str, int]) -> None:
    """Set limits of this process and of all that it starts; they can't be raised again."""
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        most = resource.getrlimit(kind)[1]
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(kind, (value, value))


def main() -> None:
    """Serve as a process of its own, started by `sandbox`."""
    sock = socket.socket(fileno=int(sys.argv[1]))
    limits = json.loads(sys.argv[2])
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, here)
    import student
    import wire

    sys.path.remove(here)
    add_folders(json.loads(sys.argv[3]))
    serve(sock, limits, student, wire)


def add_folders(folders: list[str]) -> None:
    """Let packages be found there, too: those of a user's own are on no path by themselves."""
    sys.path += [folder for folder in folders if folder not in sys.path]


def seed() -> None:
    """Let random numbers begin alike in every worker: the same code gets the same marks."""
    random.seed(0)
    with contextlib.suppress(ImportError):
        import numpy

        numpy.random.seed(0)  # noqa: NPY002 - what students may use
    with contextlib.suppress(ImportError):
        import torch

        torch.manual_seed(0)


def serve(sock: socket.socket, limits: dict[str, int], student, wire) -> None:
    """Run cells and answer calls until the other end closes.

    Args:
        sock: the connection.
        limits: as `limit` takes them.
        student: the module of this name.
        wire: the module of this name.
    """
    limit(limits)
    seed()
    home = os.environ.get("HOME", "/tmp")
    os.makedirs(home, exist_ok=True)
    os.chdir(home)
    sys.path.insert(0, home)
    sys.argv = [""]
    sys.stdout.reconfigure(line_buffering=True)  # in order with standard error
    cells = student.Cells()
    student.become_main(cells)
    wire.send(sock, {"ready": True}, [], math.inf)
    own = os.getpid()
    while True:
        try:
            message, blobs = wire.receive(sock, math.inf)
        except EOFError:
            return
        answer, out = reply(cells, message, blobs, wire, student)
        if os.getpid() != own:
            os._exit(0)  # a copy that the answer has forked: two would answer in turns
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(BaseException):
                stream.flush()
        try:
            wire.send(sock, answer, out, math.inf)
        except wire.NotPlain as error:
            wire.send(sock, {"opaque": str(error)}, [], math.inf)


def reply(cells, message: dict, blobs: list[bytes], wire, student) -> tuple[dict, list[bytes]]:
    """Do what one message asks for."""
    out: list[bytes] = []
    if message["do"] == "run":
        return {"error": cells.run(message["source"])}, out
    try:
        if message["do"] == "call":
            args = wire.unpack(message["args"], blobs)
            kwargs = wire.unpack(message["kwargs"], blobs)
            value = cells.call(message["name"], args, kwargs)
        else:
            value = cells.value(message["name"])
    except BaseException as error:
        return {"error": student.in_words(error)}, out
    try:
        return {"value": wire.pack(value, out)}, out
    except BaseException as error:
        return {"opaque": str(error)[:200]}, []


if __name__ == "__main__":
    main()
