"""`relevo new-recipe`: from a person's folders of pictures to a recipe that trains."""

from __future__ import annotations

import hashlib
import re
import shlex
import tomllib
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.cards import small_model
from support.command import ROOT, Relevo
from support.images import encoded, labelled_pngs, png, write_any, write_folder, write_zip
from support.keras_files import write_keras

from flows.recipes.load import load_recipe
from tasks.runs.starts import models_in
from tasks.vision.data.sources import find_source
from tasks.vision.errors import BadInput
from tasks.vision.new_recipe.draft import PHOTO_FIT, Start, draft
from tasks.vision.new_recipe.start import find_start
from tasks.vision.new_recipe.survey import Survey, survey
from tasks.vision.recipe.from_model import StartModel
from tasks.vision.recipe.parse import parse_recipe
from tasks.vision.recipe.schema import Network, Stage
from tasks.vision.trained_model import pack

NAMES = ["apple", "cherry", "fig", "grape", "plum", "zebra crossing"]
SIZES = [(48, 48), (60, 80), (100, 64), (56, 56)]


def photos(train: int = 30, test: int = 10) -> dict[str, bytes]:
    """Real scans of six digits, of mixed sizes, modes and formats, under the names of six things."""
    from sklearn.datasets import load_digits

    digits, files = load_digits(), {}
    for label, name in enumerate(NAMES):
        for i, row in enumerate(np.flatnonzero(digits.target == label)[: train + test]):
            grey = Image.fromarray(np.rint(digits.images[row] * 15.9).astype(np.uint8))
            grey = grey.resize(SIZES[i % 4], Image.Resampling.BICUBIC)
            mode = ("L", "RGB", "RGBA", "P", "CMYK")[i % 5]
            image = (
                grey.convert("RGB").convert(mode) if mode in ("P", "CMYK") else grey.convert(mode)
            )
            kind = "JPEG" if mode == "CMYK" else "PNG"
            split = "train" if i < train else "test"
            files[f"{split}/{name}/{i:02}.{kind.lower()}"] = encoded(image, kind)
    return files


def test_new_recipe_leads_from_a_folder_of_photos_to_a_report(
    relevo: Relevo, server: str, tmp_path: Path
) -> None:
    """As the README has it: new-recipe, plan, run, show."""
    write_folder(tmp_path / "photos", photos())
    env = {"PREFECT_API_URL": server, "RELEVO_STORE": str(tmp_path / "store")}
    words = ["photos", "--positive", "cherry", "fig", "--second", "zebra crossing", "--start=none"]
    printed = relevo("new-recipe", *words, cwd=tmp_path, env=env)
    assert printed.status == 0, printed.err
    assert "180 training and 60 test pictures" in printed.out
    assert printed.out.splitlines()[-2] == "now: relevo run photos.toml"
    recipe = parse_recipe((tmp_path / "photos.toml").read_text("utf-8"), "photos", {})
    assert recipe.labels["detector"].targets == {"cherry or fig": ["cherry", "fig"]}
    assert recipe.labels["two"].targets["zebra crossing"] == ["zebra crossing"]
    assert recipe.data.image_size == 64
    assert recipe.data.validation == 0.2

    assert relevo("plan", "photos.toml", cwd=tmp_path, env=env).status == 0
    fewer = [
        "--set=defaults.epochs=12",
        "--set=data.image_size=32",
        "--set=defaults.controls=false",
    ]
    done = relevo("run", "photos.toml", "--json", *fewer, cwd=tmp_path, env=env).json
    assert list(done["stages"]) == list(recipe.stages)
    page = Path(done["report"]).read_text("utf-8")
    mistakes = re.findall(r"true: [a-z ]+</span>\s*<code>([^<]*)</code>", page)
    assert mistakes
    assert all((tmp_path / "photos" / path).is_file() for path in mistakes)
    scores = {name: stage["metrics"] for name, stage in done["stages"].items()}
    assert scores["baseline"]["accuracy"] > scores["baseline"]["majority"]
    assert scores["all_classes"]["accuracy"] > 0.5, "six classes; chance is a sixth"
    assert "all_classes_from_transfer" in relevo("show", cwd=tmp_path, env=env).out

    # What the report says to do next can be done.
    (tmp_path / "more-photos").symlink_to(tmp_path / "photos/test/fig")
    commands = [unescape(each) for each in re.findall(r'command"[^>]*>([^<]*)</pre>', page)]
    said = [relevo(*shlex.split(each)[1:], cwd=tmp_path, env=env) for each in commands]
    assert [each.status for each in said] == [0, 0, 0], [each.err for each in said]
    assert len((tmp_path / "seen.csv").read_text("utf-8").splitlines()) == 11
    assert "judged held out, by" in said[2].out


