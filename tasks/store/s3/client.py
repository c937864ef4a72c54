"""boto3's client as relevo uses it: timeouts, retries, no checksums that some servers refuse.

The only module that imports boto3.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, TypeVar

import boto3
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore import exceptions as boto
from botocore.config import Config
from urllib3.exceptions import ProtocolError

from tasks.store.base import StoreError
from tasks.store.s3.errors import NO_URL, code_of, status_of

T = TypeVar("T")
MAX_ATTEMPTS = 6
MARK = {"relevo": "1"}  # metadata of every object that relevo writes
# boto3's optional native transfers raise other errors.
TRANSFER = TransferConfig(preferred_transfer_client="classic")
# A single request copies 5 GiB at most; parts also stay below the read timeout of 30 s.
COPY = TransferConfig(multipart_threshold=1 << 30, multipart_chunksize=256 << 20)
INTERRUPTED = (boto.ResponseStreamingError, boto.IncompleteReadError, ProtocolError)


def retry_interrupted(request: Callable[[], T]) -> T:
    """Repeat a request whose response breaks off; boto3 retries only until a response has begun."""
    for _ in range(MAX_ATTEMPTS - 1):
        try:
            return request()
        except INTERRUPTED:
            pass
        except boto.ClientError as error:
            # An error without one of S3's codes may be a response that was cut short.
            if code_of(error) not in {"", str(status_of(error))}:
                raise
    return request()


def transfer_manager() -> AbstractContextManager[Any]:
    """boto3's transfer manager: several objects, and parts of large ones, in parallel."""
    manager: AbstractContextManager[Any] = create_transfer_manager(client(), TRANSFER)
    return manager


def client() -> Any:
    """boto3's client for the current environment; cached, since creating one is slow."""
    settings = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return _new_client(tuple(sorted(settings.items())))


@lru_cache(maxsize=4)
def _new_client(settings: tuple[tuple[str, str], ...]) -> Any:
    config = Config(
        connect_timeout=5,
        read_timeout=30,
        retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        return boto3.Session().client("s3", config=config)
    except boto.BotoCoreError:
        raise  # some of them are ValueErrors, too
    except ValueError:
        raise StoreError(f"no S3 client: {NO_URL}") from None
    except OSError as error:
        raise StoreError(f"no S3 client: AWS's settings can't be read ({error.strerror})") from None
