"""boto3's client as relevo wants it: timeouts, retries, no checksums that some servers refuse.

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
ATTEMPTS = 6
MARK = {"relevo": "1"}  # metadata of every object that relevo writes
# boto3's own transfers: the optional native ones raise other errors.
TRANSFER = TransferConfig(preferred_transfer_client="classic")
# A single request copies 5 GiB at most; parts also stay below the read timeout of 30 s.
COPY = TransferConfig(multipart_threshold=1 << 30, multipart_chunksize=256 << 20)

# An answer that breaks off: boto3 itself asks again only until an answer has begun.
BROKEN_OFF = (boto.ResponseStreamingError, boto.IncompleteReadError, ProtocolError)


def patiently(ask: Callable[[], T]) -> T:
    """What `ask` returns; its answer may break off a few times."""
    for _ in range(ATTEMPTS - 1):
        try:
            return ask()
        except BROKEN_OFF:
            pass
        except boto.ClientError as error:
            # A refusal without a code of S3's own may be one that was cut short.
            if code_of(error) not in {"", str(status_of(error))}:
                raise
    return ask()


def transfers() -> AbstractContextManager[Any]:
    """boto3's transfer manager: parts of large objects, and several objects, at a time."""
    manager: AbstractContextManager[Any] = create_transfer_manager(client(), TRANSFER)
    return manager


def client() -> Any:
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
