"""
The number of examples of a property test, and their seeds.

`make test` is derandomised: users and CI run the same examples each time. `make explore` uses fresh seeds and ten times
the examples. A failure that it finds becomes an `@example` of its property, or a test of its own, together with the
fix.
"""

from __future__ import annotations

from typing import Final

from hypothesis import HealthCheck, Phase, settings

_USUAL: Final = settings().max_examples

# Without a deadline and without "too slow": the time of an example depends on the machine.
settings.register_profile("voltmem", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", settings.get_profile("voltmem"), derandomize=False, max_examples=10 * _USUAL)
settings.load_profile("voltmem")


def times() -> int:
    """Return how many times the examples of `make test` a property runs in this run."""
    return settings().max_examples // _USUAL


def examples(count: int, *, steps: int | None = None, more: int = 1) -> settings:
    """
    Return the settings for *count* examples, or for many times as many under `make explore`.

    The examples of a test share its fixtures on purpose: each makes rows of its own, or begins with the same rows.

    Args:
        count: The number of examples in `make test`.
        steps: The maximum of steps in each example of a state machine.
        more: How many times ten times as many `make explore` makes, where the suite has no time for enough.
    """
    made = settings(
        max_examples=count * times() * (more if explores() else 1),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    return made if steps is None else settings(made, stateful_step_count=steps)


def random_examples(count: int) -> settings:
    """Return the settings of a program of its own: *count* examples of the caller's seed, none kept or made smaller."""
    return settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=False,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


def explores() -> bool:
    """Return whether this run explores new examples."""
    return not settings().derandomize
