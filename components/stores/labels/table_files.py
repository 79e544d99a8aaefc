"""How Arrow opens the files of the label table.

Arrow reads a table with threads of its own. A file of `deltalake` is a Python object, so the thread that lets go of it
needs the interpreter. If the process ends at that moment, the thread is unwound through C++, and the process aborts
("terminate called without an active exception") after its work was done. A file that was read as a whole lies in memory
of Arrow's own, and no thread needs the interpreter for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import PyFileSystem

WHOLE: Final = 8 << 20
"""Larger files are read in pieces, and only the columns that are asked for."""
_HELD: Final[deque[PyFileSystem]] = deque(maxlen=16)
"""The latest file systems: none of Arrow's threads is then the last to let go of one."""


class TableFiles(DeltaStorageHandler):  # type: ignore[misc]  # deltalake has no types for it
    """The files of a table, the small ones read as a whole when they are opened."""

    def open_input_file(self, path: str) -> Any:
        """Open a file for reading at any place. Returns a `pyarrow.NativeFile`."""
        file = super().open_input_file(path)
        if file.size() > WHOLE:
            return file
        with file:
            data = file.read()
        memory = pa.allocate_buffer(len(data))
        np.frombuffer(memory, np.uint8)[:] = np.frombuffer(data, np.uint8)
        return pa.BufferReader(memory)


def files_of(table: DeltaTable, uri: str, options: Mapping[str, str]) -> PyFileSystem:
    """The file system of a table, for `DeltaTable.to_pyarrow_dataset`."""
    actions = pa.table(table.get_add_actions())
    sizes = dict(zip(actions["path"].to_pylist(), actions["size_bytes"].to_pylist(), strict=True))
    system = PyFileSystem(TableFiles(uri, dict(options), sizes))
    _HELD.append(system)
    return system
