"""What a flow run and the process that trains for it say to each other, a line of JSON each."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from tasks.io.training import TrainedModel, TrainingInputs
from tasks.store.base import StoreError, Unavailable
from tasks.vision.cluster import Cluster
from tasks.vision.errors import BadInput
from tasks.vision.recipe.schema import Strict
from tasks.vision.training.state import Diverged, Progress

# Of errors that mean the same in the flow run, the most specific first.
ERRORS: dict[str, type[Exception]] = {
    each.__name__: each for each in (Unavailable, StoreError, BadInput, Diverged)
}


class Assignment(Strict):
    """What the process has to train, and with whom.

    Attributes:
        name: of the task. key: of its checkpoints. store: address.
    """

    name: str
    work: TrainingInputs
    key: str
    store: str
    cluster: Cluster


class Message(Strict):
    """News of the process; of the fields, one or two are given.

    Attributes:
        joined: all machines have met in TensorFlow's cluster.
        task, text: of an event. error: the kind of an error, whose message is `text`, and where it was raised.
        lost: the error means that another machine has left.
        trained: the training is over; `result` is of the first machine.
    """

    model_config = ConfigDict(ser_json_inf_nan="constants")  # of scores that are no number

    joined: bool = False
    task: str = Field("", max_length=1000)
    text: str = ""
    progress: Progress | None = None
    error: str = ""
    trace: str = ""
    lost: bool = False
    trained: bool = False
    result: TrainedModel | None = None