def test_draft_explains_each_line_and_each_setting_has_an_effect() -> None:
    some = dict.fromkeys(NAMES, 50)
    text = draft(Survey(some, some, 300), "photos")
    settings = [line for line in text.splitlines() if " = " in line and not line.startswith("#")]
    lines = text.splitlines()
    for line in settings:
        above = lines[lines.index(line) - 1]
        assert "#" in line or above.startswith("#"), line
    assert max(map(len, lines)) <= 110
    assert parse_recipe(text, "mine", {}).data.image_size == 96


@pytest.mark.parametrize(
    ("classes", "given", "stages"),
    [
        (2, {}, ["all_classes"]),
        (5, {}, ["all_classes"]),
        (5, {"positive": ["a"]}, ["baseline", "all_classes"]),
        (5, {"second": "b"}, ["baseline", "transfer", "all_classes"]),
    ],
)
def test_draft_with_a_pretrained_start_trains_heads_on_it(
    classes: int, given: dict[str, object], stages: list[str]
) -> None:
    some = dict.fromkeys("abcdef"[:classes], 40)
    start = Start("my nets/x.keras", 160, "a file", "0" * 64)
    recipe = parse_recipe(draft(Survey(some, some, 300), "x", start=start, **given), "x", {})  # type: ignore[arg-type]
    assert list(recipe.stages) == stages
    assert recipe.data.image_size == 160
    for stage in recipe.stages.values():
        assert (stage.start, stage.sha256, stage.train) == (start.name, start.sha256, "head")


def test_draft_with_a_trained_model_goes_on_from_it(relevo: Relevo, tmp_path: Path) -> None:
    write_folder(tmp_path, {f"photos/{name}": data for name, data in photos(6, 2).items()})
    card, tensors = small_model()
    write_folder(tmp_path / "exported", {"model.safetensors": pack(card, tensors)})
    words = ["new-recipe", "photos", "--json", "--store", "none", "--start"]
    done = relevo(*words, "exported", cwd=tmp_path).json
    assert (done["start"], done["image_size"]) == (str(tmp_path / "exported"), 16)
    text = (tmp_path / "photos.toml").read_text()
    recipe = parse_recipe(text, "photos", {}, models_in(str(tmp_path / "none")))
    stage = recipe.stages["all_classes"]
    assert (stage.train, stage.epochs, stage.shift) == ("head then all", 20, 1)
    assert recipe.models["all_classes"].network == card.architecture.network
    refused = relevo(*words, "never/baseline", "-o", "two.toml", cwd=tmp_path)
    assert refused.status == 2
    assert refused.err.startswith("relevo: --start never/baseline: run 'never': the store ")


def test_draft_with_a_trained_model_states_no_setting_without_effect() -> None:
    some, own = (
        dict.fromkeys(NAMES, 50),
        StartModel(
            address="a/b", sha256="0" * 64, image_size=32, network=Network.model_validate({})
        ),
    )
    head = own.model_copy(update={"network": None})
    for found in (own, head):

        def find(name: str, stage: Stage, found: StartModel = found) -> StartModel:
            return found

        start = Start("a/b", 32, "a model", "0" * 64, own=found.network is not None)
        text = draft(Survey(some, some, 300), "photos", NAMES[:1], start=start)
        given = tomllib.loads(text)["defaults"]
        recipe = parse_recipe(text, "x", {}, find)
        for stage in recipe.stages.values():
            assert given.keys().isdisjoint(stage.unused_settings()), found


