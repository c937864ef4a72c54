"""A recipe is strict: what is wrong in it is refused in one line with the nearest right name."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import numpy as np
import pytest
from support.command import ROOT

from flows.recipes.load import load_recipe
from tasks.vision.data.batches.targets import apply_scheme
from tasks.vision.errors import BadInput
from tasks.vision.recipe.controls import controls_of
from tasks.vision.recipe.parse import parse_recipe
from tasks.vision.recipe.schema import LabelScheme, Network, Stage
from tasks.vision.recipe.to_toml import toml_value

GOOD = """
[data]
source = "digits"
[labels.car]
targets = { car = ["1"] }
rest = "other"
[stages.baseline]
labels = "car"
[stages.transfer]
start = "baseline"
train = "head"
"""


def refused(text: str, **settings: object) -> str:
    with pytest.raises(BadInput) as caught:
        parse_recipe(text, "mine", settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_parse_recipe_orders_stages_by_their_graph() -> None:
    recipe = parse_recipe(GOOD.replace("transfer", "a_first_by_name"), "mine", {})
    assert list(recipe.ordered()) == ["baseline", "a_first_by_name"]
    assert list(recipe.ordered(["baseline"])) == ["baseline"]


@pytest.mark.parametrize("name", ["digits", "cifar10", "classroom"])
def test_built_in_recipes_have_the_five_stages(name: str) -> None:
    stages = load_recipe(name).stages
    for stage in (
        "baseline",
        "transfer",
        "ten_class",
        "ten_class_from_baseline",
        "ten_class_from_transfer",
    ):
        assert stage in stages
    assert stages["transfer"].start == "baseline"
    assert stages["transfer"].train == "head"
    assert stages["ten_class"].start is None


def test_the_exercise_limits_its_classes() -> None:
    for name in ("cifar10", "classroom"):
        limits = load_recipe(name).labels["car_truck"].limits
        assert limits == {"car": 5000, "truck": 5000, "other": 10000}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("train = ", "trian = "), "stages.transfer.trian is not there; did you mean 'train'?"),
        (("[data]", "[dta]"), "dta is not there; did you mean 'data'?"),
        (('start = "baseline"', 'start = "basline"'), "did you mean 'baseline'?"),
        (('labels = "car"', 'labels = "cars"'), "did you mean 'car'?"),
        (('[stages.baseline]\nlabels = "car"', '[stages.baseline]\nstart = "transfer"'), "circle"),
        (('rest = "other"', 'rest = "car"'), "own name"),
        (('{ car = ["1"] }', '{ car = ["1"], truck = ["1"] }'), "keep one"),
        (('train = "head"', 'train = "tail"'), "'all', 'head' or 'head then all'"),
        (('train = "head"', "epochs = 0"), "stages.transfer.epochs = 0"),
        (('train = "head"', "epochs = -3"), "stages.transfer.epochs = -3"),
        (('train = "head"', "lr_scale = nan"), "stages.transfer.lr_scale = nan"),
        (('source = "digits"', 'source = "digits"\nvalidation = 1.0'), "data.validation = 1.0"),
        (('source = "digits"', 'source = "digits"\nvalidation = 0.0'), "data.validation = 0.0"),
        (('source = "digits"', ""), "data.source is missing"),
        (("[data]", "[data"), "is not TOML"),
        (("[data]", "defaults = 3\n[data]"), "defaults = 3: expected a table of keys and values"),
        (("[stages.transfer]", '[stages."año"]'), "stage 'año': use a to z, digits and _"),
        (
            ("[stages.transfer]", f"[stages.{'a' * 300}]"),
            "stage 'aaaaaaaaaaaaaaaaaaaa…': use a to z",
        ),
        (("{ car = ", f"{{ {'c' * 61} = "), "labels.car: target 'cccccccccccccccccccc…'"),
        (("{ car = ", '{ "" = '), "target '': expected a name of 1 to 60 characters"),
        (("{ car = ", '{ "a\\nb" = '), r"target 'a\nb': expected a name of 1 to 60 characters"),
        (('rest = "other"', f'rest = "{"o" * 61}"'), "target 'oooooooooooooooooooo…'"),
        (("[labels.car]", f"[labels.{'s' * 61}]"), "labels.'ssssssssssssssssssss…': use 1 to 60"),
    ],
)
def test_fault_is_named_in_one_line(change: tuple[str, str], expected: str) -> None:
    assert change[0] in GOOD
    assert expected in refused(GOOD.replace(*change))


@pytest.mark.parametrize("name", ["", " ", "n" * 61, "../../../pwned", "a\\b", "a\nb", "a\x00b"])
def test_recipe_name_of_several_lines_or_with_a_path_is_refused(name: str) -> None:
    text = refused(GOOD, name=name)
    assert "name = '" in text
    assert "expected 1 to 60 characters" in text
    assert len(text) < 200


def test_names_of_any_language_and_of_full_length_are_valid() -> None:
    long = GOOD.replace("car = ", f'"{"車" * 60}" = ').replace("baseline", "b" * 60)
    assert parse_recipe(long, "n" * 60, {}).name == "n" * 60
    assert parse_recipe(GOOD, "mine", {"name": "año 2, “señales”"}).name == "año 2, “señales”"


@pytest.mark.parametrize("text", ['[data]\nsource = "digits"', '[data]\nsource = "x"\n[stages]\n'])
def test_recipe_without_stages_is_refused(text: str) -> None:
    assert refused(text) == "recipe 'mine': it has no stage to train; add a [stages.NAME]"


def test_frozen_blocks_leave_some_to_train() -> None:
    all_layers = GOOD.replace('train = "head"', "frozen_blocks = 2")
    assert parse_recipe(all_layers, "mine", {}).stages["transfer"].frozen_blocks == 2
    text = refused(all_layers.replace("= 2", "= 3"))
    assert "stages.transfer.frozen_blocks = 3" in text
    assert "can keep 2 of its blocks frozen" in text


def test_controls_are_not_perturbed() -> None:
    tuned = GOOD.replace('train = "head"', "frozen_blocks = 1\nperturb = 0.5")
    one = parse_recipe(tuned, "mine", {}).stages["transfer"]
    assert (one.perturb, one.frozen_blocks) == (0.5, 1)
    assert all(control.perturb == 0 for control in controls_of(one, one.network).values())


def test_head_needs_a_start() -> None:
    assert "needs a start" in refused(GOOD.replace('start = "baseline"\n', ""))


def test_settings_override_the_recipe() -> None:
    recipe = parse_recipe(GOOD, "mine", {"stages.baseline.epochs": 3, "defaults.batch_size": 7})
    assert recipe.stages["baseline"].epochs == 3
    assert [stage.batch_size for stage in recipe.stages.values()] == [7, 7]


def test_epochs_of_a_head_have_their_own_default() -> None:
    assert parse_recipe(GOOD, "mine", {}).stages["transfer"].epochs == 30
    changed = parse_recipe(GOOD, "mine", {"stages.transfer.epochs": 2}).stages["transfer"]
    assert changed.epochs == 2


def test_tables_of_a_stage_override_the_defaults_key_by_key() -> None:
    defaults = '[defaults.network]\nkind = "simple_cnn"\nwidths = [8, 8]\n'
    recipe = parse_recipe(defaults + GOOD, "mine", {"stages.baseline.network.widths": [4, 4]})
    network = recipe.stages["baseline"].network
    assert (network.kind, network.widths) == ("simple_cnn", (4, 4))
    without = parse_recipe(GOOD, "mine", {"stages.baseline.network.widths": [4]})
    assert without.stages["baseline"].network.widths == (4,)


def test_network_of_a_stage_is_that_of_its_start() -> None:
    recipe = parse_recipe(GOOD, "mine", {"stages.baseline.network.widths": [4, 5]})
    assert recipe.network(recipe.stages["transfer"]).widths == (4, 5)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("stages.transfer.head_epochs", 3, "head_epochs has no effect"),
        ("stages.transfer.frozen_blocks", 1, "frozen_blocks has no effect"),
        ("stages.baseline.frozen_blocks", 1, "frozen_blocks has no effect"),
        ("stages.transfer.perturb", 0.5, "perturb has no effect"),
        ("stages.transfer.shift", 1, "starts from 'baseline' and trains 'head'; remove it"),
        ("stages.transfer.network.widths", [4], "network has no effect"),
        ("stages.baseline.features", "every layer", "features has no effect"),
        ("stages.baseline.controls", True, "starts from nothing"),
        (
            "stages.transfer.progressive_resize",
            {"epochs": 1, "image_size": 24},
            "progressive_resize has no effect",
        ),
    ],
)
def test_setting_without_effect_is_refused(path: str, value: object, expected: str) -> None:
    assert expected in refused(GOOD, **{path: value})


@pytest.mark.parametrize("epochs", [1, 2, 4])
def test_built_in_recipe_can_be_cut_short(epochs: int) -> None:
    short = {"stages.baseline.epochs": epochs, "stages.ten_class.epochs": epochs}
    asked = load_recipe("cifar10", short)
    assert [asked.stages[name].epochs for name in ("baseline", "ten_class")] == [epochs] * 2
    cut = load_recipe("cifar10").with_max_epochs(epochs)
    assert max(stage.epochs for stage in cut.stages.values()) == epochs


@pytest.mark.parametrize(
    ("resize", "expected"),
    [
        ({"epochs": 0, "image_size": 24}, "stages.baseline.progressive_resize.epochs = 0"),
        (
            {"epochs": 2, "image_size": 32},
            "expected 16 or more for the network airbench 64/256/256, and less",
        ),
        ({"epochs": 2, "image_size": 32}, "less than the images' 32"),
        ({"epochs": 2, "image_size": 8}, "stages.baseline.progressive_resize.image_size = 8"),
        ({"epochs": 2, "size": 24}, "stages.baseline.progressive_resize.size is not there"),
        ({"epochs": 2}, "stages.baseline.progressive_resize.image_size is missing"),
    ],
)
def test_progressive_resize_of_impossible_sizes_is_refused(
    resize: dict[str, int], expected: str
) -> None:
    assert expected in refused(GOOD, **{"stages.baseline.progressive_resize": resize})


@pytest.mark.parametrize(
    ("old", "value", "new"),
    [
        ("rate", 0.5, "lr_scale"),
        ("head_rate", 0.5, "head_lr_scale"),
        ("early", {"epochs": 2, "image_size": 24}, "progressive_resize"),
        ("keep", "best", "restore"),
    ],
)
@pytest.mark.parametrize("table", ["stages.baseline", "stages.transfer", "defaults"])
def test_old_key_is_refused_with_its_new_name(
    table: str, old: str, value: object, new: str
) -> None:
    expected = f"recipe 'mine': {table}.{old} is now called {new}"
    assert refused(GOOD, **{f"{table}.{old}": value}) == expected
    line = f"{old} = {toml_value(value)}"
    assert (
        refused(
            f"{GOOD}[{table}]\n{line}"
            if table == "defaults"
            else GOOD.replace(f"[{table}]", f"[{table}]\n{line}")
        )
        == expected
    )


@pytest.mark.parametrize("table", ["stages.baseline", "defaults"])
def test_old_table_in_a_setting_is_refused_with_its_new_name(table: str) -> None:
    path = f"{table}.early.epochs"
    assert refused(GOOD, **{path: 2}) == f"--set {path}: 'early' is now called progressive_resize"


@pytest.mark.parametrize(("old", "new"), [("fast", "airbench"), ("classroom", "simple_cnn")])
@pytest.mark.parametrize("table", ["stages.baseline", "defaults"])
def test_old_network_kind_is_refused_with_its_new_name(table: str, old: str, new: str) -> None:
    path = f"{table}.network.kind"
    message = refused(GOOD, **{path: old})
    assert message == f"recipe 'mine': {path} = {old!r} is now called {new!r}"


def test_fault_in_the_defaults_is_reported_there() -> None:
    defaults = {"defaults.epochs": 0, "defaults.network.kind": "simple_cnn"}
    assert "mine': defaults.epochs = 0" in refused(GOOD, **defaults)
    assert "mine': stages.transfer.epochs = 0" in refused(
        GOOD, **{"defaults.epochs": 3, "stages.transfer.epochs": 0}
    )
    widths = {"defaults.network": {"widths": [4, 0]}}
    assert "mine': defaults.network.widths.1 = 0" in refused(GOOD, **widths)
    assert "defaults.network.kynd is not there" in refused(
        GOOD, **{"defaults.network": {"kynd": 1}}
    )


def test_layer_too_wide_for_any_memory_is_refused() -> None:
    widths = {"stages.baseline.network.widths": [32, 64, 100_000]}
    assert "less than or equal to 8192" in refused(GOOD, **widths)


def test_progressive_resize_of_a_network_for_one_image_size_is_refused() -> None:
    network = {"kind": "simple_cnn", "widths": [8, 8, 16]}
    resize = {"epochs": 2, "image_size": 24}
    settings = {"stages.baseline.network": network, "stages.baseline.progressive_resize": resize}
    assert "takes images of one size alone" in refused(GOOD, **settings)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("stages.basline.epochs", "did you mean 'baseline'?"),
        ("stages.baseline.epoch", "did you mean 'epochs'?"),
        ("stage.baseline.epochs", "did you mean 'stages'?"),
        ("sead", "did you mean 'seed'?"),
        ("seed.epochs", "is a value, not a table"),
    ],
)
def test_unknown_setting_gets_the_nearest_name(path: str, expected: str) -> None:
    message = refused("seed = 1\n" + GOOD, **{path: 3})
    assert expected in message


def test_unknown_recipe_gets_the_nearest_name() -> None:
    with pytest.raises(BadInput, match="did you mean 'digits'"):
        load_recipe("digit")


def test_scheme_maps_classes_onto_targets() -> None:
    scheme = LabelScheme(
        targets={"car": ["automobile"], "truck": ["truck"]}, rest="other", limits={}
    )
    targets = apply_scheme(scheme, ["airplane", "automobile", "truck"])
    assert targets.labels == ["car", "truck", "other"]
    assert targets.indices_of(["airplane", "automobile", "truck"]).tolist() == [2, 0, 1]
    assert not targets.binary


def test_limits_shift_the_logits_by_what_they_change_in_the_frequencies() -> None:
    names = ["automobile", "truck", "bird"]
    labels = np.repeat([0, 1, 2], [10, 10, 80])
    targets = {"car": ["automobile"], "truck": ["truck"]}
    scheme = LabelScheme(targets=targets, rest="other", limits={"other": 20})
    shift = apply_scheme(scheme, names).prior_shift(names, labels)
    assert shift == pytest.approx(np.log([0.25 / 0.1, 0.25 / 0.1, 0.5 / 0.8]))
    pair = LabelScheme(targets={"car": ["automobile"]}, rest="other", limits={"other": 10})
    assert apply_scheme(pair, names).prior_shift(names, labels) == pytest.approx(np.log([9.0]))
    as_cut = pair.model_copy(update={"correct_priors": False})
    assert apply_scheme(as_cut, names).prior_shift(names, labels).tolist() == [0.0]
    assert apply_scheme(None, names).prior_shift(names, labels).tolist() == [0.0] * 3


def test_correcting_priors_without_limits_is_refused() -> None:
    with pytest.raises(BadInput, match="correct_priors has no effect without limits"):
        load_recipe("digits", {"labels.one.correct_priors": True})


def test_limits_take_the_first_of_each_target() -> None:
    scheme = LabelScheme(targets={"car": ["automobile"]}, rest="other", limits={"other": 2})
    targets = apply_scheme(scheme, ["automobile", "bird"])
    labels = apply_scheme(None, ["automobile", "bird"]).indices_of(
        ["bird", "automobile", "bird", "bird"]
    )
    assert targets.select(["automobile", "bird"], labels)[0].tolist() == [0, 1, 2]
    everything, _ = targets.select(["automobile", "bird"], labels, limited=False)
    assert everything.tolist() == [0, 1, 2, 3]


def test_class_that_the_data_lacks_gets_the_nearest_name() -> None:
    scheme = LabelScheme(targets={"car": ["automobil"]}, rest="other", limits={})
    with pytest.raises(BadInput, match="did you mean 'automobile'"):
        apply_scheme(scheme, ["automobile", "bird"])


def test_recipe_of_the_readme_is_valid() -> None:
    readme = (ROOT / "flows/recipes/README.md").read_text("utf-8")
    found = re.search(r"```toml\n(\[data\].*?)```", readme, re.S)
    assert found
    recipe = parse_recipe(found[1], "mine", {})
    assert recipe.stages["transfer"].features == "every layer"
    assert recipe.stages["fine_tuned"].train == "head then all"


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("stages.baseline.epochs", True, "should be a valid integer"),
        ("stages.baseline.epochs", 10**23, "less than or equal to 1000000"),
        ("stages.baseline.epochs", 0, "greater than or equal to 1"),
        ("stages.baseline.lr_scale", float("nan"), "finite number"),
        ("seed", 2**64, "less than"),
        ("stages.baseline", 3, "expected a table of keys and values"),
        ("stages..epochs", 3, "a key is empty"),
    ],
)
def test_values_that_make_no_sense_are_refused(path: str, value: object, expected: str) -> None:
    assert expected in refused(GOOD, **{path: value})


def test_features_of_fine_tuning_are_refused() -> None:
    text = GOOD.replace('train = "head"', 'train = "head then all"\nfeatures = "every layer"')
    assert "stages.transfer.features has no effect" in refused(text)


def test_network_too_deep_for_its_images_is_refused() -> None:
    deep = {"stages.baseline.network.kind": "airbench", "stages.baseline.network.widths": [4] * 5}
    assert "too small for the network airbench 4/4/4/4/4, which needs 33" in refused(GOOD, **deep)


def test_unreadable_recipe_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"# caf\xe9\n")
    with pytest.raises(BadInput, match="give a UTF-8 TOML file"):
        load_recipe(str(path))

    def refuse(*_: object, **__: object) -> str:  # root can read everything
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "open", refuse)
    expected = r"can't be read \(Permission denied\); expected .* change its permissions$"
    with pytest.raises(BadInput, match=expected):
        load_recipe(str(path))


FILE = 'start = "models/net.keras"\ntrain = "head"'
HEAD = {"train": "head", "features": "every layer", "balance": "none"}


def from_file(text: str = FILE, **settings: object) -> dict[str, Stage]:
    """The stages of a recipe whose one stage starts from a file."""
    toml = f'[data]\nsource = "digits"\n[stages.own]\n{text}\n'
    return parse_recipe(toml, "mine", settings).stages


def test_stage_may_start_from_a_keras_file() -> None:
    stage = from_file(f'{FILE}\nsha256 = "{"a" * 64}"\nfeatures = "every layer"')["own"]
    assert (stage.pretrained, stage.parent) == ("models/net.keras", None)
    assert stage.settings_in_key() == HEAD
    assert from_file('train = "head"', **{"stages.own.start": "s3://b/X.KERAS"})["own"].pretrained


def test_stage_may_start_from_a_network_by_name() -> None:
    named = 'start = "imagenet/resnet50"\ntrain = "head"\nweights = "w.h5"'
    stage = from_file(named)["own"]
    assert (stage.pretrained, stage.parent) == ("imagenet/resnet50", None)
    assert stage.settings_in_key() == HEAD


def test_controls_of_a_file_cost_little() -> None:
    assert controls_of(from_file(f"{FILE}\ncontrols = false")["own"], Network()) == {}
    stage = from_file()["own"]
    scratch, sample, random = controls_of(stage, stage.network).values()
    assert (scratch.start, scratch.train, scratch.epochs) == (None, "all", 1)
    assert scratch.network.widths == (16, 32, 64)
    assert scratch.settings_in_key()["max_image_size"] == 32
    assert sample.pretrained == random.pretrained == stage.pretrained
    keys = [each.settings_in_key() for each in (stage, sample, random)]
    assert [key.get("sample") for key in keys] == [None, True, True]
    assert keys[1] != keys[2]


def test_network_of_a_files_control_may_be_chosen() -> None:
    for widths, size in (([8], 32), ([8] * 6, 65)):
        settings: dict[str, object] = {"stages.own.network.widths": widths, "data.image_size": 224}
        small = from_file(FILE, **settings)["own"]
        scratch = controls_of(small, small.network)["scratch"]
        assert scratch.network.widths == tuple(widths)
        assert scratch.settings_in_key()["max_image_size"] == size, "images that it can process"
        assert small.settings_in_key() == from_file()["own"].settings_in_key()


def test_fine_tuning_a_file_has_defaults_of_its_own_and_controls() -> None:
    stage = from_file('start = "a.keras"\ntrain = "head then all"')["own"]
    assert (stage.frozen_blocks, stage.augment, stage.restore) == (3, "photos", "best")
    controls = controls_of(stage, stage.network)
    assert {kind: control.train for kind, control in controls.items()} == {
        "scratch": "all",
        "sample": "head",
        "random": "head",
    }
    assert controls["scratch"].augment == "shifts"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('start = "a.keras"', "stages.own.train = 'all': a pretrained network needs a new head"),
        ('start = "a.h5"\ntrain = "head"', "expected a Keras 3 file, FILE.keras; save"),
        (f"{FILE}\nweights = 'w.h5'", "has weights of its own; remove it"),
        ("weights = 'w.h5'", "stages.own.weights has no effect"),
        (f"{FILE}\nsha256 = 'abc'", "stages.own.sha256 = 'abc'"),
        (f"{FILE}\nepochs = 3", "stages.own.epochs has no effect"),
        (f"{FILE}\ncontrols = false\nnetwork.widths = [8]", "stages.own.network has no effect"),
        (f"sha256 = '{'a' * 64}'", "stages.own.sha256 has no effect, since the stage starts from"),
        (
            f'{FILE}\n[stages.next]\nstart = "own"\ntrain = "head"',
            "stages.next.start = 'own': that stage starts from the pretrained network "
            "'models/net.keras'; start from that too",
        ),
    ],
)
def test_faulty_start_from_a_file_is_refused(text: str, expected: str) -> None:
    with pytest.raises(BadInput) as caught:
        from_file(text)
    assert expected in str(caught.value)
