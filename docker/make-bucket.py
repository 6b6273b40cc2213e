"""Makes an S3 bucket where there is none: `make-bucket.py NAME`, with the address and credentials that boto3 reads."""

from __future__ import annotations

import sys

import boto3
from botocore.exceptions import ClientError

store = boto3.client("s3")
try:
    store.head_bucket(Bucket=sys.argv[1])
except ClientError as error:
    if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
        sys.exit(f"The bucket {sys.argv[1]} cannot be looked at: {error}")
    store.create_bucket(Bucket=sys.argv[1])
