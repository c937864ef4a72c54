"""The tables of a recipe: its data, label schemes, networks and stages, each with its bounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.vision.errors import nearest
from tasks.vision.recipe.names import ALLOWED, clipped, is_good_name, is_model, is_pretrained
from tasks.vision.recipe.resources import RESOURCES, Resources

Positive = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
SMALLEST = 16  # pixels per side of an image
Pixels = Annotated[int, Field(ge=SMALLEST, le=512, strict=True)]
Width = Annotated[int, Field(ge=1, le=8192, strict=True)]  # a kernel between two of these is 2.4 GB
Scale = Annotated[float, Field(gt=0, lt=1000, allow_inf_nan=False)]
# Of fine-tuning a pretrained network: what suited photos of five kinds of flowers, on their validation split.
FINE_TUNING = {
    "epochs": 5,
    "batch_size": 64,
    "frozen_blocks": 3,
    "augment": "photos",
    "restore": "best",
}
Balance = Literal["none", "sqrt", "even"]
SMALL_WIDTHS = (16, 32, 64)  # of a pretrained stage's control from scratch


class Strict(BaseModel):
    """Refuses unknown keys and values of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LabelScheme(Strict):
    """How the data's classes map onto a stage's targets."""

    targets: dict[str, list[str]] = Field(
        min_length=1, description="target: the classes that count as it"
    )
    rest: str | None = Field(None, description="the target of every other class")
    limits: dict[str, Positive] = Field(
        {}, description="target: its maximum number of training images"
    )
    correct_priors: bool = Field(
        True, description="learn the frequency of the targets without the limits"
    )

    @model_validator(mode="after")
    def _names_agree(self) -> LabelScheme:
        for label in (*self.targets, *([] if self.rest is None else [self.rest])):
            if not is_good_name(label):
                raise ValueError(
                    f"target {clipped(label)}: expected a name of {ALLOWED}; rename it"
                )
        taken: dict[str, str] = {}
        for target, classes in self.targets.items():
            if not classes:
                raise ValueError(f"target {target!r} lists no class; name at least one")
            for name in classes:
                if name in taken:
                    raise ValueError(
                        f"class {name!r} is listed in {taken[name]!r} and {target!r}; keep one"
                    )
                taken[name] = target
        if self.rest in self.targets:
            raise ValueError(f"rest = {self.rest!r} is also a target; give the rest its own name")
        for name in self.limits:
            if name not in self.labels:
                raise ValueError(f"limits names {name!r}{nearest(name, self.labels)}")
        if len(self.labels) < 2:
            raise ValueError("a scheme needs two targets, or one target and a rest")
        return self

    @property
    def labels(self) -> list[str]:
        """Names of the targets in order, the rest last."""
        return [*self.targets, *([self.rest] if self.rest else [])]

    def unused_settings(self) -> set[str]:
        """Names of the settings that have no effect in this scheme."""
        return set() if self.limits else {"correct_priors"}


class Network(Strict):
    """The network that a stage builds from scratch."""

    kind: Literal["airbench", "simple_cnn"] = "airbench"
    widths: tuple[Width, ...] = Field((64, 256, 256), min_length=1, max_length=6)
    logit_scale: float = Field(1 / 256, gt=0, description="factor on the logits of airbench")

    @property
    def least_size(self) -> int:
        """Pixels per side of the smallest image that its convolutions and poolings can process."""
        if self.kind == "airbench":
            return 2 ** len(self.widths) + 1
        size = 1
        for convolution in range(len(self.widths) - 1):
            size = size * (2 if convolution else 1) + 2
        return size

    def __str__(self) -> str:
        return f"{self.kind} {'/'.join(map(str, self.widths))}"


class ProgressiveResize(Strict):
    """Progressive resizing: a stage's first epochs use smaller images, which cost less.

    The last epoch always uses images of full size, even if `epochs` covers it.
    """

    epochs: Positive
    image_size: Pixels


def with_pretrained_defaults(given: dict[str, object]) -> dict[str, object]:
    """Return the settings of a stage with the defaults of one that starts from a pretrained network."""
    usual = {"network": {"widths": SMALL_WIDTHS}, "features": "every layer"}
    tuning = FINE_TUNING if given.get("train") == "head then all" else {}
    return {**usual, **tuning, **given}


