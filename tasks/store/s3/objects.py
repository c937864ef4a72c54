"""The objects under one prefix of a bucket: their names, single requests, and what errors mean."""

from __future__ import annotations

import mimetypes
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from botocore import exceptions as boto

from tasks.store.addresses import address_without_secrets, bucket_and_key
from tasks.store.base import MAX_DOCUMENT, Oversized, StoreError
from tasks.store.keys import checked_key, listed_key
from tasks.store.lease import NoConditionalWrites
from tasks.store.s3.client import COPY, MARK, client, retry_interrupted
from tasks.store.s3.errors import NO_CONDITIONS, code_of, status_of, translate_errors


class Content(NamedTuple):
    """An object's bytes, its ETag and the time of its last write."""

    content: bytes
    etag: str
    modified: datetime


@dataclass(frozen=True)
class Objects:
    """Objects of `bucket` whose names begin with `prefix`, which is empty or ends in a slash.

    Methods raise boto3's errors, except within `errors`.
    """

    bucket: str
    prefix: str

    @classmethod
    def at(cls, address: str) -> Objects:
        """The objects of a store's address. Nothing is sent.

        Raises:
            StoreError: not s3://bucket or s3://bucket/prefix.
        """
        bucket, prefix = bucket_and_key(address, "store")
        prefix = prefix.removesuffix("/")
        try:
            return cls(bucket, f"{checked_key(prefix)}/" if prefix else "")
        except ValueError:
            raise StoreError(
                f"store {address_without_secrets(address)!r}: expected a prefix of letters, "
                "digits and ._-~ between single slashes"
            ) from None

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def name(self, key: str) -> str:
        """Name of the object in the bucket."""
        return self.prefix + listed_key(key)

    def errors(self, key: str) -> AbstractContextManager[None]:
        """Turn boto3's errors of requests about `key` into StoreError."""
        return translate_errors(self.uri, lambda: str(client().meta.endpoint_url), key)

    def get(self, key: str) -> dict[str, Any]:
        """S3's GetObject; the body is still to be read."""
        return dict(client().get_object(Bucket=self.bucket, Key=self.name(key)))

    def read(self, key: str, most: int = MAX_DOCUMENT) -> Content:
        """Read an object. Raises Oversized if it has more bytes than `most`."""

        def request() -> Content:
            response = self.get(key)
            if (size := int(response["ContentLength"])) > most:
                response["Body"].close()
                raise Oversized(key, size, most)
            content = bytes(response["Body"].read())
            return Content(content, str(response["ETag"]), response["LastModified"])

        return retry_interrupted(request)

    def put(self, key: str, content: bytes, **options: str) -> str:
        """S3's PutObject, with relevo's metadata; returns the ETag."""
        name = self.name(checked_key(key))
        response = client().put_object(
            Bucket=self.bucket, Key=name, Body=content, **headers_of(key), **options
        )
        return str(response["ETag"])

    def put_if(self, key: str, content: bytes, **condition: str) -> str | None:
        """Do as `put` under IfMatch or IfNoneMatch; return None if that is not met.

        Raises:
            NoConditionalWrites: the server says that it has none.
        """
        try:
            return self.put(key, content, **condition)
        except boto.ClientError as error:
            if status_of(error) in {409, 412} or code_of(error) == "NoSuchKey":
                return None
            if status_of(error) == 501 or code_of(error) in NO_CONDITIONS:
                raise NoConditionalWrites from None
            raise

    def copy(self, key: str, to: str, size: int | None = None) -> None:
        """One CopyObject for a size that one request may copy; else boto3 asks for it, and copies parts."""
        source = {"Bucket": self.bucket, "Key": self.name(key)}
        target = self.name(checked_key(to))
        headers = {**headers_of(to), "MetadataDirective": "REPLACE"}
        if size is not None and size < COPY.multipart_threshold:
            client().copy_object(Bucket=self.bucket, Key=target, CopySource=source, **headers)
        else:
            client().copy(source, self.bucket, target, headers, Config=COPY)

    def delete(self, key: str) -> None:
        """S3's DeleteObject, which is idempotent."""
        client().delete_object(Bucket=self.bucket, Key=self.name(key))


def headers_of(key: str) -> dict[str, Any]:
    """What is stored with an object: relevo's mark, and a type, without which no browser shows HTML."""
    kind = mimetypes.guess_type(key)[0] or "application/octet-stream"
    return {"ContentType": kind, "Metadata": MARK}
