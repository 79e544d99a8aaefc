"""Makes the buckets and their rules. A Job on a cluster runs it: `python -m deploy.k8s.buckets --allow-origin <URL>`.

The settings come from the environment (`KIZU_S3_ENDPOINT` and others). Their identity must have the right to make
buckets. Running it again changes nothing.
"""

from __future__ import annotations

import argparse
import logging
import sys

import boto3

from components.settings import SettingsError, settings
from components.stores.objects.s3 import client_config
from deploy.access.buckets import BucketError, ensure

_log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments and make the buckets. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Make the buckets and their rules; running it again changes nothing.")
    parser.add_argument(
        "--allow-origin",
        action="append",
        required=True,
        metavar="URL",
        help="Label Studio as a browser calls it: its pages show images straight from S3",
    )
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        config = settings()
        client = boto3.client(
            "s3",
            endpoint_url=config.s3_endpoint,
            region_name=config.s3_region,
            aws_access_key_id=config.required("access_key_id"),
            aws_secret_access_key=config.required("secret_access_key"),
            aws_session_token=config.session_token.get_secret_value() if config.session_token else None,
            verify=config.s3_ca_file,
            config=client_config(config.s3_addressing, attempts=10),
        )
        for loss in ensure(client, config.bucket_prefix, allowed_origins=options.allow_origin):
            _log.warning("%s", loss)
    except (SettingsError, BucketError) as e:
        _log.error("%s", e)
        return 1
    _log.info("the buckets %s* are there", config.bucket_prefix)
    return 0


if __name__ == "__main__":
    sys.exit(main())
