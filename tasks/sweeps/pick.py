"""Pick the next settings to try with Optuna: a function of what was tried before, and of a seed.

The study is made again from that for each pick, so that what the store says is all there is to know, and a
search needs no database of Optuna's.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tasks.runs.sweeps.sweep_range import Range
from tasks.sweeps.grid import Settings
from tasks.sweeps.space import Space, all_settings, settings_in
from tasks.vision.recipe.to_toml import toml_value

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

State = Literal["running", "done", "failed"]
RANDOM = 10  # settings that are picked at random before the others tell anything
ATTEMPTS = 20  # to pick settings that were not tried before
MOST_LISTED = 100_000


@dataclass(frozen=True)
class Tried:
    """Settings that were picked before.

    Attributes:
        state: "failed" ones, stopped early or without a model, count as worse than all others.
        accuracy: mean on validation; None unless done.
    """

    settings: Settings
    state: State
    accuracy: float | None = None


def pick(space: Space, tried: Sequence[Tried], seed: int) -> Settings | None:
    """Return settings that were not tried before; None if there are no more.

    Picked by the tree-structured Parzen estimator, for which those under way count as poor, so that runs at
    the same time are of different settings (Bergstra et al., "Algorithms for Hyper-Parameter Optimization",
    NeurIPS 2011).

    Args:
        seed: of the search; how many were tried before counts, too.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {path: _distribution(each) for path, each in space.items()}
    past = [_trial(each, distributions) for each in tried]
    known = {_text(each.settings) for each in tried}
    for attempt in range(ATTEMPTS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that `constant_liar` is experimental, since 2021
            sampler = optuna.samplers.TPESampler(
                seed=(seed * 1_000_003 + len(tried) * ATTEMPTS + attempt) % 2**32,
                n_startup_trials=RANDOM,
                constant_liar=True,
            )
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials(past)
        found = _settings(space, study.ask(distributions).params)
        if _text(found) not in known:
            return found
    count = settings_in(space)
    if count is None or count > MOST_LISTED:
        return None
    return next((each for each in all_settings(space) if _text(each) not in known), None)


def _distribution(each: Range | list) -> BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(each, list):
        return CategoricalDistribution([toml_value(value) for value in each])
    if each.whole:
        return IntDistribution(int(each.low), int(each.high), log=each.log)
    return FloatDistribution(each.low, each.high, log=each.log)


def _trial(tried: Tried, distributions: dict[str, BaseDistribution]) -> FrozenTrial:
    from optuna.trial import TrialState, create_trial

    states = {
        "running": TrialState.RUNNING,
        "done": TrialState.COMPLETE,
        "failed": TrialState.PRUNED,  # the sampler learns from these, from failed ones it does not
    }
    return create_trial(
        state=states[tried.state],
        value=tried.accuracy,
        params={
            path: value
            if isinstance(value, int | float) and _numeric(distributions[path])
            else toml_value(value)
            for path, value in tried.settings.items()
        },
        distributions=distributions,
    )


def _numeric(distribution: BaseDistribution) -> bool:
    from optuna.distributions import CategoricalDistribution

    return not isinstance(distribution, CategoricalDistribution)


def _settings(space: Space, params: dict[str, object]) -> Settings:
    found: Settings = {}
    for path, each in space.items():
        value = params[path]
        if isinstance(each, Range):
            assert isinstance(value, int | float)
            found[path] = each.number(value)
        else:
            found[path] = next(one for one in each if toml_value(one) == value)
    return found


def _text(settings: Settings) -> str:
    return ", ".join(toml_value(value) for value in settings.values())
