"""Dark, blurred and blank pictures are distinguished from good ones, and duplicates from others."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter
from support.pictures import sharp_photo

from tasks.vision.check.classes import few_images
from tasks.vision.check.duplicates import duplicate_groups
from tasks.vision.check.flaws import flaws, measure

SIZE = 64
GOOD = [sharp_photo(seed).resize((SIZE, SIZE)) for seed in range(30)]


def found(*pictures: Image.Image) -> dict[str, list[int]]:
    """Rows of the flawed ones among the pictures, which come after the good ones."""
    images = np.stack([np.asarray(each) for each in (*GOOD, *pictures)])
    kinds = {kind: (rows - len(GOOD)).tolist() for kind, rows, _ in flaws(measure(images, 2))}
    assert all(row >= 0 for rows in kinds.values() for row in rows), "a good one is called flawed"
    return kinds


def test_flawed_pictures_are_found_and_good_ones_are_not() -> None:
    dark = GOOD[0].point(lambda value: value // 8)
    blurred = GOOD[1].filter(ImageFilter.GaussianBlur(3))
    blank = Image.new("RGB", (SIZE, SIZE), "olive")
    black = Image.new("RGB", (SIZE, SIZE))
    assert found(dark, blurred, blank, black) == {"blank": [2, 3], "dark": [0], "blurred": [1]}


def test_one_sharp_part_is_enough() -> None:
    """A flower in focus before a blurred garden is a good photo; so is one at night, or of a rose."""
    garden = GOOD[2].filter(ImageFilter.GaussianBlur(3))
    garden.paste(GOOD[2].crop((20, 20, 44, 44)), (20, 20))
    night = GOOD[3].point(lambda value: value // 10)
    night.paste(GOOD[3].crop((20, 20, 44, 44)), (20, 20))
    rose = Image.merge("RGB", [GOOD[4].getchannel(0), *[Image.new("L", (SIZE, SIZE))] * 2])
    assert found(garden, night, rose) == {"blank": [], "dark": [], "blurred": []}


def test_no_data_set_and_the_smallest_images_have_no_flaws() -> None:
    for images in (np.empty((0, 8, 8, 3), np.uint8), np.full((3, 1, 1, 3), 200, np.uint8)):
        assert [kind for kind, *_ in flaws(measure(images))] == ["blank", "dark", "blurred"]


def test_duplicates_are_grouped_and_equal_ones_known() -> None:
    small = GOOD[0].resize((40, 40)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    blank = Image.new("RGB", (SIZE, SIZE), "olive")
    pictures = [GOOD[0], GOOD[1], GOOD[2], small, GOOD[1], GOOD[1], blank, blank]
    images = np.stack([np.asarray(each) for each in pictures])
    groups = duplicate_groups(images, np.array([6, 7]))
    assert [(group.rows, group.same) for group in groups] == [((0, 3), False), ((1, 4, 5), True)]
    assert duplicate_groups(images[:3], np.array([], np.int64)) == []


def test_small_and_uneven_classes_are_named() -> None:
    found = few_images({"a": 900, "b": 101, "c": 99, "d": 19})
    assert [(each.label, each.images) for each in found] == [("d", 19), ("c", 99)]
    assert few_images({"a": 20, "b": 20}) == []
