"""Makes the bucket of MLFLOW_ARTIFACTS_DESTINATION in an S3-compatible store, if it has none."""

import os
from urllib.parse import urlsplit

import boto3

bucket = urlsplit(os.environ["MLFLOW_ARTIFACTS_DESTINATION"]).netloc
store = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
if bucket not in {item["Name"] for item in store.list_buckets()["Buckets"]}:
    store.create_bucket(Bucket=bucket)
