"""One listing of the fleet bucket for several readers, and documents that are read where they changed."""

from components.stores.fleet.device_documents import FleetListing
from components.stores.fleet.lines import FleetLines
from components.stores.fleet.reports import FleetReports
from components.stores.objects.s3 import ObjectInfo, ObjectStoreError
from tests.components.stores.fleet.test_lines import line_of
from tests.components.stores.fleet.test_reports import reported

AT = reported("d").reported_at


class Objects:
    """A bucket in memory; it counts its listings and notes what is read."""

    def __init__(self, **objects):
        self.objects = {name.replace("__", "/") + ".json": data for name, data in objects.items()}
        self.read, self.listings = [], 0

    def list(self, bucket):
        self.listings += 1
        return [ObjectInfo(key, len(data), f"{hash(data)}", AT) for key, data in sorted(self.objects.items())]

    def get(self, bucket, key):
        self.read.append(key)
        if self.objects[key] == b"away":
            raise ObjectStoreError("the line broke")
        return self.objects[key]


def test_reports_and_lines_of_one_pass_share_one_listing():
    """A bucket of ten thousand devices is listed once in a pass, and again in the next one."""
    bucket = Objects(d1__reported=reported("d1").to_json(), d1__line=line_of("d1").to_json())
    listing = FleetListing(bucket, "fleet")
    reports, lines = FleetReports(bucket, "fleet", listing), FleetLines(bucket, "fleet", listing)
    for made in (1, 2):
        listing.new_pass()
        assert [report.device for report in reports.reading().reports] == ["d1"]
        assert [line.device for line in lines.reading()[0]] == ["d1"]
        assert bucket.listings == made
    bucket.objects["d2/line.json"] = line_of("d2").to_json()
    listing.new_pass()
    assert [line.device for line in lines.reading()[0]] == ["d1", "d2"]


def test_a_reader_by_itself_lists_each_time():
    """It has no pass: what a device wrote meanwhile is seen."""
    bucket = Objects()
    lines = FleetLines(bucket, "fleet")
    assert lines.reading() == ((), ())
    bucket.objects["d1/line.json"] = line_of("d1").to_json()
    assert [line.device for line in lines.reading()[0]] == ["d1"]


def test_only_lines_that_changed_are_read_again():
    """A later look reads what has another ETag, what is new, and what the store kept back; a damaged one only once."""
    bucket = Objects(d1__line=line_of("d1").to_json(), d2__line=b"away", d3__line=b"{")
    lines = FleetLines(bucket, "fleet")
    first = lines.reading()
    assert ([line.device for line in first[0]], [one.device for one in first[1]]) == (["d1"], ["d2", "d3"])
    bucket.read.clear()
    bucket.objects["d4/line.json"] = line_of("d4").to_json()
    assert [line.device for line in lines.reading()[0]] == ["d1", "d4"]
    assert sorted(bucket.read) == ["d2/line.json", "d4/line.json"]
    bucket.read.clear()
    bucket.objects["d2/line.json"] = line_of("d2").to_json()
    del bucket.objects["d1/line.json"]
    assert [line.device for line in lines.reading()[0]] == ["d2", "d4"]
    assert bucket.read == ["d2/line.json"]
