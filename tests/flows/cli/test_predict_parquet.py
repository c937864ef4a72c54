"""`relevo predict --parquet`: each picture is scored once by a model, in a table that other programs read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from support.cards import small_model
from support.command import Relevo
from support.compared import model_of_run
from support.images import png, write_folder
from support.results import REF
from support.stores import mark

from tasks.inference.predict_new import predict_new
from tasks.vision.errors import BadInput
from tasks.vision.trained_model import pack


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A network of three classes, which finds all of them equally probable."""
    card, tensors = small_model()
    return str(write_folder(tmp_path / "model", {"model.safetensors": pack(card, tensors)}))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The table as another program reads it."""
    from pyarrow import dataset

    found: list[dict[str, Any]] = (
        dataset.dataset(folder, partitioning="hive").to_table().to_pylist()
    )
    return sorted(found, key=lambda row: (row["model"], row["file"], row["scored_at"]))


def test_only_pictures_that_the_model_has_not_scored_are_appended(
    relevo: Relevo, model: str, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "inbox", {"a.png": png(1), "b/c.png": png(2), "bad.png": b"x"})
    table = tmp_path / "scored"
    words = ["predict", model, str(folder), "--parquet", str(table), "--unless", ".9"]
    first = relevo(*words, "--json").json
    added = {key: first["appended"][key] for key in ("new", "skipped", "unsure")}
    assert added == {"new": 3, "skipped": 0, "unsure": 2}
    again = relevo(*words)
    assert again.status == 0, again.err
    assert again.out == f"0 new, 3 scored before, 0 unsure; {table}\n"
    (folder / "d.png").write_bytes(png(3))
    (folder / "a.png").write_bytes(png(4))
    os.utime(folder / "a.png", (1, 1))
    csv = tmp_path / "new.csv"
    third = relevo(*words[:-2], "--csv", str(csv), "--json").json["appended"]
    assert (third["new"], third["skipped"], third["unsure"], len(third["parts"])) == (2, 2, 0, 1)
    assert len(csv.read_text().splitlines()) == 3
    rows = rows_of(table)
    names = [Path(row["file"]).name for row in rows]
    assert names == ["a.png", "a.png", "c.png", "bad.png", "d.png"]
    assert [row["unsure"] for row in rows] == [True, False, True, False, False]
    assert dict(rows[0]["probabilities"]).keys() == {"a", "b", "c"}
    assert rows[3]["label"] is None
    assert "bad.png" in rows[3]["fault"]
    assert len({row["model"] for row in rows}) == 1


def test_another_model_scores_all_of_them(tmp_path: Path) -> None:
    home = mark(tmp_path / "store")
    folder = write_folder(tmp_path / "inbox", {"a.png": png(1), "b.png": png(2)})
    for run in ("one", "another"):
        model_of_run(home, run, REF)
        for new in (2, 0):
            table = str(tmp_path / "scored")
            _, added = predict_new(home.uri, f"{run}/baseline", [str(folder)], table)
            assert (added.new, added.skipped) == (new, 2 - new)
    rows = rows_of(tmp_path / "scored")
    assert {row["model_name"] for row in rows} == {"one/baseline", "another/baseline"}
    assert len(rows) == 4


def test_of_a_bucket_only_new_pictures_are_downloaded(
    bucket: str, s3: Any, model: str, tmp_path: Path
) -> None:
    place, table = f"s3://{bucket}/inbox", f"s3://{bucket}/scored"
    for name in ("1.png", "2.png", "notes.txt"):
        s3.put_object(Bucket=bucket, Key=f"inbox/{name}", Body=png(len(name)))
    _, first = predict_new(str(tmp_path / "store"), model, [place], table)
    assert (first.new, first.skipped) == (2, 0)
    downloads = set((tmp_path / "data").rglob("*.png"))
    assert len(downloads) == 2
    s3.put_object(Bucket=bucket, Key="inbox/2.png", Body=png(99))
    s3.put_object(Bucket=bucket, Key="inbox/3.png", Body=png(3))
    _, second = predict_new(str(tmp_path / "store"), model, [place], table)
    assert (second.new, second.skipped) == (2, 1)
    new = set((tmp_path / "data").rglob("*.png")) - downloads
    assert sorted(path.name for path in new) == ["2.png", "3.png"]
    assert second.parts[0].startswith(f"{table}/model=")
    _, third = predict_new(str(tmp_path / "store"), model, [place], table)
    assert (third.new, third.skipped, third.parts) == (0, 3, ())


def test_another_table_in_its_place_is_refused(model: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "inbox", {"a.png": png(1)})
    table = tmp_path / "scored"
    _, added = predict_new(str(tmp_path / "store"), model, [str(folder)], str(table))
    Path(added.parts[0]).write_bytes(b"PAR1 and no more")
    with pytest.raises(BadInput, match="is no table of predictions"):
        predict_new(str(tmp_path / "store"), model, [str(folder)], str(table))


def test_the_flow_scores_what_is_new(model: str, server: str, tmp_path: Path) -> None:
    from flows.predict import predict

    folder = write_folder(tmp_path / "inbox", {"a.png": png(1), "b.png": png(2)})
    given = {"model": model, "store": str(tmp_path / "store"), "parquet": str(tmp_path / "scored")}
    first = predict(str(folder), unless=0.9, **given)
    assert (first["unsure"], first["scored_before"]) == (2, 0)
    assert Path(first["table"]).is_file()
    second = predict(str(folder), unless=0.9, **given)
    assert (second["unsure"], second["scored_before"], second["table"]) == (0, 2, "")
