"""A store in an S3-compatible bucket: whole objects, and a local cache of blobs. Only here is boto3 known.

Endpoint, region and credentials come from boto3's own places (AWS_ENDPOINT_URL_S3, AWS_PROFILE, ...).
"""

from __future__ import annotations

import hashlib
import io
import mimetypes
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import boto3
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore import exceptions as boto
from botocore.config import Config
from botocore.parsers import ResponseParserError
from s3transfer.exceptions import (  # type: ignore[import-untyped,unused-ignore]
    RetriesExceededError,
    S3DownloadFailedError,
    S3ValidationError,
)
from urllib3.exceptions import HTTPError, ProtocolError

from tasks.store.base import (
    CHUNK,
    Damaged,
    Entry,
    Kind,
    Missing,
    Passing,
    Ref,
    Store,
    StoreError,
    checked_key,
    ref_to,
    sha256_of,
)

T = TypeVar("T")
CACHE = "RELEVO_BLOB_CACHE"
ATTEMPTS = 6
# boto3's own transfers: the optional native ones raise other errors.
TRANSFER = TransferConfig(preferred_transfer_client="classic")

# What the network does, and what a transfer says when its own retries are used up.
OUT_OF_REACH = (
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.IncompleteReadError,
    RetriesExceededError,
    S3DownloadFailedError,
    S3ValidationError,
    HTTPError,
)
# An answer that breaks off: boto3 itself asks again only until an answer has begun.
BROKEN_OFF = (boto.ResponseStreamingError, boto.IncompleteReadError, ProtocolError)
BUSY = {"SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "OperationAborted"}
KEYS = "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
REGION = "the bucket is in another region; correct AWS_DEFAULT_REGION"
SIGN_IN = f"the sign-in is not valid or has expired; sign in again, or set {KEYS}"
NO_URL = "AWS_ENDPOINT_URL_S3 is no URL; expected one such as https://host:9000"
NOT_S3 = "it does not answer as an S3 service does; check AWS_ENDPOINT_URL_S3"
# S3's error code, or the status where an answer has none: what is wrong, and how to mend it.
REFUSED = {
    "NoSuchBucket": "there is no such bucket; create it or correct --store",
    "InvalidAccessKeyId": f"the access key is not known there; check {KEYS}",
    "SignatureDoesNotMatch": f"the secret key is not the access key's; check {KEYS}",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "ExpiredToken": SIGN_IN,
    "InvalidToken": SIGN_IN,
    "AccessDenied": "the credentials may not do this; grant them s3:ListBucket on the bucket, "
    "s3:GetObject, s3:PutObject and s3:DeleteObject on what is in it",
    "AuthorizationHeaderMalformed": REGION,
    "PermanentRedirect": REGION,
    "301": REGION,
    "403": f"access is denied; check {KEYS}, their rights and this machine's clock",
    "404": NOT_S3,
    "405": NOT_S3,
}
# What stops boto3 before it has an answer that it can read.
SIGNED_OUT = (
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.SSOError,
    boto.LoginError,
)
UNUSABLE: tuple[tuple[Any, str], ...] = (
    (boto.NoCredentialsError, f"there are no credentials; set {KEYS}"),
    (boto.PartialCredentialsError, f"the credentials are incomplete; set {KEYS}"),
    (boto.ProfileNotFound, "AWS's configuration files have no such profile; correct AWS_PROFILE"),
    (SIGNED_OUT, SIGN_IN),
    (boto.EndpointProviderError, NO_URL),
    (ResponseParserError, NOT_S3),
    (Exception, "boto3 can't work as it is configured; check AWS's settings"),
)


class S3Store(Store):
    """Objects under one prefix of a bucket; blobs are downloaded once and hashed at every use."""

    def __init__(self, address: str) -> None:
        """Check the address alone: nothing is sent before something is asked for.

        Raises:
            StoreError: not s3://bucket or s3://bucket/prefix.
        """
        self._bucket, self._prefix = _bucket_and_prefix(address)
        self.uri = f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def put(
        self,
        kind: Kind,
        content: Path | bytes,
        suffix: str = "",
        *,
        digest: str | None = None,
        made_from: tuple[Ref, ...] = (),
    ) -> Ref:
        ref = ref_to(kind, content, suffix, digest, made_from)
        if not self._holds(ref):
            self._upload(ref, content)
        return ref

    def fetch(self, ref: Ref) -> Path:
        if self._size(ref.uri) != ref.size:
            raise Damaged(f"{ref.uri} in the store {self.uri} is damaged")
        folder = cache_folder()
        kept = folder / ref.sha256
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if kept.exists():
                if sha256_of(kept) == (ref.sha256, ref.size):
                    return kept
                kept.unlink(missing_ok=True)
            self._download(ref, kept)
        except OSError as error:
            reason = error.strerror or error
            raise StoreError(
                f"the cache folder {folder} can't be used ({reason}); free space or set {CACHE}"
            ) from None
        return kept

    def read(self, key: str) -> bytes:
        with self._in_words(key):
            return _patiently(lambda: bytes(self._get(key)["Body"].read()))

    def write(self, key: str, content: bytes) -> None:
        # A browser shows a report only if it is told that it is HTML.
        kind = mimetypes.guess_type(key)[0] or "application/octet-stream"
        with self._in_words(key):
            _client().put_object(
                Bucket=self._bucket, Key=self._name(key), Body=content, ContentType=kind
            )

    def delete(self, key: str) -> None:
        with suppress(Missing), self._in_words(key):
            _client().delete_object(Bucket=self._bucket, Key=self._name(key))

    def entries(self, prefix: str) -> Iterator[Entry]:
        below = f"{self._name(prefix)}/"
        start = len(below) - len(prefix) - 1
        with self._in_words(prefix):
            pages = _client().get_paginator("list_objects_v2")
            found = [
                Entry(item["Key"][start:], item["Size"], item["LastModified"])
                for page in pages.paginate(Bucket=self._bucket, Prefix=below)
                for item in page.get("Contents", ())
            ]
        # S3 consoles mark an empty folder by an object whose name ends so.
        plain = (entry for entry in found if not entry.key.endswith("/"))
        yield from sorted(plain, key=lambda entry: entry.key)

    def sha256(self, key: str) -> str:
        def digest() -> str:
            total = hashlib.sha256()
            for part in self._get(key)["Body"].iter_chunks(CHUNK):
                total.update(part)
            return total.hexdigest()

        with self._in_words(key):
            return _patiently(digest)

    def address(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._name(key)}"

    def _name(self, key: str) -> str:
        return f"{self._prefix}/{checked_key(key)}".lstrip("/")

    def _get(self, key: str) -> dict[str, Any]:
        return dict(_client().get_object(Bucket=self._bucket, Key=self._name(key)))

    def _size(self, key: str) -> int:
        """The size in bytes of what lies under `key`. Raises Missing."""
        with self._in_words(key):
            try:
                answer = _client().head_object(Bucket=self._bucket, Key=self._name(key))
            except boto.ClientError as error:
                if _status(error) >= 500:
                    raise
                # A HEAD's answer has no body: only a GET's says what is wrong.
                answer = _patiently(lambda: self._get(key))
                answer["Body"].close()
            return int(answer["ContentLength"])

    def _holds(self, ref: Ref) -> bool:
        with suppress(Missing):
            return self._size(ref.uri) == ref.size
        return False

    def _upload(self, ref: Ref, content: Path | bytes) -> None:
        source = io.BytesIO(content) if isinstance(content, bytes) else str(content)
        with self._in_words(ref.uri):
            try:
                with create_transfer_manager(_client(), TRANSFER) as transfers:
                    transfers.upload(source, self._bucket, self._name(ref.uri)).result()
            except boto.ClientError as error:
                # If the answer to "complete" is lost, asking again finds no upload under way.
                if _code(error) != "NoSuchUpload" or not self._holds(ref):
                    raise

    def _download(self, ref: Ref, kept: Path) -> None:
        partial = kept.with_name(f".partial-{uuid.uuid4().hex}")

        def download() -> None:
            with partial.open("wb") as file:
                name = self._name(ref.uri)
                _client().download_fileobj(self._bucket, name, file, Config=TRANSFER)

        # A second look before the store is blamed: the way here may damage bytes too.
        for _ in range(2):
            try:
                with self._in_words(ref.uri):
                    _patiently(download)
                if sha256_of(partial) == (ref.sha256, ref.size):
                    partial.replace(kept)
                    return
            finally:
                partial.unlink(missing_ok=True)
        raise Damaged(f"{ref.uri} in the store {self.uri} is damaged")

    @contextmanager
    def _in_words(self, key: str) -> Iterator[None]:
        """Turn boto3's errors into one line of the store's own words, none of it from the answer."""
        try:
            yield
        except boto.ClientError as error:
            raise self._refusal(error, key) from None
        except OUT_OF_REACH as error:
            given = getattr(error, "kwargs", {}).get("endpoint_url") or _client().meta.endpoint_url
            raise self._silence(error, _host(given)) from None
        except (boto.BotoCoreError, ResponseParserError) as error:
            words = next(words for kind, words in UNUSABLE if isinstance(error, kind))
            raise StoreError(f"store {self.uri}: {words} ({type(error).__name__})") from None

    def _refusal(self, error: boto.ClientError, key: str) -> StoreError:
        code, status = _code(error), _status(error)
        if code == "NoSuchKey":
            return Missing(f"{key} is not in the store {self.uri}")
        where = f"store {self.uri} at {_host(_client().meta.endpoint_url)}"
        if code in BUSY or status == 429 or (status >= 500 and status != 501):
            return Passing(f"{where}: it is overloaded or out of order; try again later ({code})")
        words = REFUSED.get(code) or REFUSED.get(str(status)) or "it refuses the request"
        return StoreError(f"{where}: {words} ({code or status}, {error.operation_name})")

    def _silence(self, error: Exception, host: str) -> StoreError:
        said = str(error)
        if isinstance(error, boto.SSLError) and re.search("CERTIFICATE|WRONG_VERSION", said):
            return StoreError(
                f"store {self.uri}: no secure connection to {host}; check AWS_CA_BUNDLE and "
                "whether AWS_ENDPOINT_URL_S3 begins with https:// or http://"
            )
        if "Invalid header" in said:
            return StoreError(f"store {self.uri}: credentials hold a line break; correct {KEYS}")
        return Passing(
            f"store {self.uri}: {host} can't be reached, or breaks off ({type(error).__name__}); "
            "check AWS_ENDPOINT_URL_S3 and the network, or try again later"
        )


def _patiently(ask: Callable[[], T]) -> T:
    """What `ask` returns; its answer may break off a few times."""
    for _ in range(ATTEMPTS - 1):
        try:
            return ask()
        except BROKEN_OFF:
            pass
        except boto.ClientError as error:
            # A refusal without a code of S3's own may be one that was cut short.
            if _code(error) not in {"", str(_status(error))}:
                raise
    return ask()


def cache_folder() -> Path:
    """Where blobs are kept on this machine: $RELEVO_BLOB_CACHE, or below the user's cache folder.

    Raises:
        StoreError: there is no home folder to put it in.
    """
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        raise StoreError(f"there is no home folder to cache data in; set {CACHE}") from None
    return Path(os.environ.get(CACHE) or Path(home, "relevo", "blobs"))


def _bucket_and_prefix(address: str) -> tuple[str, str]:
    """The two parts of s3://bucket/prefix, checked with the care that keys get."""
    # People put their keys before an @ here; they must not come back in a message.
    shown = f"s3://{address.removeprefix('s3://').rpartition('@')[2]}"
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    prefix = prefix.removesuffix("/")
    if not re.fullmatch(r"(?!.*\.\.)(?![\d.]+$)[a-z\d][a-z\d.-]{1,61}[a-z\d]", bucket, re.ASCII):
        raise StoreError(
            f"store {shown!r}: expected s3://bucket/prefix, the bucket's name 3 to 63 small "
            "letters, digits, - and ."
        )
    try:
        return bucket, checked_key(prefix) if prefix else ""
    except ValueError:
        raise StoreError(
            f"store {shown!r}: expected a prefix of letters, digits and ._-~ between single slashes"
        ) from None


def _client() -> Any:
    """boto3's client for the environment as it is now; it is kept, since making one is slow."""
    settings = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return _made_client(tuple(sorted(settings.items())))


@lru_cache(maxsize=4)
def _made_client(settings: tuple[tuple[str, str], ...]) -> Any:
    config = Config(
        connect_timeout=5,
        read_timeout=30,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        return boto3.Session().client("s3", config=config)
    except boto.BotoCoreError:
        raise  # some of them are ValueErrors too
    except ValueError:
        raise StoreError(f"no S3 client: {NO_URL}") from None
    except OSError as error:
        raise StoreError(f"no S3 client: AWS's settings can't be read ({error.strerror})") from None


def _code(error: boto.ClientError) -> str:
    """The error's code, cut to what a code can be: a server may answer anything."""
    return re.sub(r"[^\w.-]", "", str(error.response.get("Error", {}).get("Code", "")))[:60]


def _status(error: boto.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _host(url: str) -> str:
    """Scheme, host and port of a URL; what else it holds may be a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
