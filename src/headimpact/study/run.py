"""A run of a study: what is trained and evaluated at a time."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """One training and its evaluation, or the evaluation of the model as it is."""

    setup: str
    variant: str
    draw: int

    @property
    def path(self) -> str:
        """The run's folder below its model's."""
        return f"{self.setup}/{self.variant}/{self.draw}"
