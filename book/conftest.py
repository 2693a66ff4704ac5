"""For a plain `pytest --nbval book`: kernels start as tools/notebooks.py starts them."""

import os
import sys

# `make test` replays what was executed; no kernel starts there, and other tests run beside it.
if "tools.nbval_replay" not in sys.modules:
    os.environ.update(
        SEGCOURSE_STATIC="1", TQDM_DISABLE="1", PYTHONHASHSEED="0", OMP_NUM_THREADS="1"
    )