def test_drafts_and_the_built_in_recipe_make_photos_square_in_one_way() -> None:
    some = dict.fromkeys(NAMES, 30)
    text = draft(Survey(some, some, 300), "photos", start=Start("FILE.keras", 224, "yours"))
    assert f'\nfit = "{PHOTO_FIT}"' in text
    assert load_recipe("photos").data.fit == PHOTO_FIT


def test_start_is_chosen_by_the_number_of_photos_and_named_by_its_size(tmp_path: Path) -> None:
    few, many = find_start("", 500), find_start("", 50_000)
    assert few
    assert many
    assert few.name == "imagenet/efficientnet_v2_b0"
    assert many.name == "imagenet/mobilenet_v3_large"
    assert few.about == "24 MB are downloaded once, Apache-2.0"
    assert find_start("none", 500) is None
    file = write_keras(tmp_path / "x.keras")
    own = find_start(str(file), 500)
    assert own
    assert (own.size, own.sha256) == (32, hashlib.sha256(file.read_bytes()).hexdigest())
    weights = tmp_path / "old.h5"
    weights.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    for bad, reason in (
        (
            str(weights),
            "is a weights file .HDF5. without its network; build the network, call load_weights",
        ),
        ("imagenet/resnet_50", "did you mean 'imagenet/resnet50'"),
        (
            "resnet50",
            "expected imagenet/NETWORK, FILE.keras, RUN/STAGE or the folder of a trained model, or none",
        ),
        (str(tmp_path / "y.keras"), "there is no such file"),
    ):
        with pytest.raises(BadInput, match=reason):
            find_start(bad, 500)


@pytest.mark.parametrize(
    ("count", "steps"), [(4, 1), (19, 3), (50, 10), (100, 14), (500, 15), (50_000, 90)]
)
def test_draft_states_the_steps_per_epoch(count: int, steps: int) -> None:
    text = draft(Survey(dict.fromkeys("ab", count), {"a": 9, "b": 9}, 32), "x")
    assert f"# pictures per step; steps per epoch: {steps}\n" in text


@pytest.mark.parametrize(
    ("classes", "given", "stages"),
    [
        (2, {}, ["all_classes"]),
        (3, {}, ["baseline", "all_classes", "all_classes_from_baseline"]),
        (3, {"second": "b"}, ["transfer", "all_classes_from_transfer"]),
        (4, {}, ["transfer", "all_classes_from_transfer"]),
        (4, {"positive": ["a", "b", "c"]}, ["all_classes_from_baseline"]),
    ],
)
@pytest.mark.parametrize("count", [10, 600, 30_000])
def test_draft_is_a_recipe_for_any_number_of_classes(
    classes: int, given: dict[str, object], stages: list[str], count: int
) -> None:
    some = dict.fromkeys("abcdef"[:classes], count)
    for side in (20, 64, 4000):
        recipe = parse_recipe(draft(Survey(some, some, side), "x", **given), "x", {})  # type: ignore[arg-type]
        assert {"all_classes", *stages} <= set(recipe.stages)
        assert recipe.data.image_size in (32, 64, 96)
    small, large = (draft(Survey(dict.fromkeys("ab", n), some, 32), "x") for n in (50, 20_000))
    few, many = (parse_recipe(text, "x", {}).stages["all_classes"] for text in (small, large))
    assert few.epochs > many.epochs
    assert sum(few.network.widths) < sum(many.network.widths)


@pytest.mark.parametrize(
    "name", ['a "quote"', "back\\slash", "été", "other", "# no comment", "a  # b", "{{ 7 }}"]
)
def test_draft_keeps_class_names_of_any_kind(name: str) -> None:
    some = dict.fromkeys([name, *NAMES], 50)
    text = draft(Survey(some, some, 32), f"my {name}", [name])
    recipe = parse_recipe(text, "mine", {})
    assert recipe.labels["detector"].targets == {name: [name]}
    assert recipe.data.source == f"my {name}"
    assert tomllib.loads(text)["labels"]["two"]["targets"]


