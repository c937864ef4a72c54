"""The tables of a recipe: its data, label schemes, networks and stages, each with its bounds.

Strict on purpose: a key that does not exist, or a value of another type, is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.vision.errors import nearest
from tasks.vision.recipe.names import ALLOWED, clipped, is_good_name

Positive = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
SMALLEST = 16  # pixels of an image's side
Pixels = Annotated[int, Field(ge=SMALLEST, le=512, strict=True)]
Width = Annotated[int, Field(ge=1, le=8192, strict=True)]  # a kernel between two of these is 2.4 GB
Scale = Annotated[float, Field(gt=0, lt=1000, allow_inf_nan=False)]


class Strict(BaseModel):
    """Refuses unknown keys and values of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Strict):
    """Where images come from and how they are cut."""

    source: str = Field(description="digits, cifar10, or a folder or archive of images")
    image_size: Pixels = Field(32, description="images become squares of this many pixels")
    validation: float = Field(0.1, gt=0, lt=1, description="share of train kept for choosing")
    max_unreadable: float = Field(
        0.01, ge=0, lt=1, description="share of images that may be damaged"
    )


class LabelScheme(Strict):
    """How the data's classes map onto a stage's targets."""

    targets: dict[str, list[str]] = Field(
        min_length=1, description="target: the classes that count as it"
    )
    rest: str | None = Field(None, description="the target of every other class")
    limits: dict[str, Positive] = Field({}, description="target: at most so many training images")
    correct_priors: bool = Field(
        True, description="learn how frequent the targets are without the limits"
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
                        f"class {name!r} stands in {taken[name]!r} and {target!r}; keep one"
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
        """Target names in order, the rest last."""
        return [*self.targets, *([self.rest] if self.rest else [])]

    def unused_settings(self) -> set[str]:
        """The settings that say nothing about what this scheme does."""
        return set() if self.limits else {"correct_priors"}


class Network(Strict):
    """Which network a stage that starts from scratch builds."""

    kind: Literal["airbench", "simple_cnn"] = "airbench"
    widths: tuple[Width, ...] = Field((64, 256, 256), min_length=1, max_length=6)
    logit_scale: float = Field(1 / 256, gt=0, description="factor on the logits of airbench")

    @property
    def least_size(self) -> int:
        """The smallest square image, in pixels, of which its convolutions and poolings leave something."""
        if self.kind == "airbench":
            return 2 ** len(self.widths) + 1
        size = 1
        for convolution in range(len(self.widths) - 1):
            size = size * (2 if convolution else 1) + 2
        return size

    def __str__(self) -> str:
        return f"{self.kind} {'/'.join(map(str, self.widths))}"


class ProgressiveResize(Strict):
    """Progressive resizing: a stage's first epochs, on smaller images that cost less.

    The last epoch is always on images of full size, however many these are.
    """

    epochs: Positive
    image_size: Pixels


class Stage(Strict):
    """One training step: a label scheme, a start, what is trained, and a budget."""

    labels: str = Field(
        "all", description="a scheme of [labels], or 'all' for the data's own classes"
    )
    start: str | None = Field(None, description="the stage whose model this one starts from")
    train: Literal["all", "head", "head then all"] = "all"
    features: Literal["last layer", "every layer"] = Field(
        "last layer", description="what a head trained alone sees of its frozen backbone"
    )
    network: Network = Field(default_factory=lambda: Network.model_validate({}))
    optimizer: Literal["muon", "sgd", "adam"] = "muon"
    lr_scale: Scale = Field(1.0, description="factor on the optimizer's own learning rates")
    head_lr_scale: Scale = Field(1.0, description="the same for a head trained alone, by Adam")
    epochs: Positive = Field(
        8, description="passes over the data (30 where only a head is trained)"
    )
    progressive_resize: ProgressiveResize | None = Field(
        None, description="first epochs on smaller images, which cost less"
    )
    head_epochs: Positive = Field(30, description="the head's own, before all, in 'head then all'")
    frozen_blocks: int = Field(
        0, ge=0, le=5, strict=True, description="first blocks handed on that stay as they are"
    )
    perturb: float = Field(
        0.0, ge=0, lt=1, description="share of new random weights mixed into the kernels that learn"
    )
    batch_size: Positive = Field(2000, description="images a step; at most a tenth of the data")
    devices: int = Field(
        1, ge=1, le=64, strict=True, description="GPUs of one machine that share each batch"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    flip: bool = Field(True, description="mirror images in every other epoch")
    shift: int = Field(2, ge=0, le=16, description="move images by up to so many pixels")
    restore: Literal["last", "best"] = Field(
        "last", description="which epoch's weights, by validation"
    )
    controls: bool = Field(
        True, description="also train the same from scratch and on random features"
    )
    timeout_minutes: Positive = 24 * 60

    @model_validator(mode="before")
    @classmethod
    def _epochs_of_a_head(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("train") == "head" and "epochs" not in given:
            return {**given, "epochs": cls.model_fields["head_epochs"].default}
        return given

    @property
    def random_backbone(self) -> bool:
        """A control: a head on a frozen network that has learnt nothing."""
        return self.start is None and self.train != "all"

    def controls_of(self, network: Network) -> dict[str, Stage]:
        """What this stage is measured against: its network from scratch, its head on random features.

        From scratch, for as many epochs as the stage trains all its layers. A head alone costs less
        than one such pass, so its control from scratch gets one. A frozen random network can only
        learn a head; it gets all the stage's epochs for that. `network` is the one handed on.
        """
        if self.start is None or not self.controls:
            return {}
        without = {"start": None, "network": network, "frozen_blocks": 0, "perturb": 0.0}
        same = self.model_copy(update=without)
        passes = 1 if self.train == "head" else self.epochs
        scratch = same.model_copy(update={"train": "all", "epochs": passes})
        passes = self.epochs + (self.head_epochs if self.train == "head then all" else 0)
        random = same.model_copy(update={"train": "head", "epochs": passes})
        return {"scratch": scratch, "random": random}

    def settings_in_key(self) -> dict[str, Any]:
        """The settings that can change this stage's result: names, limits of time and such left out."""
        idle = {"start", "labels", "controls", "timeout_minutes"}
        return self.model_dump(mode="json", exclude=idle | self.unused_settings())

    def unused_settings(self) -> set[str]:
        """The settings that say nothing about what this stage trains."""
        idle = {"controls", "frozen_blocks", "perturb"} if self.start is None else {"network"}
        if self.train == "all":
            idle |= {"head_lr_scale"}
        if self.train != "head":  # fine-tuning moves the layers that such features come from
            idle |= {"features"}
        if self.train == "head":
            # Its flip says whether answers may be averaged over mirror images.
            idle |= {"lr_scale", "optimizer", "shift", "devices"}
            idle |= {"progressive_resize", "frozen_blocks", "perturb"}
        if self.train != "head then all":
            idle |= {"head_epochs"}
        return idle
