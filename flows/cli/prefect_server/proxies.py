"""Proxies and certificates of this machine that Prefect's client can't use: dropped, or named in one line."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

from tasks.store.addresses import without_secrets
from tasks.vision.errors import BadInput

CERTIFICATES = "SSL_CERT_FILE"


@contextmanager
def importing_prefect() -> Iterator[None]:
    """Hide unusable certificates from Prefect, which makes a client while it is imported."""
    hidden = os.environ.pop(CERTIFICATES, "") if _certificates_fault() else ""
    try:
        yield
    finally:
        if hidden:
            os.environ[CERTIFICATES] = hidden


def check_proxies(url: str | None) -> None:
    """Check what httpx reads from the environment, before Prefect's client fails on it.

    A setting that is not needed to reach `url` is removed from this process' environment.

    Args:
        url: of Prefect's server; None for one on this machine.

    Raises:
        BadInput: a proxy or file of certificates that is needed can't be used.
    """
    host = urlsplit(url or "").hostname
    if fault := _certificates_fault():
        if url and url.startswith("https:"):
            raise BadInput(fault)
        del os.environ[CERTIFICATES]
    names = [name for name in os.environ if name.lower().endswith("_proxy")]
    for name in names:
        if name.lower() != "no_proxy" and (fault := _proxy_fault(name)):
            if host and not proxy_bypass(host):
                raise BadInput(without_secrets(fault))
            del os.environ[name]


def _certificates_fault() -> str:
    path = os.environ.get(CERTIFICATES)
    if not path:
        return ""
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror or error
        return (
            f"{CERTIFICATES} = {path!r} can't be used ({reason}); "
            "expected a file of certificates in PEM: correct or unset it"
        )
    return ""


def _proxy_fault(name: str) -> str:
    import httpx

    address = os.environ[name]
    if not address:
        return ""
    try:
        httpx.Client(
            proxy=address if "://" in address else f"http://{address}", trust_env=False
        ).close()
    except ImportError:
        return (
            f"{name} = {address!r}: socksio is not installed, which a SOCKS proxy needs; "
            "pip install 'httpx[socks]', or unset it"
        )
    except (ValueError, httpx.InvalidURL) as error:
        return f"{name} = {address!r} is no proxy ({error}); expected http://host:port"
    return ""
