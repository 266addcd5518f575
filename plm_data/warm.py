"""Imported by the server from which workers are forked, so that what is slow only the first time is done there once.

Numba sets its compiler up on the first call of a compiled function: most of a second, which no worker then pays.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from plm_data.rows import gather_rows

_ROWS = pa.table({"text": [""], "tokens": pa.array([[0]], pa.list_(pa.int32()))})
gather_rows([_ROWS], [np.zeros(1, dtype=np.int64)], np.zeros(1, dtype=np.int64))
