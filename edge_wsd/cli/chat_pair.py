"""The pair that a chat talks to. It may be changed inside the chat; the models of only one pair are in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_wsd.cli.pair_choice import PairChoice
from edge_wsd.decoding.options import Options

if TYPE_CHECKING:
    from edge_wsd.pair import Pair


class ChatPair:
    """Opened by the choice of the command line; close it at last."""

    def __init__(self, choice: PairChoice, *, quiet: bool) -> None:
        self.choice = choice
        self._quiet = quiet
        self.open: Pair = choice.open(quiet=quiet)

    def change(self, choice: PairChoice) -> None:
        """Load another pair in the place of this one. If that fails, this one is loaded again and the error raised."""
        choice.pull_missing()  # before anything is given up
        self.open.close()
        try:
            self.open = choice.open(quiet=self._quiet)
        except BaseException:
            self.open = self.choice.open(quiet=self._quiet)
            raise
        self.choice = choice

    def close(self) -> None:
        self.open.close()

    @property
    def defaults(self) -> Options:
        """What an option has with this pair that nobody has set."""
        return self.choice.defaults
