"""A recipe: one data source, its label schemes, and a graph of stages.

A key, stage or scheme that does not exist is refused with the nearest right name. Importing this
module imports neither TensorFlow nor Prefect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import Field, model_validator

from tasks.vision.errors import BadInput, nearest
from tasks.vision.recipe.data import Data
from tasks.vision.recipe.from_model import (
    FindModel,
    StageFromModel,
    StartModel,
    found_start,
    is_known,
)
from tasks.vision.recipe.names import ALLOWED, IMAGENET, LONGEST, clipped, is_good_name
from tasks.vision.recipe.schema import (
    SMALLEST,
    LabelScheme,
    Network,
    ProgressiveResize,
    Stage,
    Strict,
)

FOREIGN_SUFFIXES = (
    ".h5",
    ".hdf5",
    ".pb",
    ".tflite",
    ".onnx",
    ".pt",
    ".pth",
    ".pkl",
    ".safetensors",
)


class Recipe(Strict):
    """A data source and a graph of stages."""

    name: str
    description: str = ""
    data: Data
    seed: int = Field(0, ge=0, lt=2**63, strict=True)
    require_gpu: bool = Field(False, description="refuse to train on a CPU")
    labels: dict[str, LabelScheme] = Field({})
    stages: dict[str, Stage]

    @model_validator(mode="after")
    def _names_are_good(self) -> Recipe:
        if not is_good_name(self.name) or "/" in self.name or "\\" in self.name:
            raise ValueError(
                f"name = {clipped(self.name)}: expected {ALLOWED}, / or \\; give another name, or "
                "rename the file"
            )
        for scheme in self.labels:
            if not is_good_name(scheme):
                raise ValueError(f"labels.{clipped(scheme)}: use {ALLOWED}, for a scheme's name")
        for stage in self.stages:  # files and keys are named after it
            if not (stage.isascii() and stage.isidentifier() and len(stage) <= LONGEST):
                raise ValueError(
                    f"stage {clipped(stage)}: use a to z, digits and _ for a stage's name, at most "
                    f"{LONGEST} of them"
                )
        return self

    @model_validator(mode="after")
    def _graph_holds(self) -> Recipe:
        self.check_stages()
        return self

    def check_stages(self) -> None:
        """Raise ValueError unless the stages fit each other, what they start from, and the images."""
        if not self.stages:
            raise ValueError("it has no stage to train; add a [stages.NAME]")
        schemes = [*self.labels, "all"]
        for name, stage in self.stages.items():
            if stage.labels not in schemes:
                raise ValueError(
                    f"stages.{name}.labels = {stage.labels!r}{nearest(stage.labels, schemes)}"
                )
            self._check_start(name, stage)
            if stage.start is None and stage.train != "all":
                raise ValueError(
                    f"stages.{name}.train = {stage.train!r} needs a start; name a stage or train 'all'"
                )
        for name, stage in self.ordered().items():
            network = self.network(stage)
            if not is_known(self._origin(stage)):
                continue
            if stage.pretrained and not stage.controls:
                continue  # its network is checked when it is read
            if (size := self.data.image_size) < network.least_size:
                raise ValueError(
                    f"stages.{name}: images of {size} pixels are too small for the network {network}, "
                    f"which needs {network.least_size}; give it fewer widths or the images more pixels"
                )
            if stage.progressive_resize and stage.train != "head":
                self._check_resize(name, stage.progressive_resize, network)
            if stage.pretrained:
                continue  # its blocks are counted when it is read
            if (frozen := stage.frozen_blocks) and "frozen_blocks" not in stage.unused_settings():
                blocks = len(network.widths) if network.kind == "airbench" else 1
                if frozen >= blocks:
                    raise ValueError(
                        f"stages.{name}.frozen_blocks = {frozen}: the network {network} can keep "
                        f"{blocks - 1} of its blocks frozen; train = 'head' freezes all of them"
                    )

    def _check_start(self, name: str, stage: Stage) -> None:
        if stage.pretrained:
            if stage.train == "all":
                raise ValueError(
                    f"stages.{name}.train = 'all': a pretrained network needs a new head first; set "
                    "train = 'head', or 'head then all' to fine-tune it too"
                )
            if stage.weights and not stage.pretrained.startswith(IMAGENET):
                raise ValueError(
                    f"stages.{name}.weights has no effect: the file {stage.pretrained!r} has weights of its "
                    "own; remove it"
                )
        elif stage.start and stage.start.lower().endswith(FOREIGN_SUFFIXES):
            raise ValueError(
                f"stages.{name}.start = {stage.start!r}: expected a Keras 3 file, FILE.keras; save "
                "the model by model.save('FILE.keras'), or give the folder of one that relevo trained"
            )
        elif stage.parent is not None:
            if stage.parent not in self.stages:
                hint = nearest(stage.parent, self.stages)
                raise ValueError(
                    f"stages.{name}.start = {stage.parent!r}{hint} (or give RUN/STAGE or the folder "
                    "of a trained model, FILE.keras, or imagenet/NETWORK)"
                )
            if network := self.stages[stage.parent].pretrained:
                raise ValueError(
                    f"stages.{name}.start = {stage.parent!r}: that stage starts from the pretrained "
                    f"network {network!r}; start from that too"
                )

    def _check_resize(self, name: str, resize: ProgressiveResize, network: Network) -> None:
        if network.kind != "airbench":
            raise ValueError(
                f"stages.{name}.progressive_resize: the network {network} takes images of one size "
                "alone; remove it"
            )
        least, full = max(network.least_size, SMALLEST), self.data.image_size
        if not least <= resize.image_size < full:
            raise ValueError(
                f"stages.{name}.progressive_resize.image_size = {resize.image_size}: expected {least} or "
                f"more for the network {network}, and less than the images' {full}"
            )

    def with_max_epochs(self, most: int) -> Recipe:
        """Return the recipe with every stage's epochs and head_epochs limited to `most`."""
        limits = {
            name: {key: min(getattr(stage, key), most) for key in ("epochs", "head_epochs")}
            for name, stage in self.stages.items()
        }
        return self._with(limits)

    def with_hashes(self, hashes: Mapping[str, str]) -> Recipe:
        """Return the recipe with the SHA-256 of the files that these stages start from."""
        return self._with({name: {"sha256": sha256} for name, sha256 in hashes.items()})

    def _with(self, changes: Mapping[str, Mapping[str, object]]) -> Recipe:
        """Return the recipe with other settings of some stages, which are not checked."""
        changed = {name: self.stages[name].model_copy(update=new) for name, new in changes.items()}
        return self.model_copy(update={"stages": {**self.stages, **changed}})

    def with_models(self, find: FindModel) -> Recipe:
        """Return the recipe with the trained models that its stages start from, by permanent names.

        Raises:
            BadInput: there is no such model, or one that the stage can't start from.
        """
        found = {
            name: StageFromModel.of(stage, find(name, stage))
            for name, stage in self.stages.items()
            if stage.model
        }
        recipe = self.model_copy(update={"stages": {**self.stages, **found}})
        try:
            for name, stage in found.items():
                stage.check_size(name, self.data.image_size)
            recipe.check_stages()
        except ValueError as error:
            raise BadInput(f"recipe {self.name!r}: {error}") from None
        return recipe

    @property
    def models(self) -> dict[str, StartModel]:
        """The trained models that stages start from, once they are looked up, by stage."""
        found = {name: found_start(stage) for name, stage in self.stages.items()}
        return {name: each for name, each in found.items() if each}

    def ordered(self, only: Iterable[str] = ()) -> dict[str, Stage]:
        """Return the stages in graph order, parents first; with `only`, those and what they start from.

        Raises:
            BadInput: a name in `only` is no stage.
            ValueError: the starts form a cycle.
        """
        wanted = list(only) or list(self.stages)
        order: dict[str, Stage] = {}

        def visit(name: str, path: tuple[str, ...]) -> None:
            if name in path:
                circle = " -> ".join([*path[path.index(name) :], name])
                raise ValueError(f"stages start from each other in a circle: {circle}; break it")
            start = self.stages[name].parent
            if start is not None and start not in order:
                visit(start, (*path, name))
            order.setdefault(name, self.stages[name])

        for name in wanted:
            if name not in self.stages:
                raise BadInput(f"stage {name!r}{nearest(name, self.stages)}")
            visit(name, ())
        return order

    def network(self, stage: Stage) -> Network:
        """Return the network of a stage: its own from scratch, else that of what it starts from.

        For one that starts from a pretrained network, that of its control from scratch.
        """
        return self._origin(stage).network

    def _origin(self, stage: Stage) -> Stage:
        """Return the first of the stages that this one builds on, which may be itself."""
        while stage.parent is not None:
            stage = self.stages[stage.parent]
        return stage

    def scheme(self, stage: Stage) -> LabelScheme | None:
        """Return the stage's label scheme; None stands for the data's own classes."""
        return None if stage.labels == "all" else self.labels[stage.labels]
