"""The figures: they decode, are reproducible, and show every name whole or shortened."""

import re
from io import BytesIO

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image
from sklearn.datasets import load_digits

from tasks.progress import Event, listening
from tasks.reporting.figures import draw_or_skip, warn_about_missing_glyphs
from tasks.vision.evaluation.scores import Bin
from tasks.vision.figures import curves, predictions, reliability, style
from tasks.vision.figures.overfitting import overfitting

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def epochs(n: int, start: int = 1) -> list[dict]:
    return [
        {
            "epoch": start + i,
            "loss": 1 / (i + 1),
            "accuracy": 1 - 0.5 / (i + 1),
            "validation_loss": 1.1 / (i + 1),
            "validation_accuracy": 0.98 - 0.5 / (i + 1),
            "seconds": 1.5,
        }
        for i in range(n)
    ]


def scans(n: int = 7) -> tuple[np.ndarray, list[int]]:
    digits = load_digits()
    small = (digits.images[:n] * 15.9).astype(np.uint8)
    return np.kron(small, np.ones((1, 4, 4), np.uint8))[..., None].repeat(3, -1), list(
        digits.target[:n]
    )


def grid(labels: list[str] | None = None) -> Figure:
    images, truth = scans()
    probabilities = 0.9 * np.eye(10)[truth] + 0.01
    return predictions.prediction_grid(images, probabilities, labels or list("0123456789"), "grid")


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def distribution(n: int) -> Figure:
    counts = {"train": [4500] * n, "validation": [500] * n, "test": [1000] * n}
    return curves.class_distribution([f"class {i}" for i in range(n)], counts)


def confusion(n: int) -> Figure:
    matrix = (np.eye(n, dtype=int) * 90 + 3).tolist()
    return predictions.confusion_matrix(matrix, CLASSES[:n], "confusion")


def against(times: list[float]) -> Figure:
    return curves.transfer_against_scratch(
        [curves.Curve(kind, kind, times, [0.5, 0.9]) for kind in ("transfer", "scratch", "random")],
        "transfer against scratch",
    )


