"""Which arrays are recorded, by the globs of --taps."""

import fnmatch

from assay._errors import UsageError
from assay._text import missing_name


class Wanted:
    """Called with a name: whether its array is recorded. Without globs all are."""

    def __init__(self, globs: list[str]) -> None:
        self._globs = globs
        self._unused = set(globs)
        self._seen: dict[str, None] = {}

    def __call__(self, name: str) -> bool:
        self._seen[name] = None
        fitting = [glob for glob in self._globs if fnmatch.fnmatchcase(name, glob)]
        self._unused.difference_update(fitting)
        # The tokens are always there.
        return not self._globs or bool(fitting) or name == "input_ids"

    def expect_all_used(self) -> None:
        """After the first run: UsageError for a glob that no name fits."""
        for glob in self._globs:
            if glob in self._unused:
                raise UsageError(f"--taps: {missing_name(glob, list(self._seen), 'this model')}")
