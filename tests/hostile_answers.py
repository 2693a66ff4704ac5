"""Hostile and damaged submissions of the assignment `plain`, each with the marks that are fair.

It has `stamp` (1 + 1 visible, 2 hidden) and `count` (1 visible, 1 hidden): 6 points. An entry
changes a right submission (6 points) or the untouched release (0 points).
"""

import copy
import json
import os

from segcourse.grading.notebook import grade_id

STAMP, COUNT, ALL = 4, 2, 6
CASES = {}
"""By name: a function (folder, good, blank) that writes a submission, and its fair marks."""


def case(marks):
    """Register a submission with its fair marks."""

    def add(make):
        CASES[make.__name__] = (make, marks)
        return make

    return add


def write(folder, made, name="plain.ipynb"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(made), "utf-8")


def cell_of(made, name):
    return next(cell for cell in made["cells"] if grade_id(cell) == name)


def code(source, metadata=None):
    return {"cell_type": "code", "metadata": metadata or {}, "source": source, "outputs": []}


# ---- code that does not end, takes too much, or ends the process: only its own answer suffers

RUNAWAYS = {
    "endless_loop": "while True: pass",
    "endless_sleep": "import time; time.sleep(10**6)",
    "eats_memory": "x = [bytes([1]) * 10**7 for _ in range(10**6)]",
    "forks_without_end": "import os\n    while True: os.fork()",
    "starts_threads": "import threading, time\n    while True: "
    "threading.Thread(target=time.sleep, args=(99,)).start()",
    "exits": "import os; os._exit(0)",
    "raises_exit": "raise SystemExit(0)",
    "kills_itself": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "kills_everyone": "import os, signal; os.kill(-1, signal.SIGKILL)",
    "crashes": "import ctypes; ctypes.string_at(0)",
    "recurses": "return count(places)",
    "recurses_in_c": "import sys; sys.setrecursionlimit(10**9)\n    return count(places)",
    "prints_without_end": "while True: print('x' * 10000)",
    "interrupts": "raise KeyboardInterrupt",
    "closes_every_file": "import os; os.closerange(0, 200)",
    "writes_nonsense_to_every_socket": "import os\n    for fd in range(3, 100):\n"
    "        try: os.write(fd, b'x' * 100)\n        except OSError: pass",
    "claims_gigabytes": "import os, struct\n    for fd in range(3, 100):\n"
    "        try: os.write(fd, struct.pack('<I', 2**31))\n        except OSError: pass",
    "drips_bytes": "import os, struct, time\n    for fd in range(3, 100):\n"
    "        try: os.write(fd, struct.pack('<I', 10**6))\n        except OSError: pass\n"
    "    while True:\n        for fd in range(3, 100):\n"
    "            try: os.write(fd, b'1')\n            except OSError: pass\n        time.sleep(.1)",
    "returns_a_huge_tensor": "import torch; return torch.zeros(10**8)",
    "returns_a_huge_view": "import torch; return torch.zeros(1).expand(10**13)",
    "returns_nested_lists": "x = []\n    for _ in range(10**5): x = [x]\n    return x",
    "returns_itself": "return count",
    "names_one_blob_many_times": "import json, os, struct, time; size = 4 << 20\n"
    "    one = {'t': 'uint8', 'shape': [size], 'blob': 0}\n"
    "    head = json.dumps({'value': {'l': [one] * 2000}, 'blobs': [size]}).encode()\n"
    "    data = struct.pack('<I', len(head)) + head + bytes(size)\n"
    "    while data: data = data[os.write(3, data):]\n"
    "    time.sleep(9)",
    "returns_half_a_surrogate": "return ['\\ud800', 2]",
    "raises_half_a_surrogate": "raise ValueError('\\ud800 \\x00 \\x1b[2J')",
    "returns_a_generator": "return (x for x in places)",
    "returns_an_endless_range": "return range(10**15)",
    "returns_a_number_of_a_million_digits": "import sys; sys.set_int_max_str_digits(0)\n"
    "    return 10**1_000_000",
    "returns_a_page_with_a_script": "return '<script>alert(1)</script>' * 99",
    "stops_itself": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "nests_deeper_than_python_follows": f"return {'+'.join(['1'] * 3000)}",
    "fills_the_disk": "f = open('/tmp/x', 'wb')\n    while True: f.write(bytes(1 << 20))",
    "leaves_a_daemon": "import subprocess; subprocess.Popen(['sleep', '98765'], "
    "start_new_session=True)\n    raise ValueError",
}

# ---- code that goes for the process that forked it, or for the submission that comes next

