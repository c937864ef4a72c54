"""Bad images, archives and full disks: one line, exit status 2, and nothing half-written."""

from __future__ import annotations

import resource
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.command import ROOT, SMALL, Outcome, Relevo, environment, in_one_process
from support.images import png, write_folder, write_tar, write_zip

pytestmark = pytest.mark.slow

RECIPE = """
[data]
source = "photos"
image_size = 16
[stages.baseline]
epochs = 1
network = { widths = [8] }
"""


def photos(classes: tuple[str, ...] = ("cat", "dog"), count: int = 20) -> dict[str, bytes]:
    names = [(split, label) for split in ("train", "test") for label in classes]
    return {
        f"{split}/{label}/{i}.png": png(100 * n + i, (16, 16))
        for n, (split, label) in enumerate(names)
        for i in range(count)
    }


def huge() -> bytes:
    """A PNG whose header claims 50,000 x 50,000 pixels."""
    whole = bytearray(png(0))
    whole[16:24] = (50_000).to_bytes(4) * 2
    whole[29:33] = zlib.crc32(whole[12:29]).to_bytes(4)
    return bytes(whole)


def linked(path: Path) -> Path:
    write_tar(path, photos())
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("train/cat/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return path


def no_utf8(path: Path) -> Path:
    write_folder(path, photos())
    Path(str(path / "train" / "cat") + "/\udcff.png").write_bytes(png(1))
    return path


def inflating(path: Path) -> Path:
    """A zip of some kilobytes that unpacks to more than a thousand times its size."""
    return write_zip(path, {**photos(), **{f"train/cat/{i}.txt": bytes(10**8) for i in range(2)}})


def without(part: str) -> dict[str, bytes]:
    return {name: data for name, data in photos().items() if not name.startswith(part)}


# Case: how to make the images, and a part of the message.
DATA: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no such path": (lambda p: p, "isn't there"),
    "an empty class": (lambda p: write_folder(p, {**photos(), "train/owl/": b""}), "owl"),
    "no train": (lambda p: write_folder(p, without("train")), "train"),
    "a class that train lacks": (
        lambda p: write_folder(p, {**photos(), "test/owl/1.png": png(1)}),
        "owl",
    ),
    "text files called .png": (
        lambda p: write_folder(
            p, {**photos(), **{f"train/cat/t{i}.png": b"text" for i in range(9)}}
        ),
        "t0.png",
    ),
    "a climbing path": (
        lambda p: write_zip(p.with_suffix(".zip"), {"../x.png": b"", **photos()}),
        "..",
    ),
    "an absolute path": (
        lambda p: write_tar(p.with_suffix(".tar"), {**photos(), "/etc/x.png": b""}),
        "/etc/x.png",
    ),
    "a link": (lambda p: linked(p.with_suffix(".tar")), "link"),
    "a thousandfold inflation": (
        lambda p: inflating(p.with_suffix(".zip")),
        "unpack to more",
    ),
    "a name that is not UTF-8": (no_utf8, "UTF-8"),
    "one image of a class": (lambda p: write_folder(p, photos(count=1)), "has one training image"),
    "a text file": (lambda p: write_folder(p.parent, {"data": b"text"}) / "data", "no folder"),
}

LONG = "x" * 300  # more than a file system's name may have