BINS = [
    Bin(confidence=float("nan"), accuracy=float("nan"), count=0),
    Bin(confidence=0.55, accuracy=0.4, count=10),
    Bin(confidence=0.95, accuracy=0.97, count=90),
]
DRAWINGS = {
    "class_distribution": lambda: distribution(3),
    "class_distribution of many": lambda: distribution(40),
    "loss": lambda: curves.loss_curves(epochs(12), "loss", 9),
    "loss of one epoch": lambda: curves.loss_curves(epochs(1), "loss", 1),
    "accuracy": lambda: curves.accuracy_curves(epochs(12), "accuracy", 2),
    "accuracy of many epochs": lambda: curves.accuracy_curves(epochs(90), "accuracy", 88),
    "predictions": grid,
    "no predictions": lambda: predictions.prediction_grid(
        np.empty((0, 32, 32, 3), np.uint8), np.empty((0, 2)), ["a", "b"], "none"
    ),
    "confusion of 2": lambda: confusion(2),
    "confusion of 3": lambda: confusion(3),
    "confusion of 10": lambda: confusion(10),
    "reliability": lambda: reliability.reliability_diagram(BINS, 0.021, "reliability"),
    "transfer in like times": lambda: against([2.0, 5.0]),
    "transfer in unlike times": lambda: against([0.2, 500.0]),
    "no curves": lambda: curves.transfer_against_scratch([], "none"),
    "a hostile title": lambda: curves.loss_curves(epochs(3), r"$\frac{ <b> $5 & $6", 1),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_figure_decodes_is_drawn_on_and_repeats_to_the_byte(name: str) -> None:
    first, second = style.png(DRAWINGS[name]()), style.png(DRAWINGS[name]())
    assert first == second
    picture = Image.open(BytesIO(first))
    assert picture.format == "PNG"
    assert min(picture.size) >= 200
    assert np.asarray(picture.convert("L")).std() > 1
    assert not {"Software", "Creation Time"} & set(picture.info)


def test_a_figure_of_few_colours_looks_the_same_and_is_smaller() -> None:
    whole, few = (style.png(DRAWINGS["loss"](), colours=colours) for colours in (None, 128))
    assert len(few) < len(whole) / 2
    a, b = (np.asarray(Image.open(BytesIO(each)).convert("RGB"), float) for each in (whole, few))
    assert np.abs(a - b).mean() < 0.5
    assert np.abs(a - b).max() < 60


def test_the_edge_of_every_figure_is_white_so_that_nothing_is_cut_off() -> None:
    for name, draw in DRAWINGS.items():
        pixels = np.asarray(Image.open(BytesIO(style.png(draw()))).convert("L"))
        for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
            assert edge.min() == 255, name


def test_small_pictures_are_drawn_pixel_by_pixel() -> None:
    assert {image.get_interpolation() for image in grid().axes[0].images} == {"nearest"}


def test_a_probability_is_never_rounded_up_to_certainty() -> None:
    images, _ = scans(1)
    probabilities = np.array([[0.9999, 0.0001]])
    figure = predictions.prediction_grid(images, probabilities, ["a", "b"], "sure")
    assert "a >.99" in texts(figure)


def test_long_and_odd_labels_are_shortened_and_drawn_as_they_are() -> None:
    figure = grid(["$x$ costs $5 and more than that"] * 10)
    assert texts(figure)[1] == "\\$x\\$ costs \\$5 and\nmore than t… .91"
    style.png(figure)


NAMES = [
    *("golden retriever", "labrador retriever", "zebra\tcrossing\nat night", "maine coon"),
    *("Straßenbahnhaltestelle", "traffic light", "W" * 30, "W W " * 20, "i", "two words"),
]


def test_names_of_two_words_are_drawn_whole_and_nothing_runs_over() -> None:
    for labels in (NAMES, NAMES[::-1]):
        figure = grid(labels)
        figure.draw_without_rendering()
        captions = [text.get_window_extent() for text in figure.axes[0].texts]
        frames = [image.get_window_extent() for image in figure.axes[0].images]
        for i, box in enumerate(captions):
            assert box.y0 >= 0
            assert 0 <= box.x0 < box.x1 <= figure.bbox.width
            others = [*(other for other in captions if other is not box), *frames]
            assert not any(box.overlaps(other) for other in others), labels[i]
    assert texts(grid(NAMES))[1] == "labrador\nretriever .91"


@pytest.mark.parametrize("name", ["a class of birds " * 4, "W" * 60, "$" * 60, "short"])
def test_the_longest_names_at_an_axis_leave_room_for_what_it_shows(name: str) -> None:
    counts = {split: [10, 20, 30] for split in ("train", "validation", "test")}
    names = [f"{i} {name}"[:60] for i in range(3)]
    bars = curves.class_distribution(names, counts)
    cells = predictions.confusion_matrix([[1, 2, 3]] * 3, names, "confusion")
    for figure in (bars, cells):
        figure.draw_without_rendering()
        axes = figure.axes[0]
        assert axes.get_window_extent().height > 0.3 * figure.bbox.height
        ticks = [*axes.get_xticklabels(), *axes.get_yticklabels()]
        for box in (tick.get_window_extent() for tick in ticks if tick.get_text()):
            assert 0 <= box.x0 < box.x1 <= figure.bbox.width
            assert box.y0 >= 0
        assert all(tick.get_text().endswith("…") for tick in axes.get_xticklabels()) == (
            name != "short"
        )


def test_white_space_in_a_name_is_one_space() -> None:
    odd = ["tab\tand\nnewline", "b"]
    matrix = predictions.confusion_matrix([[3, 1], [1, 3]], odd, "odd").axes[0]
    ticks = [*matrix.get_xticklabels(), *matrix.get_yticklabels()]
    assert [tick.get_text() for tick in ticks] == ["tab and newline", "b"] * 2
    assert style.new_figure(5, 1, "a\n\tb").get_suptitle() == "a b"


def test_other_scripts_fall_back_on_the_fonts_that_are_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(style, "FONTS", ("DejaVu Sans", "No Such Font", "STIXGeneral"))
    style.available_fonts.cache_clear()
    figure = style.new_figure(3, 1, "año")
    style.png(figure)
    family = figure._suptitle.get_fontfamily()  # type: ignore[attr-defined]
    style.available_fonts.cache_clear()
    assert family == ["DejaVu Sans", "STIXGeneral"]
    assert not caplog.records


def test_characters_that_no_font_has_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "FONTS", ("DejaVu Sans",))
    style.available_fonts.cache_clear()
    lacking = style.missing_glyphs("año, Ж\n犬と犬")
    style.available_fonts.cache_clear()
    assert lacking == "犬と"


