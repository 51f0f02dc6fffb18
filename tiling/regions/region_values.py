"""What is known of some regions by their ids: a table that travels to the tiles it concerns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiling.regions.components import Ids

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RegionValues:
    """A whole number for each of some regions, such as its size or its class."""

    ids: Ids
    """Ascending."""
    values: npt.NDArray[np.int64]

    def restrict_to(self, *ids: Ids) -> RegionValues:
        """The values of these regions, and of no others."""
        wanted = np.unique(np.concatenate(ids))
        wanted = wanted[self.holds(wanted)]
        return RegionValues(wanted, self.values[np.searchsorted(self.ids, wanted)])

    def over(self, ids: Ids, values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """`values` of the regions `ids`, replaced where something else is known."""
        place, found = self._find(ids)
        result = values.copy()
        result[found] = self.values[place[found]]
        return result

    def holds(self, ids: Ids) -> Flags:
        """True for each id that has a number here."""
        return self._find(ids)[1]

    def _find(self, ids: Ids) -> tuple[npt.NDArray[np.intp], Flags]:
        place = np.searchsorted(self.ids, ids)
        found = place < self.ids.size
        found[found] = self.ids[place[found]] == ids[found]
        return place, found
