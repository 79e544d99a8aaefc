"""The benchmark of real update clients measures what it says, at a size small enough for a test."""

from benchmarks.fleet.clients import MODEL_BYTES, Poll, Taken, measure
from benchmarks.fleet.clients_table import render


def test_each_device_takes_the_release_once_and_a_quiet_poll_fetches_no_file(tmp_path):
    """With a real store: the model's bytes come once for each device, and later polls bring metadata only."""
    [taken] = measure([40], tmp_path)
    assert (taken.devices, taken.away, taken.broken) == (40, 1, 0)
    assert len(taken.took) == 40
    assert all(poll.received > MODEL_BYTES for poll in taken.took)
    assert len({(poll.requests, poll.received) for poll in taken.took}) == 1
    assert all(poll.received < 5000 for poll in taken.quiet)
    assert min(taken.signer_s, taken.reading_s, taken.whole_s) > 0


def test_the_table_says_what_grows_how():
    """From ten to a hundred devices: ten times the requests, and the signer's work as before."""
    few = Taken(10, 0, 0, [Poll(8, 1000, 0.1)] * 10, [Poll(3, 100, 0.1)] * 10, signer_s=0.5, reading_s=0.1, whole_s=1.0)
    many = Taken(100, 3, 1, [Poll(8, 1000, 0.1)] * 100, [Poll(3, 100, 0.1)] * 97, 0.5, 0.5, 8.0)
    text = render([few, many], {10: 0.001, 100_000: 2.0}, 0.4)
    assert (
        "| 100 (3, 1) | 8.0, 1,000 B, 0.10 s (0.10 s) | 3.0, 100 B, 0.10 s (0.10 s) | 0.50 s | 0.50 s | 8.0 s |" in text
    )
    assert "requests 10.0 ×, bytes 10.0 ×, signer 1.0 ×, reading all reports 5.0 ×, all devices 8.0 ×" in text
    assert "| 100,000 | 2.000 s | 20 µs |" in text