@pytest.mark.parametrize(
    ("classes", "target", "then"),
    [
        (["\x7f", "b"], "found", "b"),
        (["two\nlines", "b"], "two lines", "b"),
        (["a" * 200, "b"], "a" * 59 + "…", "b"),
        (["a" * 200, "a" * 201], "a" * 59 + "…", "found"),
    ],
)
def test_draft_names_a_target_whose_class_has_no_valid_name(
    classes: list[str], target: str, then: str
) -> None:
    some = dict.fromkeys([*classes, *NAMES], 50)
    recipe = parse_recipe(draft(Survey(some, some, 32), "x", classes[:1], classes[1]), "x", {})
    targets = recipe.labels["two"].targets
    assert targets == {target: classes[:1], then: classes[1:]}


def test_survey_reads_archives_too(relevo: Relevo, tmp_path: Path) -> None:
    write_zip(tmp_path / "my photos.tar.zip", photos(6, 2))
    seen = survey(find_source(str(tmp_path / "my photos.tar.zip")))
    assert seen.train == dict.fromkeys(NAMES, 6)
    assert seen.side == 58, "the median of 48, 48, 56, 60, 60, 64"
    done = relevo("new-recipe", "my photos.tar.zip", "--json", cwd=tmp_path)
    assert done.json["recipe"] == "my photos.tar.toml"
    assert done.json["command"] == "relevo run 'my photos.tar.toml'"
    assert done.json["pictures"]["test"] == dict.fromkeys(NAMES, 2)


def small(**more: bytes) -> dict[str, bytes]:
    names = [
        f"{split}/{label}/{i}.png"
        for split in ("train", "test")
        for label in "ab"
        for i in range(9)
    ]
    return {name: png(i) for i, name in enumerate(names)} | more


