"""A value of a JSON document that knows where it stands: for lines that say what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segmentation.errors import InputError


class JsonAt:
    """A value of an item and where it stands, for the one line that says what is wrong with it."""

    def __init__(self, value: Any, path: str = "") -> None:
        self.value, self.path = value, path

    def __getitem__(self, name: str) -> JsonAt:
        below = f"{self.path}.{name}" if self.path else name
        mapping = self.mapping()
        if name not in mapping:
            raise InputError(f"it has no {below}")
        return JsonAt(mapping[name], below)

    def mapping(self) -> Mapping[str, Any]:
        """The value as an object; `InputError` where it is none."""
        if not isinstance(self.value, dict):
            raise InputError(f"{self.path or 'it'} is no JSON object")
        return self.value

    def each(self) -> list[JsonAt]:
        """The entries of a list; `InputError` where it is none."""
        if not isinstance(self.value, list):
            raise InputError(f"{self.path} is no list")
        return [JsonAt(value, f"{self.path}.{place}") for place, value in enumerate(self.value)]

    def only(self) -> JsonAt:
        """The entry of a list of one; `InputError` where there are none or several."""
        every = self.each()
        if len(every) != 1:
            raise InputError(f"{self.path} has {len(every)} entries, and a bundle has one")
        return every[0]
