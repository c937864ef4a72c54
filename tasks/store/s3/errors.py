"""boto3's errors as StoreError: one line each, in relevo's words, as a server may send anything."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from s3transfer.exceptions import (  # type: ignore[import-untyped,unused-ignore]
    RetriesExceededError,
    S3DownloadFailedError,
    S3ValidationError,
)
from urllib3.exceptions import HTTPError

from tasks.store.base import Missing, StoreError, Unavailable

# Errors of the network, and of a transfer whose own retries are used up.
NETWORK_ERRORS = (
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.IncompleteReadError,
    RetriesExceededError,
    S3DownloadFailedError,
    S3ValidationError,
    HTTPError,
)
TRANSIENT = {"SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "OperationAborted"}
# Codes with which servers that lack conditional writes respond to one.
NO_CONDITIONS = {"NotImplemented", "InvalidArgument", "InvalidRequest"}
KEYS = "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
REGION = "the bucket is in another region; correct AWS_DEFAULT_REGION"
SIGN_IN = f"the sign-in is not valid or has expired; sign in again, or set {KEYS}"
NO_URL = "AWS_ENDPOINT_URL_S3 is no URL; expected one such as https://host:9000"
NOT_S3 = "it does not answer as an S3 service does; check AWS_ENDPOINT_URL_S3"
# S3's error code, or the status of a response without one: what is wrong, and how to fix it.
REFUSALS = {
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
# Errors before there is a response that boto3 can read; the first that matches.
SIGNED_OUT = (
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.SSOError,
    boto.LoginError,
)
CLIENT_ERRORS: tuple[tuple[Any, str], ...] = (
    (boto.NoCredentialsError, f"there are no credentials; set {KEYS}"),
    (boto.PartialCredentialsError, f"the credentials are incomplete; set {KEYS}"),
    (boto.ProfileNotFound, "AWS's configuration files have no such profile; correct AWS_PROFILE"),
    (SIGNED_OUT, SIGN_IN),
    (boto.EndpointProviderError, NO_URL),
    (ResponseParserError, NOT_S3),
    (Exception, "boto3 can't work as it is configured; check AWS's settings"),
)


@contextmanager
def translate_errors(uri: str, url: Callable[[], str], key: str) -> Iterator[None]:
    """Turn boto3's errors into StoreError.

    Args:
        uri: of the store, and `key`: of the request, for the message.
        url: returns the endpoint's URL.
    """
    try:
        _check_endpoint(uri, url())
        yield
    except boto.ClientError as error:
        raise _service_error(error, uri, url(), key) from None
    except NETWORK_ERRORS as error:
        given = getattr(error, "kwargs", {}).get("endpoint_url") or url()
        raise _network_error(error, uri, _host(given)) from None
    except (boto.BotoCoreError, ResponseParserError) as error:
        words = next(words for kind, words in CLIENT_ERRORS if isinstance(error, kind))
        raise StoreError(f"store {uri}: {words} ({type(error).__name__})") from None


def _check_endpoint(uri: str, url: str) -> None:
    """Refuse an endpoint that names the bucket, which boto3 would add to it once more."""
    bucket, parts = urlsplit(uri).netloc, urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    if parts.path.rstrip("/").rpartition("/")[2] == bucket or host.startswith(f"{bucket}.s3"):
        raise StoreError(
            f"store {uri}: AWS_ENDPOINT_URL_S3 ends in the bucket {bucket!r} or begins with it; "
            "expected the server's address alone, such as https://host:9000"
        )


def _service_error(error: boto.ClientError, uri: str, url: str, key: str) -> StoreError:
    code, status = code_of(error), status_of(error)
    if code == "NoSuchKey":
        return Missing(f"{key} is not in the store {uri}")
    where = f"store {uri} at {_host(url)}"
    if code in TRANSIENT or status == 429 or (status >= 500 and status != 501):
        return Unavailable(f"{where}: it is overloaded or out of order; try again later ({code})")
    words = REFUSALS.get(code) or REFUSALS.get(str(status)) or "it refuses the request"
    return StoreError(f"{where}: {words} ({code or status}, {error.operation_name})")


def _network_error(error: Exception, uri: str, host: str) -> StoreError:
    said = str(error)
    if isinstance(error, boto.SSLError) and re.search("CERTIFICATE|WRONG_VERSION", said):
        return StoreError(
            f"store {uri}: no secure connection to {host}; check AWS_CA_BUNDLE and "
            "whether AWS_ENDPOINT_URL_S3 begins with https:// or http://"
        )
    if "Invalid header" in said:
        return StoreError(f"store {uri}: credentials hold a line break; correct {KEYS}")
    return Unavailable(
        f"store {uri}: {host} can't be reached, or breaks off ({type(error).__name__}); "
        "check AWS_ENDPOINT_URL_S3 and the network, or try again later"
    )


def code_of(error: boto.ClientError) -> str:
    """S3's error code, sanitized."""
    return re.sub(r"[^\w.-]", "", str(error.response.get("Error", {}).get("Code", "")))[:60]


def status_of(error: boto.ClientError) -> int:
    """The response's HTTP status, 0 if unknown."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _host(url: str) -> str:
    """Scheme, host and port of a URL; the rest may contain secrets."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
