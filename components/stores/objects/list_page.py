"""A page of S3's listing, of which only the keys are read. This takes less than half of botocore's time."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_plus
from xml.etree import ElementTree

_OK: Final = 200


@dataclass(frozen=True, slots=True)
class ListPage:
    """One answer of a listing: keys, prefixes up to the delimiter, and the token of the next page, if there is one."""

    keys: Sequence[str]
    prefixes: Sequence[str] = ()
    token: str | None = None


def read_page(
    response_dict: MutableMapping[str, Any], customized_response_dict: MutableMapping[str, Any], **_: object
) -> None:
    """botocore's event `before-parse.s3.ListObjectsV2`: `Page` becomes part of the answer, a `ListPage`."""
    if response_dict["status_code"] != _OK:
        return  # botocore handles errors
    customized_response_dict["Page"] = parse_page(response_dict["body"])
    response_dict["body"] = b"<ListBucketResult/>"


def parse_page(body: bytes) -> ListPage:
    """Parse the XML of a ListObjectsV2 answer.

    Raises:
        xml.etree.ElementTree.ParseError: it is not XML.
    """
    keys: list[str] = []
    prefixes: list[str] = []
    said: dict[str, str] = {}
    for element in ElementTree.fromstring(body):  # noqa: S314 - of the store that we ask, as botocore does
        space, _, name = element.tag.rpartition("}")
        inside = f"{space}}}" if space else ""
        if name == "Contents":
            keys.append(element.findtext(f"{inside}Key", ""))
        elif name == "CommonPrefixes":
            prefixes.append(element.findtext(f"{inside}Prefix", ""))
        else:
            said[name] = element.text or ""
    if said.get("EncodingType") == "url":
        keys, prefixes = [unquote_plus(key) for key in keys], [unquote_plus(prefix) for prefix in prefixes]
    more = said.get("IsTruncated") == "true" and said.get("NextContinuationToken")
    return ListPage(keys, prefixes, more or None)