class Stage(Resources):
    """One training step: a label scheme, a start, what is trained, and a budget."""

    labels: str = Field(
        "all", description="a scheme of [labels], or 'all' for the data's own classes"
    )
    start: str | None = Field(
        None,
        description="a stage, RUN/STAGE, @ALIAS, a model's folder, FILE.keras, or imagenet/NETWORK",
    )
    weights: str | None = Field(None, description="file of imagenet/NETWORK; else downloaded")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="hash of that file")
    train: Literal["all", "head", "head then all"] = "all"
    features: Literal["last layer", "every layer"] = Field(
        "last layer", description="layers of the frozen backbone that a head trained alone sees"
    )
    network: Network = Field(default_factory=lambda: Network.model_validate({}))
    optimizer: Literal["muon", "sgd", "adam"] = "muon"
    lr_scale: Scale = Field(1.0, description="factor on the optimizer's learning rates")
    head_lr_scale: Scale = Field(1.0, description="the same for a head trained alone, by Adam")
    epochs: Positive = Field(
        8, description="passes over the data (30 where only a head is trained)"
    )
    progressive_resize: ProgressiveResize | None = Field(
        None, description="first epochs on smaller images"
    )
    head_epochs: Positive = Field(30, description="epochs of the head alone in 'head then all'")
    frozen_blocks: int = Field(
        0, ge=0, le=5, strict=True, description="first blocks of the start that stay frozen"
    )
    perturb: float = Field(
        0.0, ge=0, lt=1, description="share of new random weights mixed into the kernels that learn"
    )
    batch_size: Positive = Field(2000, description="images per step; at most a tenth of the data")
    devices: int = Field(
        1, ge=1, le=64, strict=True, description="GPUs of one machine that share each batch"
    )
    machines: int = Field(1, ge=1, le=64, strict=True, description="workers that share each batch")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    flip: bool = Field(True, description="mirror images in every other epoch")
    shift: int = Field(2, ge=0, le=16, description="largest random shift, in pixels")
    augment: Literal["shifts", "photos"] = Field(
        "shifts", description="flip and shift, or a random part of each photo in changing light"
    )
    restore: Literal["last", "best"] = Field(
        "last",
        description="epoch whose weights count; in fine-tuning, best: clearly better than the last",
    )
    balance: Balance = Field(
        "none", description="show rare targets more often: by the root of their number, or evenly"
    )
    patience: int | None = Field(
        None,
        ge=1,
        strict=True,
        description="epochs without a better one on validation, then it ends",
    )
    controls: bool = Field(
        True, description="also train what to compare it with: from scratch and on random features"
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        if is_pretrained(given.get("start")):
            given = with_pretrained_defaults(given)
        if given.get("train") == "head":
            given = {"epochs": cls.model_fields["head_epochs"].default, **given}
        return given

    @property
    def pretrained(self) -> str | None:
        """The pretrained network that the stage starts from: imagenet/NETWORK, or a file's path or address."""
        return self.start if is_pretrained(self.start) else None

    @property
    def parent(self) -> str | None:
        """The stage that this one starts from."""
        return None if self.pretrained or self.model else self.start

    @property
    def model(self) -> str | None:
        """The trained model that the stage starts from: RUN/STAGE, @ALIAS, or a folder's path or address."""
        return self.start if is_model(self.start) else None

    def head_alone(self) -> Stage:
        """The stage that only trains the head, with which fine-tuning begins."""
        return self.model_copy(update={"train": "head"})

    @property
    def random_backbone(self) -> bool:
        """True for a control whose head is trained on a frozen random network."""
        return self.start is None and self.train != "all"

    def settings_in_key(self) -> dict[str, Any]:
        """Return the settings that can change this stage's result, for its cache key."""
        other = {"start", "weights", "sha256", "labels", "controls", *RESOURCES}
        other |= {"network"} if self.pretrained else set()  # it is that of a control
        return self.model_dump(mode="json", exclude=other | self.unused_settings())

    def unused_settings(self) -> set[str]:
        """Names of the settings that have no effect in this stage."""
        if self.pretrained:
            effective = {"labels", "start", "weights", "sha256", "train", "features", "controls"}
            effective |= {"balance", *RESOURCES, *(["network"] if self.controls else [])}
            if self.train == "head then all":
                effective |= FINE_TUNING.keys() | {"lr_scale", "label_smoothing", "devices"}
                effective |= {"progressive_resize", "patience"}
                effective |= {"flip", "shift"} if self.augment == "shifts" else set()
            return Stage.model_fields.keys() - effective
        unused = {"controls", "frozen_blocks", "perturb"} if self.start is None else {"network"}
        unused |= {"weights"} if self.model else {"weights", "sha256"}
        if self.train == "all":
            unused |= {"head_lr_scale"}
        if self.train != "head":  # fine-tuning changes the layers that such features come from
            unused |= {"features"}
        if self.train == "head":
            # flip has an effect: whether predictions are averaged over mirror images.
            unused |= {"lr_scale", "optimizer", "shift", "devices", "machines"}
            unused |= {"progressive_resize", "frozen_blocks", "perturb", "augment"}
        if self.train != "head then all":
            unused |= {"head_epochs"}
        if self.augment == "photos":
            unused |= {"shift"}
        return unused
