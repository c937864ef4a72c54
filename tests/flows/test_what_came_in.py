"""The report of a run says what came in, and how unlike the last training set it is."""

from __future__ import annotations

import re
from pathlib import Path

from support.command import Relevo
from support.images import coarse_photo, encoded, png, write_folder
from support.keras_files import write_keras
from support.pages import plain

RECIPE = """
name = "photos"
[data]
source = "photos"
image_size = 32
[stages.all]
start = "net.keras"
train = "head"
controls = false
"""


def test_a_report_says_what_came_in_and_how_unlike_it_is(
    relevo: Relevo, server: str, tmp_path: Path
) -> None:
    write_keras(tmp_path / "net.keras")
    (tmp_path / "own.toml").write_text(RECIPE)
    names = [
        f"{split}/{label}/{i}.png"
        for split, n in (("train", 60), ("test", 12))
        for label in "ab"
        for i in range(n)
    ]
    files = {name: encoded(coarse_photo(seed), "PNG") for seed, name in enumerate(names)}
    folder = write_folder(tmp_path / "photos", files)
    words = ["run", "own.toml", "--store", "store", "--json"]
    env = {"PREFECT_API_URL": server}
    first = relevo(*words, cwd=tmp_path, env=env).json
    assert 'id="incoming"' not in Path(first["report"]).read_text("utf-8")
    noise = {f"train/a/noise {i}.png": png(i, (96, 96)) for i in range(10)}
    write_folder(folder, noise)
    second = relevo(*words, cwd=tmp_path, env=env).json
    page = Path(second["report"]).read_text("utf-8")
    section = page[page.index('<section id="incoming">') :].partition("</section>")[0]
    text = plain(section)
    assert f"the data of the run before, {first['run']}" in text
    assert "Pictures added: 10; removed: 0; with another label: 0." in text
    assert "No new training picture is nearly the same as one of test." in text
    unlike = re.search(r"Of 10 new pictures, (\d+) \(", text)
    assert unlike
    assert int(unlike[1]) >= 5, text
    assert "The new pictures are of another kind than the old ones." in text
    assert section.count("data:image/") == 10
    again = relevo(*words, "--lang", "es", cwd=tmp_path, env=env).json
    assert 'id="incoming"' not in Path(again["report"]).read_text("utf-8")
