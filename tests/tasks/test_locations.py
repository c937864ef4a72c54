"""On a worker, $RELEVO_ALLOWED bounds the addresses that a run's parameters may name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.io.locations import find_data, local_data, store_address
from tasks.runs.lookup import find_model
from tasks.vision.errors import BadInput


@pytest.fixture
def allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "photos" / "inner").mkdir(parents=True)
    (tmp_path / "photos" / "link").symlink_to("/etc")
    monkeypatch.setenv("RELEVO_STORE", "s3://team/store")
    monkeypatch.setenv("RELEVO_ALLOWED", f"{tmp_path}/photos s3://team/data/")
    return tmp_path


@pytest.mark.parametrize(
    "data",
    ["/etc", "{}/photos-2", "{}/photos/../x", "{}/photos/link", "s3://other/data", "s3://team"],
)
def test_data_elsewhere_is_refused(data: str, allowed: Path) -> None:
    for resolve in (local_data, find_data):
        with pytest.raises(BadInput, match="is not allowed on this machine; give one below"):
            resolve(data.format(allowed))


def test_a_table_is_allowed_where_its_pictures_are(allowed: Path) -> None:
    (allowed / "photos" / "x.csv").touch()
    (allowed / "x.csv").touch()
    assert find_data(f"{allowed}/photos/x.csv").kind == "table"
    with pytest.raises(BadInput, match="not allowed"):
        find_data(f"{allowed}/x.csv")


@pytest.mark.parametrize("data", ["digits", "cifar10", "{}/photos", "{}/photos/inner"])
def test_what_is_listed_and_built_in_is_allowed(data: str, allowed: Path) -> None:
    assert local_data(data.format(allowed)) == data.format(allowed)


def test_a_store_elsewhere_is_refused(allowed: Path) -> None:
    assert store_address(None) == "s3://team/store"
    assert store_address("s3://team/store") == "s3://team/store"
    assert store_address("s3://team/data/x") == "s3://team/data/x"
    for other in ("s3://thief/store", "s3://team/store-2", "/var/tmp/store"):
        with pytest.raises(BadInput, match="not allowed"):
            store_address(other)


def test_a_model_elsewhere_is_refused(allowed: Path) -> None:
    (allowed / "model.safetensors").write_bytes(b"")
    for given in (str(allowed), "s3://thief/models/x"):
        with pytest.raises(BadInput, match="not allowed"):
            find_model("s3://team/store", given)


def test_without_a_list_every_address_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RELEVO_ALLOWED", raising=False)
    assert local_data("/etc") == "/etc"