DETACH = (
    "import os, time\n    if os.fork() == 0:\n"
    "        os.setsid()\n        if os.fork(): os._exit(0)\n"
)
RUNAWAYS |= {
    "kills_its_group": "import os, signal; os.kill(0, signal.SIGKILL)",
    "kills_every_number": "import os, signal\n    for pid in range(1, 40_000):\n"
    "        try: os.kill(pid, signal.SIGKILL)\n        except OSError: pass",
    "stops_the_first_process": "import os, signal, time\n"
    "    for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGKILL):\n"
    "        os.kill(1, number)\n    time.sleep(1)",
    "detaches_and_waits_for_the_next": DETACH + "        while True:\n"
    "            for fd in range(200):\n                try: os.write(fd, b'98765' * 99)\n"
    "                except OSError: pass\n            time.sleep(.01)",
    "detaches_and_listens": "import socket\n    " + DETACH + "        sockets = []\n"
    "        for family, at in ((1, '\\0next'), (1, '/tmp/next'), (2, ('', 9999))):\n"
    "            sockets.append(socket.socket(family)); sockets[-1].bind(at)\n"
    "            sockets[-1].listen()\n        os.execvp('sleep', ['sleep', '98765'])",
    "detaches_and_computes": DETACH + "        while True: pass\n    time.sleep(10**6)",
    "traces_every_process": "import ctypes\n    libc = ctypes.CDLL(None)\n"
    "    for pid in range(1, 40_000): libc.ptrace(16, pid, None, None)",
    "writes_to_every_memory": "import os\n    for pid in range(1, 40_000):\n"
    "        try: os.pwrite(os.open(f'/proc/{pid}/mem', os.O_RDWR), bytes(9), 0x400000)\n"
    "        except OSError: pass",
    "takes_files_of_others": "import ctypes, os\n    libc = ctypes.CDLL(None)\n"
    "    for pid in range(1, 99):\n        try: handle = os.pidfd_open(pid)\n"
    "        except OSError: continue\n"
    "        for fd in range(3, 30): os.write(libc.syscall(438, handle, fd, 0), b'x' * 99)",
    "changes_every_limit": "import resource\n    for pid in range(1, 99):\n"
    "        for kind in range(16):\n            for most in ((-1, -1), (0, 0)):\n"
    "                try: resource.prlimit(pid, kind, most)\n"
    "                except (OSError, ValueError): pass",
    "makes_namespaces": "import ctypes\n    libc = ctypes.CDLL(None)\n"
    "    if libc.unshare(0x10000000) == 0: return len(places)",
    "takes_file_systems_off": "import ctypes\n    libc = ctypes.CDLL(None)\n"
    "    if libc.umount2(b'/tmp', 2) == 0 or libc.umount2(b'/proc', 2) == 0: return len(places)",
    "fills_every_folder": "import os\n    for folder, _, _ in os.walk('/'):\n"
    "        try:\n            for i in range(10**6): open(f'{folder}/{i}', 'w').write('x')\n"
    "        except OSError: pass",
    "poisons_the_next_imports": "import os\n    for folder, _, _ in os.walk('/'):\n"
    "        for name in ('student', 'wire', 'worker', 'torch', 'sitecustomize'):\n"
    "            try: open(f'{folder}/{name}.py', 'w').write('raise SystemExit')\n"
    "            except OSError: pass\n    raise ValueError",
}
for _name, _body in RUNAWAYS.items():

    def _make(folder, good, blank, body=_body):
        cell_of(good, "count")["source"] = f"def count(places):\n    {body}\n"
        write(folder, good)

    CASES[_name] = (_make, STAMP)


# ---- code that wants more than its marks: it gets what its answers are worth

