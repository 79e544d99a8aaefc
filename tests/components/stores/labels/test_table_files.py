"""How the files of the label table are opened for Arrow."""

from __future__ import annotations

import gc
import weakref

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from components.stores.labels import table_files
from components.stores.labels.table_files import TableFiles, files_of


@pytest.fixture
def table(tmp_path) -> DeltaTable:
    """A table of one file."""
    write_deltalake(str(tmp_path / "table"), pa.table({"number": list(range(100))}))
    return DeltaTable(str(tmp_path / "table"))


def test_a_small_file_is_memory_of_arrow_and_a_large_one_is_read_in_pieces(table, monkeypatch):
    """Both have the same bytes. Only a large file is an object of Python, whose end needs the interpreter."""
    path = pa.table(table.get_add_actions())["path"][0].as_py()
    opened = TableFiles(table.table_uri, {}).open_input_file(path)
    assert isinstance(opened, pa.BufferReader)
    small = opened.read()
    monkeypatch.setattr(table_files, "WHOLE", len(small) - 1)
    large = TableFiles(table.table_uri, {}).open_input_file(path)
    assert isinstance(large, pa.PythonFile)
    assert large.read() == small


def test_a_table_is_read_through_its_files_and_their_system_outlives_the_reading(table):
    """The rows are those of the table, and the file system is held after its last reader has gone."""
    system = files_of(table, table.table_uri, {})
    rows = table.to_pyarrow_dataset(filesystem=system).to_table(use_threads=False)
    assert rows["number"].to_pylist() == list(range(100))
    held = weakref.ref(system)
    del system, rows
    gc.collect()
    assert held() is not None