# Case: arguments, and a part of the message.
WORDS: dict[str, tuple[list[str], str]] = {
    "a misspelt recipe": (["run", "digit"], "did you mean 'digits'?"),
    "a folder as recipe": (["run", "tests"], "relevo new-recipe tests"),
    "a setting without effect": (["run", "--set=stages.transfer.head_epochs=3"], "has no effect"),
    "a store below a file": (["run", "--store", "README.md/store"], "can't be written"),
    "a store with too long a name": (["run", "--store", f"/tmp/{LONG}"], "can't be written"),
    "runs in a store with too long a name": (["runs", "--store", f"/tmp/{LONG}"], "can't be read"),
    "a plan in a store with too long a name": (
        ["plan", "--store", f"/tmp/{LONG}"],
        "can't be read",
    ),
    "a store in nobody's home": (["runs", "--store", "~nobody-here/x"], "no home"),
    "a recipe with too long a name": (["run", LONG], "can't be a path"),
    "a model with too long a name": (["predict", f"{LONG}/x", "README.md"], "can't be a path"),
    "a table below too long a name": (
        ["predict", "a/b", "x.png", f"--csv={LONG}/x.csv"],
        "too long",
    ),
    "a draft below too long a name": (["new-recipe", "tests", "-o", f"{LONG}/x.toml"], "too long"),
    "a model below too long a name": (["export", "a/b", f"{LONG}/x"], "too long"),
    "deployments of too long a name": (["deploy", "--files", LONG], "too long"),
    "a store of another kind": (["run", "--store", "ftp://x"], "give a folder or s3://"),
    "an unknown key": (["run", "--set", "stages.baseline.epoch=3"], "did you mean 'epochs'?"),
    "an unknown table": (["run", "--set", "stage.baseline.epochs=3"], "did you mean 'stages'?"),
    "two settings in one": (
        ["plan", "--set", "stages.baseline.epochs=3\nseed=3"],
        "is more than one value",
    ),
    "two words in one": (["plan", "--set", "name=a\nseed=3"], "is more than one value"),
    "two seeds": (["plan", "--seed", "3", "--set", "seed=4"], "seed is given as 4 and as 3"),
    "a setting without a value": (["run", "--set", "epochs"], "expected PATH=VALUE"),
    "an unknown class": (["run", "--set", 'labels.one.targets={one=["11"]}'], "class '11'"),
    "a circle": (
        ["run", "--set=stages.baseline.start='transfer'", "--set=stages.baseline.train='head'"],
        "in a circle: ",
    ),
    "no epochs": (["run", "--set", "stages.baseline.epochs=0"], "epochs = 0"),
    "negative epochs": (["run", "--set", "stages.baseline.epochs=-1"], "epochs = -1"),
    "a scale that is no number": (
        ["run", "--set", "stages.baseline.lr_scale=nan"],
        "lr_scale = nan",
    ),
    "everything for validation": (["run", "--set", "data.validation=1.0"], "validation = 1.0"),
    "a GPU that is not there": (["run", "--set", "require_gpu=true"], "TensorFlow sees only CPU:0"),
    "a GPU that only workers need": (
        ["run", "--set", "require_gpu=true", "--dispatch", "workers"],
        "the server has no deployment train-stage/worker",
    ),
    "a port that is none": (["server", "--port", "0"], "expected a port, 1 to 65535"),
    "a host that is none": (["server", "--host", "no.such.host.invalid"], "can't listen at"),
    "a misspelt stage": (["run", "--stage", "transfers"], "did you mean 'transfer'?"),
    "a table in place of a picture": (
        ["predict", "a/b", "README.md", "--csv", "tests/../README.md", "--force"],
        "is one of the images in README.md",
    ),
    "a grid among the pictures": (
        ["predict", "a/b", "tests", "--grid", "tests/seen.png"],
        "would be read as an image of tests next time",
    ),
    "a table beside the pictures": (
        ["predict", "a/b", "tests", "--csv", "tests/seen.csv"],
        "no runs yet",
    ),
    "a table that is there": (["predict", "a/b", "tests", "--csv", "README.md"], "--force overw"),
    "what would clear a terminal": (
        ["predict", "a/b", "tests", "--csv", "no\x1b[2J/x.csv"],
        "--csv no\\x1b[2J/x.csv: ",
    ),
    "one file for two": (["predict", "a/b", "tests", "--csv=s.png", "--grid=s.png"], "both name"),
    "a seed in words": (["run", "--seed", "many"], "--seed"),
    "a seed that is no whole number": (["plan", "--seed", "1.7"], "--seed '1.7': expected a whole"),
    "one and a half runs to keep": (["gc", "--keep-last", "1.5"], "--keep-last '1.5': expected a"),
    "one and a half GPUs": (["deploy", "--gpus", "1.5"], "--gpus '1.5': expected a whole number"),
    "no age": (["gc", "--older-than", ""], "--older-than is empty; leave the option out"),
    "no name for a store": (["runs", "--store="], "--store is empty; leave the option out"),
    "no name for images": (["plan", "--data", ""], "--data is empty; leave the option out"),
    "no name for a recipe": (["new-recipe", "tests", "-o", ""], "-o is empty; leave the option"),
    "no name for a run": (["compare", "latest", ""], "an argument is empty; give a value"),
    "a language without a name": (["run", "--lang", ""], "--lang is empty; leave the option out"),
    "a language without a report": (["run", "--lang", "fr"], "--lang"),
    "a misspelt command": (["runn"], "run"),
    "no run yet": (["show", "yesterday"], "no runs yet"),
    "no stage of a run": (["evaluate", "baseline", "--data", "digits"], "expected RUN/STAGE"),
    "a split that no data has": (
        ["evaluate", "a/b", "--data=digits", "--split=validation"],
        '"validation" for --split. Choose from: "test", "valid", "train"',
    ),
    "two splits": (
        ["evaluate", "a/b", "--data=digits", "--split=train,test"],
        '"train,test" for --split. Choose from: "test", "valid", "train"',
    ),
    "no model yet": (["evaluate", "latest/baseline", "--data", "digits"], "no runs yet"),
}


