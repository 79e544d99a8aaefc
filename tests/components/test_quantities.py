"""Amounts of processors and memory in Kubernetes' notation: one reading for use cases, steps and volumes."""

import pytest

from components.quantities import byte_count, cores
from components.settings import SettingsError
from components.use_case import Resources
from deploy.k8s.values import Values, ValuesError
from pipelines.step_pods import PodSize


@pytest.mark.parametrize(
    ("size", "found"),
    [("7", 7), ("2k", 2000), ("2K", 2000), ("3M", 3 * 10**6), ("1Pi", 2**50), ("2Ei", 2**61), ("50Gi", 50 * 2**30)],
)
def test_a_size_is_read_with_every_unit(size, found):
    """Each unit of Kubernetes is known, and kfp's `K`."""
    assert byte_count(size) == found


@pytest.mark.parametrize("size", ["", "Gi", "1.5Gi", "5 Gi", "5gi", "-1", "5GiB"])
def test_what_is_no_size_is_refused_with_an_example(size):
    """The message shows what a size looks like."""
    with pytest.raises(ValueError, match="expected a size such as 50Gi"):
        byte_count(size)


def test_processors_are_read_in_thousandths_too():
    """`500m` is half a processor; `.5` is the same."""
    assert [cores(cpu) for cpu in ("500m", ".5", "2", "1500m")] == [0.5, 0.5, 2.0, 1.5]
    with pytest.raises(ValueError, match="expected processors such as 500m or 2, but got 'two'"):
        cores("two")


@pytest.mark.parametrize("unit", ["", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"])
def test_use_case_steps_and_volumes_take_the_same_units(unit):
    """A unit that one of them takes is taken by the others."""
    size = f"5{unit}"
    assert Resources(memory=size).memory == size
    assert PodSize.parse(f"cpu=1/1 memory={size}/{size}").memory == (size, size)
    assert Values(sizes={"mlflow": size}).sizes == {"mlflow": size}


def test_a_volume_has_some_bytes_and_a_request_lies_within_its_limit():
    """A volume of no bytes and a request above its limit are refused, across units."""
    with pytest.raises(ValuesError, match="mlflow: expected a size"):
        Values(sizes={"mlflow": "0"})
    with pytest.raises(SettingsError, match="within its limit, but got 2000001k/2G"):
        PodSize.parse("cpu=1/1 memory=2000001k/2G")