def test_the_report_says_once_what_its_figures_can_not_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[Event] = []
    monkeypatch.setattr(style, "available_fonts", lambda: ["DejaVu Sans"])
    with listening(events.append):
        warn_about_missing_glyphs(["cat", "犬", "犬"])
        warn_about_missing_glyphs(["cat", "niño"])
    assert [event.message for event in events] == [
        "figures show boxes for 犬: no font here has them; install e.g. fonts-noto-cjk or -core"
    ]


def test_the_best_epoch_is_named_and_in_the_loss_curves_by_what_it_is_best() -> None:
    accuracies = texts(curves.accuracy_curves(epochs(4), "accuracy", 3))
    assert re.fullmatch(r"best epoch 3: \.\d{3}", accuracies[0])
    figure = curves.loss_curves(epochs(4), "loss", 3)
    assert texts(figure) == ["epoch 3, best accuracy"]
    train, validation = figure.axes[0].lines[:2]
    assert np.asarray(train.get_ydata()).tolist() == [1.0, 0.5, 1 / 3, 0.25]
    assert validation.get_linestyle() != train.get_linestyle()


def test_one_epoch_is_shown_as_points() -> None:
    lines = curves.accuracy_curves(epochs(1), "accuracy", 1).axes[0].lines
    assert all(line.get_marker() not in ("", "None", None) for line in lines[:2])


def test_the_confusion_matrix_says_counts_and_row_shares() -> None:
    figure = predictions.confusion_matrix([[880, 120], [0, 0]], ["car", "other"], "confusion")
    assert texts(figure) == ["880", "88\xa0%", "120", "12\xa0%", "0", "0"]


@pytest.mark.parametrize("labels", [25, 200])
def test_a_figure_of_many_labels_stays_small(labels: int) -> None:
    """Each number in a cell costs memory: with those of 200 labels it took 8.8 GB."""
    names = [f"label {i}" for i in range(labels)]
    matrix = predictions.confusion_matrix(np.eye(labels, dtype=int).tolist(), names, "confusion")
    assert texts(matrix) == []
    counts = curves.class_distribution(names, {"train": [1] * labels})
    for figure in (matrix, counts):
        axes = figure.axes[0]
        assert 12 < len(axes.get_xticklabels()) <= 60
        with Image.open(BytesIO(style.png(figure))) as picture:
            assert max(picture.size) <= 3200


def test_a_figure_that_cannot_be_drawn_is_left_out() -> None:
    events: list[Event] = []
    with listening(events.append):
        drawn = dict(draw_or_skip("a/loss", lambda: curves.loss_curves([], "loss", 1)))
        drawn |= dict(draw_or_skip("b/loss", lambda: curves.loss_curves(epochs(2), "loss", 1)))
    assert list(drawn) == ["b/loss"]
    assert len(events) == 1
    assert events[0].message.startswith("skipped the figure a/loss, which can't be drawn (")


