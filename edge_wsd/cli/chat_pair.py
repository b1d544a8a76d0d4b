"""The pair that a chat talks to. It may be changed inside the chat; the models of only one pair are in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edge_wsd.cli.pair_choice import PairChoice
from edge_wsd.decoding.options import Options
from edge_wsd.errors import EdgeWsdError
from edge_wsd.models.pairs.known import find_pair
from edge_wsd.models.pairs.named_pair import NamedPair

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

    def reference(self) -> Mapping[str, str]:
        """What a session keeps of the pair, so that it is found again from any folder."""
        pair = self.choice.pair
        if pair.is_built_in:
            return {"name": pair.name}
        found = {key: str(value) for key, value in pair.anywhere().as_dict().items() if key in ("drafter", "base")}
        templates = {key: str(value) for key, value in self.choice.loading.items() if key.endswith("_template")}
        return {**({"name": pair.name} if pair.name else {}), **found, **templates}


def referred_pair(reference: Mapping[str, str]) -> NamedPair | None:
    """The pair that a session was held with; None if it kept none that can be found again."""
    name = reference.get("name", "")
    try:
        return find_pair(name)
    except EdgeWsdError:  # it had no name, or has been removed since: the models may be there all the same
        drafter, base = reference.get("drafter"), reference.get("base")
        if drafter is None or base is None:
            return None
        return NamedPair("", drafter, base, reference.get("drafter_template"), reference.get("base_template"))
