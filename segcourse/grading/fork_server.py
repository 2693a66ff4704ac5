"""Inside the sandbox: a process with torch imported that forks a worker for each submission.

Started as a program by `forks`: `python fork_server.py FD FOLDERS LIBRARIES`. It never runs a
student's code and holds nothing of a student's. What it does after a fork, before the student's
code comes, is the wall around that one worker.
"""

import contextlib
import ctypes
import fcntl
import gc
import json
import os
import platform
import signal
import socket
import struct
import sys

# Numbers of <sched.h>, <sys/mount.h>, <sys/prctl.h>, <linux/capability.h>, <linux/sockios.h>.
NEW_USER, NEW_MOUNT, NEW_PID = 0x10000000, 0x00020000, 0x20000000
NEW_NET, NEW_IPC, NEW_UTS = 0x40000000, 0x08000000, 0x04000000
NO_SETUID, NO_DEVICES, NO_PROGRAMS, BIND, WITH_MOUNTS_BELOW = 2, 4, 8, 4096, 16384
SET_DUMPABLE, DROP_FROM_BOUNDING_SET, NO_NEW_PRIVILEGES = 4, 24, 38
CAPABILITY_VERSION_3 = 0x20080522
SET_INTERFACE_FLAGS, UP = 0x8914, 1
KEYCTL, JOIN_SESSION_KEYRING = {"x86_64": 250, "aarch64": 219}, 1

SYSTEM_V = ("shm", "msg", "sem")
SOCKET = 3
"""Where a worker finds its connection."""
MOST_FILES = 20_000
"""In each file system of a worker: files that are empty take memory, too."""
LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Fork a worker for each message, until the other end closes."""
    control = socket.socket(fileno=int(sys.argv[1]))
    folders = json.loads(sys.argv[2])
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, here)
    import student
    import wire
    import worker

    sys.path.remove(here)
    worker.add_folders(json.loads(sys.argv[3]))
    import_libraries()
    # A lock that another thread holds would stay locked in a fork.
    if len(os.listdir("/proc/self/task")) != 1:
        raise SystemExit("importing torch has started threads")
    system("prctl", SET_DUMPABLE, 0, 0, 0, 0)
    gc.collect()
    gc.freeze()
    control.send(b"ready")
    while True:
        message, files, *_ = socket.recv_fds(control, 1 << 16, 2)
        if not message:
            os._exit(0)  # at once: there is nothing to tidy up
        child = os.fork()
        if child == 0:
            try:
                sock = separate(files, folders)
                be_worker(sock, json.loads(message), worker, student, wire)
            finally:
                os._exit(1)
        for file in files:
            os.close(file)
        os.waitpid(child, 0)


def import_libraries() -> None:
    """The slow imports."""
    import numpy  # noqa: F401
    import torch.nn.functional  # noqa: F401


def separate(files: list[int], folders: dict[str, dict]) -> socket.socket:
    """Leave everything of the server's behind; returns in a process of namespaces of its own.

    The other end gets a byte, a handle on the first process of these namespaces, which ends them
    with it, and the system's lists of System V's IPC in them; or "!" and the reason why they can't
    be had.

    Args:
        files: the connection and the output.
        folders: as `wall_in` takes them.
    """
    keep(*files)
    sock = socket.socket(fileno=SOCKET)
    try:
        system("prctl", SET_DUMPABLE, 1, 0, 0, 0)  # else its own /proc is not its own
        user, group = os.getuid(), os.getgid()
        system("unshare", NEW_USER | NEW_MOUNT | NEW_PID | NEW_NET | NEW_IPC | NEW_UTS)
        write("/proc/self/setgroups", "deny")
        write("/proc/self/uid_map", f"{user} {user} 1")
        write("/proc/self/gid_map", f"{group} {group} 1")
        if os.fork():
            os._exit(0)
        wall_in(folders)
        # What is opened in here tells of the IPC in here, also to a reader outside.
        handles = [os.pidfd_open(os.getpid())]
        handles += [os.open(f"/proc/sysvipc/{kind}", os.O_RDONLY) for kind in SYSTEM_V]
        socket.send_fds(sock, [b"."], handles)
        for handle in handles:
            os.close(handle)
    except OSError as error:
        sock.sendall(f"!{error}".encode())
        os._exit(1)
    system("prctl", SET_DUMPABLE, 0, 0, 0, 0)  # nobody inside can trace the first process
    student = os.fork()
    if student:
        be_first(student)
    system("prctl", SET_DUMPABLE, 1, 0, 0, 0)
    return sock


def keep(connection: int, output: int) -> None:
    """Keep the connection and the output, and nothing else that the server has open."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(connection, SOCKET)
    for file in map(int, os.listdir("/proc/self/fd")):
        if file > SOCKET:
            with contextlib.suppress(OSError):  # the list itself was one of them
                os.close(file)
    # Opened anew: the flags of an open file are shared by all who have inherited it.
    os.close(0)
    os.open(os.devnull, os.O_RDONLY)