def test_empty_bins_are_left_out() -> None:
    upper, lower = reliability.reliability_diagram(BINS, 0.021, "reliability").axes
    assert np.asarray(upper.lines[1].get_xdata()).tolist() == [0.55, 0.95]
    assert [r.get_height() for r in lower.patches if isinstance(r, Rectangle)] == [0.1, 0.9]
    assert "calibration error (ECE) .021" in upper.get_title(loc="left")


def test_time_is_logarithmic_only_where_times_differ_much() -> None:
    assert against([0.2, 500.0]).axes[0].get_xscale() == "log"
    assert against([2.0, 5.0]).axes[0].get_xscale() == "linear"
    assert against([2.0, 5.0]).axes[0].get_xlim()[0] == 0


def test_a_baseline_of_one_epoch_is_a_point_in_the_legend_too() -> None:
    one = curves.Curve("scratch", "scratch", [3.0], [0.5])
    figure = curves.transfer_against_scratch([one], "one")
    (line,) = figure.legends[0].legend_handles
    assert isinstance(line, Line2D)
    assert (line.get_linestyle(), line.get_marker()) == ("None", "s")


def a_history(validation: list[float], accuracy: list[float] | None = None) -> list[dict]:
    rising = accuracy or [0.5 + 0.01 * i for i in range(len(validation))]
    return [
        {"epoch": i, "accuracy": a, "validation_loss": v, "validation_accuracy": 0.5 + i / 100}
        for i, (a, v) in enumerate(zip(rising, validation, strict=True), start=1)
    ]


def test_overfitting_is_named_with_its_epoch_and_its_size() -> None:
    rows = a_history([0.6, 0.4, 0.44, 0.5, 0.6])
    rows = [
        {name: float(value) for name, value in row.items()} for row in rows
    ]  # as cards keep them
    said = (
        "Overfitting from epoch 3: training accuracy still rises (.510 to .540) while validation "
        "loss increases from its minimum, .400 at epoch 2, to .600 at epoch 5 (+50\xa0%). "
    )
    assert overfitting(rows) == said + (
        "Validation accuracy did not fall: .520 at epoch 2, .550 at the end. The model only "
        "becomes more confident in its mistakes."
    )
    rows[-1]["validation_accuracy"] = 0.5
    assert overfitting(rows) == said + ("Validation accuracy fell from .520 at epoch 2 to .500.")


@pytest.mark.parametrize(
    ("why", "history"),
    [
        ("no epoch at all", []),
        ("one epoch", a_history([0.6])),
        ("validation still falls", a_history([0.6, 0.5, 0.4, 0.3])),
        ("one bad epoch at the end", a_history([0.6, 0.4, 0.6])),
        ("two bad epochs at the end", a_history([0.6, 0.4, 0.6, 0.7])),
        ("one bad epoch, then recovery", a_history([0.6, 0.4, 0.7, 0.41, 0.40])),
        ("too little to tell", a_history([0.6, 0.4, 0.41, 0.41, 0.415])),
        ("tiny losses double", a_history([0.6, 0.002, 0.004, 0.004, 0.004])),
        ("training falls too", a_history([0.6, 0.4, 0.5, 0.6], [0.5, 0.9, 0.8, 0.7])),
        ("training went astray", a_history([0.6, 0.4, float("nan"), float("nan")])),
        ("nothing but NaN", a_history([float("nan")] * 3)),
    ],
)
def test_curves_that_do_not_show_overfitting_say_nothing(why: str, history: list[dict]) -> None:
    assert overfitting(history) == "", why


def test_a_long_title_is_drawn_whole() -> None:
    title = "ten_class_from_a_stage_with_a_long_name: the most confident mistakes"
    for width in (3.4, 5.0):
        figure = style.new_figure(width, 2.0, title)
        figure.draw_without_rendering()
        assert figure.get_suptitle() == title
        box = figure._suptitle.get_window_extent()  # type: ignore[attr-defined]
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width