CHEATS = {
    "clever_eq": "class A(int):\n    def __eq__(self, other): return True\n"
    "    __hash__ = int.__hash__\ndef count(places): return A(77)",
    "clever_object": "class A:\n    def __eq__(self, other): return True\n"
    "    def __getattr__(self, name): return self\ndef count(places): return A()",
    "patched_asserts": "import builtins\nbuiltins.AssertionError = type('E', (Exception,), {})\n"
    "builtins.len = lambda x: 3\ndef count(places): return -1",
    "patched_torch": "import torch\ntorch.equal = torch.allclose = lambda *a, **k: True\n"
    "torch.Tensor.__eq__ = lambda *a: True\ndef count(places): return -1",
    "patched_json": 'import json\njson.dumps = lambda *a, **k: \'{"value": 3, "blobs": []}\'\n'
    "def count(places): return -1",
    "hooks": "import sys\nsys.excepthook = sys.settrace = print\n"
    "sys.meta_path.insert(0, 3)\ndef count(places): return -1",
    "frames": "import sys\ndef count(places):\n    frame = sys._getframe()\n"
    "    while frame:\n        frame.f_locals.update(told='', passed=True)\n"
    "        frame = frame.f_back\n    return -1",
    "collects_garbage": "import gc\ndef count(places):\n    for thing in gc.get_objects():\n"
    "        if isinstance(thing, dict) and 'passed' in thing: thing['passed'] = True\n"
    "    return -1",
    "imports_the_reference": "def count(places):\n    import segcourse.grading.source as s\n"
    "    return eval('len')(places)",
    "reads_the_tests": "import os\ndef count(places):\n    for top in ('/grader', '/tmp'):\n"
    "        for folder, _, names in os.walk(top):\n            for name in names:\n"
    "                if 'site-packages' in folder: continue  # pybtex has a plain.py, too\n"
    "                if name in ('plain.py', 'plain.ipynb'): return len(places)\n"
    "    raise FileNotFoundError",
    "reads_the_others": "import os\ndef count(places):\n    os.listdir('../..')\n"
    "    return len(open('../../submitted/anna/plain/plain.ipynb').read())",
    "writes_the_gradebook": "import sqlite3\ndef count(places):\n"
    "    for path in ('gradebook.db', '../gradebook.db', '/tmp/gradebook.db'):\n"
    "        sqlite3.connect(path).execute('create table grade (x)')\n    return -1",
    "asks_the_network": "import urllib.request\ndef count(places):\n"
    "    return int(urllib.request.urlopen('http://192.0.2.1/', timeout=1).read())",
    "becomes_root": "import os\ndef count(places):\n    os.setuid(0)\n    return len(places)",
    "pickles": "class A:\n    def __reduce__(self): return (print, ('in',))\n"
    "def count(places): return A()",
}
for _name, _source in CHEATS.items():

    def _make(folder, good, blank, source=_source):
        cell_of(good, "count")["source"] = source
        write(folder, good)

    CASES[_name] = (_make, STAMP)


# ---- notebooks that are edited


@case(ALL)
def tests_edited(folder, good, blank):
    for name in ("stamp_one", "count_some"):
        cell_of(good, name)["source"] = "assert False"
    write(folder, good)


@case(0)
def tests_made_easy(folder, good, blank):
    for cell in blank["cells"]:
        if (cell["metadata"].get("nbgrader") or {}).get("grade") and cell["cell_type"] == "code":
            cell["source"] = "pass"
    write(folder, blank)


@case(0)
def points_raised(folder, good, blank):
    for cell in blank["cells"]:
        if "points" in cell["metadata"].get("nbgrader", {}):
            cell["metadata"]["nbgrader"]["points"] = 594
    write(folder, blank)


@case(ALL)
def tests_deleted(folder, good, blank):
    good["cells"] = [c for c in good["cells"] if grade_id(c) not in ("stamp_one", "count_none")]
    write(folder, good)


@case(ALL)
def tests_twice(folder, good, blank):
    good["cells"] += [copy.deepcopy(cell_of(good, "stamp_one")), cell_of(good, "count_some")]
    write(folder, good)


@case(ALL)
def tests_copied_as_own_cells(folder, good, blank):
    good["cells"].append(code(cell_of(good, "stamp_one")["source"]))
    write(folder, good)


@case(ALL)
def answer_twice(folder, good, blank):
    good["cells"].append(copy.deepcopy(cell_of(good, "count")))
    write(folder, good)


@case(ALL)
def stub_again_at_the_end(folder, good, blank):
    good["cells"].append(cell_of(blank, "count"))
    write(folder, good)


@case(ALL)
def metadata_stripped(folder, good, blank):
    good["metadata"] = {}
    for cell in good["cells"]:
        cell["metadata"] = {}
    write(folder, good)


@case(ALL)
def ids_exchanged(folder, good, blank):
    a, b = cell_of(good, "stamp"), cell_of(good, "count")
    a["metadata"], b["metadata"] = {}, {"nbgrader": {"grade_id": ["no", "string"]}}
    write(folder, good)


@case(ALL)
def answer_in_a_cell_of_its_own(folder, good, blank):
    source = cell_of(good, "count")["source"]
    cell_of(good, "count")["source"] = cell_of(blank, "count")["source"]
    good["cells"].append(code(source))
    write(folder, good)


@case(ALL)
def cells_in_another_order(folder, good, blank):
    good["cells"].reverse()
    write(folder, good)


@case(ALL)
def nests_as_deep_as_python_follows(folder, good, blank):
    cell = cell_of(good, "count")
    cell["source"] = f"deep = {'not ' * 1500}1\n{cell['source']}"
    write(folder, good)


@case(ALL)
def answer_cut_in_two(folder, good, blank):
    place = next(i for i, c in enumerate(good["cells"]) if grade_id(c) == "count")
    half = copy.deepcopy(good["cells"][place])
    half["source"] = "def how_many(places):\n    return len(places)"
    good["cells"][place]["source"] = "def count(places):\n    return how_many(places)"
    good["cells"].insert(place, half)
    write(folder, good)