REFUSED: dict[str, tuple[dict[str, bytes], list[str], str]] = {
    "one folder": ({"a/1.png": png(1)}, [], "there is one class, 'a'; expected two or more: add a"),
    "no train": (
        {f"test/{label}/1.png": png(1) for label in "ab"},
        [],
        "has no folder train; expected",
    ),
    "too few to set some aside": (
        {f"{c}/{i}.png": png(i) for c in "ab" for i in range(2)},
        [],
        "of class 'a' about 1 would be left to train on, of all classes 2",
    ),
    "one class": ({"train/a/1.png": png(1), "test/a/1.png": png(1)}, [], "one class"),
    "too few": (
        {f"{s}/{c}/1.png": png(1) for s in ("train", "test") for c in "ab"},
        [],
        "of class 'a' about 1 would be left to train on, of all classes 2",
    ),
    "no picture": (
        {f"{s}/{c}/1.png": b"" for s in ("train", "test") for c in "ab"},
        [],
        "none of 2",
    ),
    "photos that nothing reads": (
        {
            f"{s}/{c}/1.{'heic' if c == 'b' else 'png'}": b"photo" if c == "b" else png(1)
            for s in ("train", "test")
            for c in "ab"
        },
        [],
        "no picture that can be read in train/b, only such as 1.heic; expected .png, .jpg or such: ",
    ),
    "a misspelt class": (small(), ["--positive", "A"], "class 'A' is not there"),
    "a choice of two": (small(), ["--positive", "a"], "--positive a: with two classes one stage"),
    "a second of two": (small(), ["--second", "b"], "--second b: with two classes one stage"),
    "a file that is there": (small(**{"../photos.toml": b"mine"}), [], "--force overwrites it"),
    "a class that is called only": (
        {"train/only/1.png": png(1), "test/only/1.png": png(1)},
        [],
        "photos: there is one class, 'only'; expected two or more: add a folder",
    ),
    "no class after --positive": (small(), ["--positive"], "--positive: no class is named"),
    "a name that is not UTF-8": (
        small(**{"train/a/caf\udce9.png": png(1)}),
        [],
        "photos/train/a holds the name 'caf\\xe9.png'; expected names in UTF-8: rename it",
    ),
    "an archive as file": (small(), ["-o", "x.zip"], "--output x.zip: expected a name that ends"),
    "a folder as file": (
        small(**{"../my.toml/1.png": png(1)}),
        ["-o", "my.toml"],
        "expected a file's name",
    ),
    "a folder that is not there": (small(), ["-o", "no/such.toml"], "a folder that is there"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_new_recipe_refuses_bad_input_in_one_line(
    case: str, relevo: Relevo, tmp_path: Path
) -> None:
    files, words, expected = REFUSED[case]
    write_folder(tmp_path / "photos", files)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = relevo("new-recipe", "photos", *words, cwd=tmp_path)
    assert done.status == 2, done.err
    assert done.out == ""
    assert len(done.err.splitlines()) == 1
    assert expected in done.err
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.parametrize("words", [["caf\udce9"], ["photos", "-o", "caf\udce9.toml"]])
def test_new_recipe_refuses_a_path_that_is_not_utf8(
    words: list[str], relevo: Relevo, tmp_path: Path
) -> None:
    write_folder(tmp_path, {f"{words[0]}/{name}": data for name, data in small().items()})
    done = relevo("new-recipe", *words, cwd=tmp_path)
    assert done.status == 2
    printed = words[-1].replace("\udce9", "\\xe9")
    assert done.err == f"relevo: '{printed}': expected a name in UTF-8, as a recipe is: rename it\n"


def test_small_classes_are_named_in_one_line(relevo: Relevo, tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", small())
    printed = relevo("new-recipe", "photos", cwd=tmp_path)
    assert printed.err == "few pictures in train; more would help: a 9, b 9\n"


def test_survey_counts_photos_of_unsupported_formats_apart(relevo: Relevo, tmp_path: Path) -> None:
    photos = {"train/a/x.HEIC": b"photo", "test/b/x.heic": b"photo", "train/b/x.cr2": b"photo"}
    write_folder(tmp_path / "photos", small(**photos))
    printed = relevo("new-recipe", "photos", cwd=tmp_path)
    assert printed.err.startswith("left out, since no such picture can be read: 1 .cr2, 2 .heic; ")
    assert "18 training and 18 test pictures" in printed.out
    done = relevo("new-recipe", "photos", "--force", "--json", cwd=tmp_path).json
    assert done["unread"] == {".cr2": 1, ".heic": 2}
    assert done["pictures"]["train"] == {"a": 9, "b": 9}


def test_survey_names_what_is_left_out_and_reads_by_content(relevo: Relevo, tmp_path: Path) -> None:
    more = {"train/a/jpeg.HEIC": png(7), "train/b/no ending": png(8), "train/a/deep/1.png": png(9)}
    other = {"train/a/1.tga": bytes(300), "val/a/1.png": png(1), "train/.22LR/1.png": png(2)}
    write_folder(tmp_path / "photos", small(**more, **other))
    printed = relevo("new-recipe", "photos", cwd=tmp_path)
    assert "21 training and 18 test pictures" in printed.out
    assert printed.err.splitlines()[:-1] == [
        "left out images hidden by a dot at the beginning of a name (rename it): train/.22LR (1)",
        "left out files that are no images: .tga (1), such as train/a/1.tga",
        "left out validation images of other classes than those of train (some of train are held out"
        " instead): val/ (1), such as val/a/1.png",
    ]


def test_own_validation_pictures_are_counted_apart_and_need_no_share(
    relevo: Relevo, tmp_path: Path
) -> None:
    own = {f"valid/{label}/{i}.png": png(60 + i) for label in "ab" for i in range(4)}
    write_folder(tmp_path / "photos", small(**own))
    printed = relevo("new-recipe", "photos", cwd=tmp_path)
    assert "18 training and 18 test pictures" in printed.out
    assert "found: train/, test/, valid/ with 2 classes; the 8 of valid are the" in printed.out
    text = (tmp_path / "photos.toml").read_text()
    assert "\n# The 8 validation pictures of valid are for choosing" in text
    assert "\nvalidation =" not in text
    parse_recipe(text, "photos", {})
    done = relevo("new-recipe", "photos", "--force", "--json", cwd=tmp_path).json
    assert done["pictures"]["validation"] == {"a": 4, "b": 4}


@pytest.mark.parametrize("form", ["photos", "photos.zip"])
def test_pictures_without_a_split_are_counted_with_what_will_become_of_them(
    form: str, relevo: Relevo, tmp_path: Path
) -> None:
    files = labelled_pngs(["my/"], ["a", "b"], 20) | {
        "my/a/.DS_Store": b"x",
        "my/b/Thumbs.db": b"x",
    }
    write_any(tmp_path / form, files)
    printed = relevo("new-recipe", form, cwd=tmp_path)
    assert printed.out.splitlines()[:3] == [
        "photos.toml: 2 classes, about 32 training and 8 test pictures",
        "found: one folder for each of 2 classes in my/; no test images: about 20 % of each class are set aside"
        " for test by content; 20 % of train are held out for validation",
        "pictures: a 20, b 20",
    ]
    left_out = "left out files and folders that a system or program has left behind: "
    assert printed.err.splitlines()[:2] == [
        f"{left_out}.DS_Store (1), such as my/a/.DS_Store".replace("my/", "", 1),
        f"{left_out}Thumbs.db (1), such as my/b/Thumbs.db".replace("my/", "", 1),
    ]
    text = (tmp_path / "photos.toml").read_text()
    assert "\ntest = 0.2 " in text
    assert parse_recipe(text, "photos", {}).data.test == 0.2
    done = relevo("new-recipe", form, "--force", "--json", cwd=tmp_path).json
    assert done["set_aside_for_test"] == 0.2
    assert done["pictures"] == {"train": {"a": 16, "b": 16}, "test": {"a": 4, "b": 4}}


def test_draft_escapes_a_line_break_of_a_class_in_its_comment() -> None:
    some = dict.fromkeys(["two\nlines", "b", "c"], 50)
    first = draft(Survey(some, some, 32), "x").splitlines()[0]
    assert first.startswith(
        "# 150 training and 150 test pictures of 3 classes: two\\nlines 50, b 50"
    )


def test_new_recipe_overwrites_with_force_and_refuses_a_built_in_source(
    relevo: Relevo, tmp_path: Path
) -> None:
    write_folder(tmp_path / "photos", small(**{"../photos.toml": b"mine"}))
    assert relevo("new-recipe", "photos", "--force", cwd=tmp_path).status == 0
    assert (tmp_path / "photos.toml").read_text().startswith("# 18 training")
    assert "relevo run digits" in relevo("new-recipe", "digits", cwd=tmp_path).err


@pytest.mark.parametrize(
    ("positive", "second", "expected"),
    [(["a", "b"], "c", "--second 'c'"), (["a", "b", "c"], None, "leave one out as the rest")],
)
def test_draft_refuses_a_choice_that_leaves_no_rest(
    positive: list[str], second: str | None, expected: str
) -> None:
    three = dict.fromkeys("abc", 50)
    with pytest.raises(BadInput, match=expected):
        draft(Survey(three, three, 32), "x", positive, second)


def test_draft_of_two_classes_is_one_stage_that_the_printed_command_names(
    relevo: Relevo, tmp_path: Path
) -> None:
    write_folder(tmp_path / "photos", small())
    printed = relevo("new-recipe", "photos", "--start", "none", cwd=tmp_path)
    assert "with two classes one stage tells them apart; nothing is transferred" in printed.out
    assert printed.out.splitlines()[-1].startswith("then: relevo predict latest/all_classes ")
    text = (tmp_path / "photos.toml").read_text()
    assert "# With two classes" in text
    recipe = parse_recipe(text, "photos", {})
    assert recipe.description == "Own pictures: a or b (nothing is transferred)"
    assert list(recipe.stages) == ["all_classes"]
    readme = (ROOT / "README.md").read_text("utf-8")
    assert "relevo predict latest/all_classes more-photos" in readme


def test_damaged_pictures_are_named(relevo: Relevo, tmp_path: Path) -> None:
    files = {f"{s}/{c}/{i}.png": png(i) for s in ("train", "test") for c in "ab" for i in range(9)}
    files |= {"train/a/page.jpg": b"<html>", "train/b/empty.jpg": b""}
    write_folder(tmp_path / "photos", files)
    done = relevo("new-recipe", "photos", cwd=tmp_path)
    assert done.status == 0, done.err
    line = "no picture can be read in train/a/page.jpg, train/b/empty.jpg; mend or remove them"
    assert line in done.err