@pytest.fixture(scope="module")
def refused(
    prefect_home: Path, server: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Outcome]]:
    """The outcomes of all cases, and the folder that holds their stores."""
    folder = tmp_path_factory.mktemp("refused")
    commands = {case: words for case, (words, _) in WORDS.items()}
    for case, (make, _) in DATA.items():
        (folder / case).mkdir()
        recipe, data = folder / case / "mine.toml", make(folder / case / "data")
        recipe.write_text(RECIPE)
        commands[case] = ["run", str(recipe), "--data", str(data)]
    env = {"PREFECT_API_URL": server, "CUDA_VISIBLE_DEVICES": "-1"}
    return folder, in_one_process(commands, folder, prefect_home, **env)


@pytest.mark.parametrize("case", [*DATA, *WORDS])
def test_bad_input_gets_one_line_and_status_2(
    case: str, refused: tuple[Path, dict[str, Outcome]]
) -> None:
    """One line on standard error, nothing on standard output, and no or an empty store."""
    folder, outcomes = refused
    done, (_, expected) = outcomes[case], {**DATA, **WORDS}[case]
    assert done.status == 2, done.err
    assert done.out == ""
    lines = [line for line in done.err.splitlines() if not line.startswith("prepare data:")]
    assert len(lines) == 1, done.err
    assert lines[0].startswith("relevo: ")
    assert expected in lines[0]
    assert files_in(folder / case / "store") == {}


def test_empty_server_address_counts_as_unset(relevo: Relevo) -> None:
    done = relevo("deploy", env={"PREFECT_API_URL": ""})
    assert done.status == 2
    assert done.err.startswith("relevo: there is no Prefect server; set PREFECT_API_URL")
    assert len(done.err.splitlines()) == 1


def files_in(store: Path) -> dict[Path, bytes]:
    """The files in a store, without empty lock files."""
    found = (path for path in store.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in found if path.stat().st_size}