@case(ALL)
def both_answers_in_one_cell(folder, good, blank):
    count = cell_of(good, "count")
    cell_of(good, "stamp")["source"] += f"\n\n{count['source']}"
    good["cells"].remove(count)
    write(folder, good)


@case(ALL)
def answer_turned_into_text(folder, good, blank):
    cell_of(good, "count")["cell_type"] = "markdown"
    write(folder, good)


@case(ALL)
def answer_behind_a_line_for_colab(folder, good, blank):
    cell = cell_of(good, "count")
    cell["source"] = f"from google.colab import drive\n{cell['source']}"
    write(folder, good)


@case(ALL)
def other_kernel(folder, good, blank):
    good["metadata"]["kernelspec"] = {"name": "julia-1.10", "language": "julia"}
    write(folder, good)


@case(STAMP)
def syntax_error(folder, good, blank):
    cell_of(good, "count")["source"] = "def count(places):\n  retrun len(places)"
    write(folder, good)


@case(STAMP)
def null_byte_and_surrogate(folder, good, blank):
    cell_of(good, "count")["source"] = "def count(places): return '\x00 \ud800'"
    write(folder, good)


@case(ALL)
def source_as_list_of_lines(folder, good, blank):
    for cell in good["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
    write(folder, good)


@case(STAMP)
def sleeps_again_and_again(folder, good, blank):
    cell_of(good, "count")["source"] = "import os\ndef count(places): os._exit(1)"
    good["cells"][2:2] = [code(f"import time; time.sleep(0.5 + {i} / 100)") for i in range(8)]
    write(folder, good)


# ---- right, and unusual


@case(ALL)
def prints_and_warns(folder, good, blank):
    good["cells"].insert(1, code("import warnings\nwarnings.warn('careful')\nprint('x' * 5000)"))
    write(folder, good)


@case(ALL)
def uses_magics(folder, good, blank):
    cell_of(good, "count")["source"] = "%matplotlib inline\n!ls\ncount = len"
    write(folder, good)


@case(ALL)
def exits_after_its_definitions(folder, good, blank):
    cell_of(good, "count")["source"] += "\nimport os\nos._exit(1)"
    write(folder, good)


@case(ALL)
def a_thousand_cells_of_its_own(folder, good, blank):
    good["cells"] += [code(f"x = {i}") for i in range(1000)]
    write(folder, good)


# ---- files that are damaged


@case(0)
def empty_folder(folder, good, blank):
    folder.mkdir()


@case(0)
def empty_file(folder, good, blank):
    folder.mkdir()
    (folder / "plain.ipynb").write_bytes(b"")


@case(0)
def corrupt_json(folder, good, blank):
    folder.mkdir()
    (folder / "plain.ipynb").write_text(json.dumps(good)[:-100], "utf-8")


@case(0)
def json_but_no_notebook(folder, good, blank):
    write(folder, [1, 2, 3])


@case(0)
def cells_of_nonsense(folder, good, blank):
    write(folder, {"cells": [None, 3, {"cell_type": 7, "source": {"a": 1}, "metadata": []}]})


@case(0)
def deeply_nested_json(folder, good, blank):
    folder.mkdir()
    (folder / "plain.ipynb").write_text("[" * 200_000, "utf-8")


@case(0)
def binary_file(folder, good, blank):
    folder.mkdir()
    (folder / "plain.ipynb").write_bytes(bytes(range(256)) * 50)


@case(0)
def enormous_file(folder, good, blank):
    folder.mkdir()
    with (folder / "plain.ipynb").open("wb") as file:
        file.truncate(30 << 20)


@case(0)
def link_to_another_file(folder, good, blank):
    folder.mkdir()
    os.symlink("/etc/hostname", folder / "plain.ipynb")


@case(0)
def another_document(folder, good, blank):
    folder.mkdir()
    (folder / "homework.docx").write_bytes(b"PK\x03\x04")


@case(ALL)
def old_format(folder, good, blank):
    cells = []
    for cell in good["cells"]:
        cell = {**cell, "input" if cell["cell_type"] == "code" else "source": cell["source"]}
        if cell["cell_type"] == "code":
            del cell["source"]
        cells.append(cell)
    write(folder, {"nbformat": 3, "metadata": {}, "worksheets": [{"cells": cells}]})


@case(ALL)
def exported_script(folder, good, blank):
    folder.mkdir()
    sources = [cell["source"] for cell in good["cells"] if cell["cell_type"] == "code"]
    (folder / "plain.py").write_text("# In[1]:\n" + "\n# In[ ]:\n".join(sources), "utf-8")


@case(ALL)
def renamed_file(folder, good, blank):
    write(folder, good, "final version (2).ipynb")


@case(ALL)
def byte_order_mark(folder, good, blank):
    folder.mkdir()
    (folder / "plain.ipynb").write_text(json.dumps(good), "utf-8-sig")