def wall_in(folders: dict[str, dict]) -> None:
    """Private file systems, and no way to more rights.

    Args:
        folders: those that get a new, empty file system, with its `size` in bytes, and what stays
            visible in it (`kept`).
    """
    os.setsid()  # a signal to its group would reach the server
    mount("proc", "/proc", NO_SETUID | NO_DEVICES | NO_PROGRAMS)
    for folder, about in folders.items():
        below = {path: os.open(path, os.O_PATH) for path in about["kept"]}
        words = f"mode=1777,size={about['size']},nr_inodes={MOST_FILES}"
        mount("tmpfs", folder, NO_SETUID | NO_DEVICES, words)
        for path, file in below.items():
            os.makedirs(path)
            mount(f"/proc/self/fd/{file}", path, BIND | WITH_MOUNTS_BELOW)
            os.close(file)
    mount("devpts", "/dev/pts", NO_SETUID | NO_PROGRAMS, "newinstance,ptmxmode=0666,mode=620")
    os.chdir("/tmp")  # out of the folder of that name that lies below
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as some:
        fcntl.ioctl(some, SET_INTERFACE_FLAGS, struct.pack("16sh22x", b"lo", UP))
    if platform.machine() in KEYCTL:
        # Where this fails there are no keyrings to leave anything in.
        LIBC.syscall(KEYCTL[platform.machine()], JOIN_SESSION_KEYRING, None)
    write("/proc/sys/user/max_user_namespaces", "0")
    drop_rights()


def drop_rights() -> None:
    """Give up every capability, for good."""
    system("prctl", NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    for capability in range(last + 1):
        system("prctl", DROP_FROM_BOUNDING_SET, capability, 0, 0, 0)
    system("capset", struct.pack("Ii", CAPABILITY_VERSION_3, 0), bytes(24))


def be_first(student: int) -> None:
    """Reap what ends until the student's process does; then everything in here ends."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.closerange(0, SOCKET + 1)
    while os.wait()[0] != student:
        pass
    os._exit(0)


def be_worker(sock: socket.socket, limits: dict[str, int], worker, student, wire) -> None:
    """Serve in this fork, and end with it."""
    try:
        os.setsid()
        worker.serve(sock, limits, student, wire)
    finally:
        os._exit(0)


def system(name: str, *args) -> None:
    """Call the system.

    Raises:
        OSError: it says no.
    """
    if getattr(LIBC, name)(*args) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def mount(what: str, where: str, flags: int, words: str = "") -> None:
    """Mount a new file system, or with BIND a folder."""
    kind = None if flags & BIND else what.encode()
    try:
        system("mount", what.encode(), where.encode(), kind, flags, words.encode() or None)
    except OSError as error:
        raise OSError(error.errno, f"mount {where}: {os.strerror(error.errno)}") from None


def write(path: str, text: str) -> None:
    """Write to a file of the system's."""
    file = os.open(path, os.O_WRONLY)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


if __name__ == "__main__":
    main()
