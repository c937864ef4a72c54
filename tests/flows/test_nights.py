"""Nights of a fleet: new photos start a run by themselves, and its model is used if it is better."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from playwright.sync_api import Page
from support.command import ROOT
from support.databases import PROGRAMS, postgresql
from support.fleet import Fleet
from support.images import encoded, write_folder
from support.keras_files import write_keras
from support.prefect_pages import CHROMIUM, photographs, prefect_page

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

RECIPE = """
name = "colours"
[data]
source = "{photos}"
image_size = 32
[stages.kind]
start = "{network}"
train = "head"
controls = false
"""
# Red and blue photos are of class a, green ones of b.
COLOURS = {"red": (200, 40, 40), "blue": (40, 40, 200), "green": (40, 200, 40)}


def photo(colour: str, seed: int) -> bytes:
    """A grainy picture of a colour."""
    noise = np.random.default_rng(seed).normal(0, 40, (32, 32, 3))
    pixels = np.clip(noise + COLOURS[colour], 0, 255).astype(np.uint8)
    return encoded(Image.fromarray(pixels), "PNG")


class Photos:
    """Photos in a bucket, of which no two are alike."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._made = 0
        self.address = f"s3://{fleet.bucket}/photos"

    def add(self, colour: str, folder: str, count: int) -> None:
        for _ in range(count):
            self._made += 1
            key = f"photos/{folder}/{colour}-{self._made}.png"
            content = photo(colour, self._made)
            self._fleet.s3.put_object(Bucket=self._fleet.bucket, Key=key, Body=content)

    def remove(self, prefix: str) -> None:
        there = self._fleet.s3.list_objects_v2(Bucket=self._fleet.bucket, Prefix=f"photos/{prefix}")
        for each in there["Contents"]:
            self._fleet.s3.delete_object(Bucket=self._fleet.bucket, Key=each["Key"])


@pytest.fixture
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with postgresql() if PROGRAMS else nullcontext() as database:
        fleet = Fleet(tmp_path_factory.mktemp("nights"), database)
        try:
            yield fleet
        finally:
            fleet.stop()


@pytest.fixture
def messages() -> Iterator[tuple[str, list[str]]]:
    """A webhook's address, and the texts that have come to it."""
    texts: list[str] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            texts.append(json.loads(body)["text"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep the test's output short."""

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", texts
        server.shutdown()


def deploy(fleet: Fleet, folder: Path, photos: Photos, hook: str) -> None:
    """Deploy with `watch/scheduled` switched on, as deployments/README.md says, but looking more often."""
    network = f"s3://{fleet.bucket}/network.keras"
    path = write_keras(folder / "network.keras")
    fleet.s3.put_object(Bucket=fleet.bucket, Key="network.keras", Body=path.read_bytes())
    content = yaml.safe_load((ROOT / "deployments/prefect.yaml").read_text())
    (watch,) = (each for each in content["deployments"] if each["name"] == "scheduled")
    watch["schedules"] = [{"interval": 10}]
    watch["parameters"] |= {
        "data": photos.address,
        "own_recipe": RECIPE.format(photos=photos.address, network=network),
        "at_least": "20",
        "settle_minutes": 0.1,
        "promotion": {"stage": "kind", "ask": True},
    }
    (folder / "prefect.yaml").write_text(yaml.safe_dump(content))
    (folder / "automations").symlink_to(ROOT / "deployments/automations")
    done = fleet.relevo("deploy", "--files", str(folder), "--notify", hook)
    assert done.returncode == 0, done.stderr


def promotions(fleet: Fleet, count: int, state: str) -> dict[str, Any]:
    """Wait until so many promotions were sent, the last of which is in a state; return it."""
    named = {"flows": {"name": {"any_": ["promote"]}}, "sort": "START_TIME_ASC"}

    def last() -> bool:
        found = fleet.find("flow_runs", **named)
        return len(found) == count and found[-1]["state_name"] == state

    fleet.until(last, 600)
    found: dict[str, Any] = fleet.find("flow_runs", **named)[-1]
    return found


def answers(fleet: Fleet, folder: Path) -> dict[str, str]:
    """What `relevo predict @best` says of a picture of each colour."""
    done = fleet.relevo("predict", "@best", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    return {
        Path(each["file"]).stem: each["label"] for each in json.loads(done.stdout)["predictions"]
    }


@pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium isn't installed")
def test_new_photos_give_a_model_that_is_used_if_it_is_better(
    fleet: Fleet, messages: tuple[str, list[str]], tmp_path: Path
) -> None:
    hook, texts = messages
    photos = Photos(fleet)
    for split, count in (("train", 60), ("test", 40)):
        photos.add("red", f"{split}/a", count)
        photos.add("green", f"{split}/b", count)
    photos.add("blue", "test/a", 40)
    photos.add("blue", "train/b/mistake", 20)
    deploy(fleet, tmp_path, photos, hook)
    fleet.start_machine("a")
    new = write_folder(tmp_path / "new", {f"{name}.png": photo(name, 0) for name in COLOURS})

    first = promotions(fleet, 1, "Suspended")
    with prefect_page() as page:
        approve(page, fleet, first["id"], photographs(page, tmp_path, "night"))
    assert fleet.finish(first["id"])["state_name"] == "Promoted"
    assert answers(fleet, new) == {"red": "a", "green": "b", "blue": "b"}

    photos.add("red", "train/b/mistake", 90)
    photos.add("green", "train/b", 20)
    second = promotions(fleet, 2, "NotPromoted")
    why = second["state"]["message"]
    assert "it is worse" in why
    fleet.until(lambda: any(why in text for text in texts), 60)
    assert answers(fleet, new) == {"red": "a", "green": "b", "blue": "b"}

    photos.remove("train/b/mistake/")
    photos.add("blue", "train/a", 60)
    third = promotions(fleet, 3, "Suspended")
    fleet.until(lambda: sum("a person is asked" in text for text in texts) == 2, 60)
    fleet.resume(third["id"], {"promote": True, "by": "Ada", "why": "blue is right now"})
    assert fleet.finish(third["id"])["state_name"] == "Promoted"
    assert answers(fleet, new) == {"red": "a", "green": "b", "blue": "a"}

    back = fleet.relevo("promote", "--back", "best")
    assert back.returncode == 0, back.stderr
    assert answers(fleet, new) == {"red": "a", "green": "b", "blue": "b"}
    history = json.loads(fleet.relevo("aliases", "best", "--json").stdout)["history"]
    assert [each["action"] for each in history] == [
        *("promoted", "not promoted", "promoted", "returned")
    ]
    assert (history[0]["by"], history[2]["by"]) == ("Grace", "Ada")


def approve(page: Page, fleet: Fleet, run: str, photograph: Callable[[str], None]) -> None:
    """Resume a suspended run in Prefect's UI, with the mouse and a few words."""
    page.goto(f"{fleet.url}/v2/runs/flow-run/{run}")
    page.get_by_role("button", name="Open menu").first.click()
    page.get_by_role("menuitem", name="Resume").click()
    form = page.get_by_role("dialog")
    form.get_by_role("heading", name=re.compile("May .* be @best")).wait_for()
    form.get_by_role("switch", name="Promote").click()
    form.get_by_role("textbox", name="By").fill("Grace")
    photograph("form")
    form.get_by_role("button", name="Resume").click()
    form.wait_for(state="hidden")
