"""What a pair has learnt about speed: what its passes cost, and how proposals and switches went in all its replies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_wsd.decoding.acceptance import Acceptance
from edge_wsd.decoding.ahead import Switches
from edge_wsd.decoding.costs import Costs
from edge_wsd.decoding.pace import Proposals
from edge_wsd.decoding.proposal import PROPOSERS, ProposerName


class Experience:
    """Changed by the thread that decodes; others may take a snapshot at any time."""

    def __init__(
        self,
        costs: Costs | None = None,
        acceptance: Mapping[ProposerName, Acceptance] | None = None,
        switches: Switches | None = None,
    ) -> None:
        self.costs = costs or Costs()
        self.proposals = {name: Proposals((acceptance or {}).get(name)) for name in PROPOSERS}
        self.switches = switches or Switches()

    def snapshot(self) -> dict[str, Any]:
        """What is worth remembering, for JSON."""
        return {
            "costs": self.costs.snapshot(),
            "acceptance": {name: of.acceptance.snapshot() for name, of in self.proposals.items()},
            "switches": self.switches.snapshot(),
        }

    @classmethod
    def of(cls, snapshot: Mapping[str, Any]) -> Experience:
        """Raises ValueError, TypeError, KeyError, AttributeError or OverflowError if it is not a snapshot."""
        return cls(
            Costs.of(snapshot["costs"]),
            {name: Acceptance.of(snapshot["acceptance"][name]) for name in PROPOSERS},
            Switches.of(snapshot["switches"]),
        )