def test_evaluate_refuses_unknown_classes(relevo: Relevo, server: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    env = {"PREFECT_API_URL": server, "RELEVO_STORE": str(store)}
    (tmp_path / "mine.toml").write_text(RECIPE)
    data = write_folder(tmp_path / "data", photos())
    relevo("run", str(tmp_path / "mine.toml"), "--data", str(data), "--json", env=env).json  # noqa: B018
    before = files_in(store)
    owls = write_folder(tmp_path / "owls", photos(("cat", "owl")))
    done = relevo("evaluate", "latest/baseline", "--data", str(owls), env=env)
    assert done.status == 2
    assert done.out == ""
    assert "owl" in done.err.splitlines()[-1]
    words = ["evaluate", "latest/baseline", "--data", str(data)]
    done = relevo(*words, "--split", "train", env=env)
    assert done.out.startswith("40 images, ")
    assert "the model's own training images, if it was trained on this data" in done.err
    assert relevo(*words, env=env).err == ""
    own = {name.replace("test/", "val/"): png for name, png in photos().items() if "test" in name}
    write_folder(data, own)
    done = relevo(*words, "--split", "valid", env=env)
    assert (done.out.partition(",")[0], done.err) == (f"{len(own)} images", "")
    apart = {name.partition("/")[2]: png for name, png in photos().items() if "test" in name}
    apart |= {"cat/broken.png": b"", "dog/notes.txt": b"", "dog/deep/1.png": apart["dog/0.png"]}
    done = relevo(
        "evaluate", "latest/baseline", "--data", str(write_folder(tmp_path / "a", apart)), env=env
    )
    assert done.out.startswith(f"{len(apart) - 2} images, ")
    assert done.err.splitlines() == [
        "there is no split test; scored its folders as classes",
        "left out cat/broken.png: an empty file, not an image",
        "left out files that are no images: .txt (1), such as dog/notes.txt",
    ]
    assert files_in(store) == before


def test_run_reports_damaged_files_and_reads_every_mode(
    relevo: Relevo, server: str, tmp_path: Path
) -> None:
    data = write_folder(tmp_path / "data", photos(count=60))
    folder = data / "train" / "cat"
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    for mode in ("L", "P", "RGBA", "LA", "1"):
        grey.convert("RGB" if mode == "P" else "L").convert(mode).save(folder / f"mode{mode}.png")
    grey.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 256).save(folder / "deep.png")
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes(png(5, (16, 16))[:60])
    (folder / "huge.png").write_bytes(huge())
    (tmp_path / "mine.toml").write_text(RECIPE)
    words = ["run", str(tmp_path / "mine.toml"), "--data", str(data), "--json"]
    words += ["--store", str(tmp_path / "s"), "--set", "data.max_unreadable=0.05"]
    done = relevo(*words, env={"PREFECT_API_URL": server})
    assert done.json["stages"]["baseline"]["state"] == "trained"
    skipped = [line for line in done.err.splitlines() if "left out" in line]
    assert len(skipped) == 3
    for name in ("empty.png", "cut.png", "huge.png: 50000 x 50000 pixels"):
        assert any(name in line for line in skipped), skipped


def test_full_disk_gives_one_line(prefect_home: Path, server: str, tmp_path: Path) -> None:
    def small_files_alone() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    words = ["run", "digits", "--stage", "baseline", "--store", str(tmp_path / "s"), *SMALL]
    done = subprocess.run(
        [sys.executable, "-m", "flows", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**environment(prefect_home), "PREFECT_API_URL": server},
        preexec_fn=small_files_alone,
    )
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("prepare data:")]
    assert len(lines) == 1, done.stderr
    assert "can't be written" in lines[0]
    assert "free space" in lines[0]
    assert files_in(tmp_path / "s") == {}


def test_diverging_loss_ends_stage_without_retry(
    relevo: Relevo, server: str, tmp_path: Path
) -> None:
    """One line with the epoch and the setting to change, once."""
    words = ["run", "digits", "--stage", "ten_class", "--store", str(tmp_path / "s"), *SMALL]
    words += ["--set=stages.ten_class.optimizer='sgd'", "--set=stages.ten_class.lr_scale=900"]
    done = relevo(*words, env={"PREFECT_API_URL": server})
    assert done.status == 1, done.err
    assert done.out == ""
    last = [line for line in done.err.splitlines() if line.startswith("relevo: the run failed")]
    assert len(last) == 1, done.err
    assert "retrying once" not in done.err
    assert "in epoch 1 of 3; lower the stage's lr_scale (--set stages." in last[0]
    assert not list((tmp_path / "s").rglob("models/*")), "nothing is published"
