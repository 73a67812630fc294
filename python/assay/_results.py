"""What compare, check and diagnose found."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ._errors import CheckFailed
from ._files import replacing
from ._text import missing_name

if TYPE_CHECKING:
    from . import _core


@dataclass(frozen=True)
class TensorResult:
    """The comparison of one array.

    Attributes:
        name: The tap's name.
        verdict: "pass", "coarse" (within BF16's noise, but less accurate than the array's own type allows), "fail",
            "error" (it cannot be read as the tap) or "not compared".
        reason: Why it is not a pass.
        layer: The layer's number, or None outside the layers.
        candidate_name: The array's own name in the dump.
        relative_l2: Relative L2 distance from the reference; None if it was not compared.
        noise_ratio: The array's error from the oracle over the reference's own; None without an oracle.
        metrics: All metrics, by the names of docs/json.md.
        json: The whole result, as ``assay compare --json`` prints it.
    """

    name: str
    verdict: str
    reason: str = ""
    layer: int | None = None
    candidate_name: str = ""
    relative_l2: float | None = None
    noise_ratio: float | None = None
    metrics: dict[str, Any] = field(default_factory=dict, repr=False, hash=False)
    json: dict[str, Any] = field(default_factory=dict, repr=False, hash=False)

    @property
    def passed(self) -> bool:
        """False for "fail" and "error"."""
        return self.verdict not in ("fail", "error")

    def __bool__(self) -> bool:
        return self.passed

    @classmethod
    def _from_json(cls, tensor: dict[str, Any]) -> TensorResult:
        metrics = {k: _number(v) for k, v in tensor.get("metrics", {}).items()}
        return cls(
            tensor["name"], tensor["verdict"], tensor.get("reason", ""), tensor.get("layer"),
            tensor.get("candidate_name", ""), metrics.get("relative_l2"), _number(tensor.get("noise_ratio")),
            metrics, tensor,
        )  # fmt: skip


def _number(value: Any) -> Any:
    """JSON has neither NaN nor infinity: Assay writes them as texts."""
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value


@dataclass(frozen=True)
class Divergence:
    """Where a prompt's arrays first differ from the reference.

    Attributes:
        prompt: The prompt's id.
        tensor: The tap's name.
        text: What lies between it and the last array that passes.
    """

    prompt: str
    tensor: str
    text: str

    def __str__(self) -> str:
        return f"{self.prompt}: {self.tensor}" + (f": {self.text}" if self.text else "")


class PromptResult:
    """The comparison of one prompt's arrays: ``result["layer_00_output"]``.

    It has a length and can be iterated over: `TensorResult` after `TensorResult`, in the order of the data flow.

    Attributes:
        id: The prompt's id.
        passed: Whether nothing failed.
        tensors: The results, in the order of the data flow.
        first_divergence: A `Divergence`, or None.
        unmatched: Arrays of the dump that no rule maps to a tap.
        json: The whole result, as ``assay compare --json`` prints it.
    """

    def __init__(self, prompt: dict[str, Any]):
        self.id: str = prompt["id"]
        self.passed: bool = prompt["passed"]
        self.tensors = [TensorResult._from_json(t) for t in prompt["tensors"]]
        first = prompt["first_divergence"]
        self.first_divergence = Divergence(self.id, first["tensor"], first["text"]) if first else None
        self.unmatched: list[str] = prompt["unmatched"]
        self.json: dict[str, Any] = prompt

    def __getitem__(self, name: str) -> TensorResult:
        for tensor in self.tensors:
            if tensor.name == name:
                return tensor
        raise KeyError(missing_name(name, [t.name for t in self.tensors], f"the comparison of {self.id}"))

    def __iter__(self) -> Iterator[TensorResult]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __contains__(self, name: object) -> bool:
        return any(name in (t.name, t) for t in self.tensors)

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return f"<assay.PromptResult {self.id}: {_verdict(self.passed)}>"


def _verdict(passed: bool) -> str:
    return "PASS" if passed else "FAIL"


class Comparison:
    """What `compare` found. True if nothing failed; ``print(result)`` shows what ``assay compare`` prints.

    It can be iterated over, `PromptResult` after `PromptResult`, copied and pickled. A copy's HTML report has no
    histograms unless the comparison was made with details.

    Attributes:
        passed: Whether nothing failed.
        coarse: Whether an array is within BF16's noise but less accurate than its own type allows.
    """

    def __init__(self, report: _core.Report | _WrittenReport, detailed: Callable[[], _core.Report] | None = None):
        self._report = report
        self._detailed = detailed
        self.passed: bool = report.passed
        self.coarse: bool = report.coarse

    def __reduce__(self) -> tuple[Any, ...]:
        return Comparison, (_WrittenReport.of(self._report),)

    def __bool__(self) -> bool:
        return self.passed

    def __iter__(self) -> Iterator[PromptResult]:
        return iter(self.prompts)

    def __len__(self) -> int:
        return len(self.prompts)

    def __contains__(self, prompt: object) -> bool:
        return any(prompt in (p.id, p) for p in self.prompts)

    @cached_property
    def json(self) -> dict[str, Any]:
        """The result as ``assay compare --json`` prints it (docs/json.md)."""
        result: dict[str, Any] = json.loads(self._report.json())
        return result

    @cached_property
    def prompts(self) -> list[PromptResult]:
        """The results of the prompts."""
        return [PromptResult(prompt) for prompt in self.json["prompts"]]

    def __getitem__(self, prompt: str) -> PromptResult:
        for result in self.prompts:
            if result.id == prompt:
                return result
        raise KeyError(missing_name(prompt, [p.id for p in self.prompts], "the comparison"))

    @property
    def failed(self) -> list[TensorResult]:
        """The arrays that fail or cannot be read, prompt after prompt, in the order of the data flow."""
        return [t for p in self.prompts for t in p.tensors if not t.passed]

    @property
    def first_divergence(self) -> Divergence | None:
        """The first prompt's first divergence; None if no array fails."""
        return next((p.first_divergence for p in self.prompts if p.first_divergence), None)

    @property
    def cause(self) -> str:
        """Why the comparison failed, in a sentence; empty if it passed."""
        return str(self.json["cause"])

    def text(self, *, every_tensor: bool = False, color: bool = False) -> str:
        """The report for a terminal. every_tensor: a line for each array instead of each layer."""
        return self._report.text(bool(every_tensor), bool(color))

    def raise_on_failure(self) -> None:
        """Raises `CheckFailed` with the report if the comparison failed."""
        if not self.passed:
            raise CheckFailed(f"{self.cause}\n{self.text()}", "assay", self.cause)

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Writes what ``assay compare --json`` prints.

        Raises:
            MachineError: The file cannot be written.
        """
        _write(path, self._report.json() + "\n")

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Writes the HTML report, one page without references to anything outside.

        Its histograms need the arrays once more: the comparison is repeated if it was made without details.

        Raises:
            MachineError: The file cannot be written.
        """
        report = self._detailed() if self._detailed else self._report
        _write(path, report.html())

    def to_junit(self, path: str | os.PathLike[str]) -> None:
        """Writes JUnit XML: a suite for each prompt, a case for each array.

        Raises:
            MachineError: The file cannot be written.
        """
        _write(path, self._report.junit())

    def __str__(self) -> str:
        return self.text().rstrip("\n")

    def __repr__(self) -> str:
        first = self.first_divergence
        return f"<assay.Comparison: {_verdict(self.passed)}{f', first divergence {first}' if first else ''}>"

    def __rich__(self) -> Any:
        from rich.text import Text

        return Text.from_ansi(self.text(color=True))

    def _repr_html_(self) -> str:
        rows = (
            (p.id, t.name, t.verdict, _shown(t.relative_l2), _shown(t.noise_ratio), t.reason)
            for p in self.prompts
            for t in p.tensors
            if t.verdict != "not compared"
        )
        first = self.first_divergence
        note = f" &mdash; first divergence: {html.escape(str(first))}" if first else ""
        columns = ("prompt", "array", "verdict", "relative L2", "noise ratio", "reason")
        return f"<p><b>{_verdict(self.passed)}</b>{note}</p>" + _html_table(columns, rows)


@dataclass(frozen=True)
class _WrittenReport:
    """All that a report writes, for a copy that outlives the compiled object."""

    passed: bool
    coarse: bool
    texts: dict[tuple[bool, bool], str]
    pages: tuple[str, str, str]  # JSON, JUnit, HTML

    @classmethod
    def of(cls, report: _core.Report | _WrittenReport) -> _WrittenReport:
        texts = {(every, color): report.text(every, color) for every in (False, True) for color in (False, True)}
        return cls(report.passed, report.coarse, texts, (report.json(), report.junit(), report.html()))

    def text(self, every_tensor: bool, color: bool) -> str:
        return self.texts[bool(every_tensor), bool(color)]

    def json(self) -> str:
        return self.pages[0]

    def junit(self) -> str:
        return self.pages[1]

    def html(self) -> str:
        return self.pages[2]


class Diagnosis:
    """What `diagnose` found; ``print(diagnosis)`` shows what ``assay diagnose`` prints.

    It can be copied and pickled.

    Attributes:
        verdict: "correct", "rounding", "named", "partly named", "unexplained" or "incomplete".
        summary: The finding in a sentence.
        findings: The mistakes that explain the dump, in the order of the data flow, as in docs/json.md.
        json: The whole result, as ``assay diagnose --json`` prints it.
    """

    def __init__(self, diagnosis: _core.Diagnosis | _WrittenDiagnosis):
        self._diagnosis = diagnosis
        self.json: dict[str, Any] = json.loads(diagnosis.json())
        self.verdict: str = self.json["verdict"]
        self.summary: str = self.json["summary"]
        self.findings: list[dict[str, Any]] = self.json["findings"]

    def text(self, *, color: bool = False) -> str:
        """The report for a terminal."""
        return self._diagnosis.text(bool(color))

    def __reduce__(self) -> tuple[Any, ...]:
        texts = (self._diagnosis.text(False), self._diagnosis.text(True))
        return Diagnosis, (_WrittenDiagnosis(self._diagnosis.json(), texts),)

    def __bool__(self) -> bool:
        """Whether nothing is wrong."""
        return self.verdict in ("correct", "rounding")

    def __str__(self) -> str:
        return self.text().rstrip("\n")

    def __repr__(self) -> str:
        return f"<assay.Diagnosis {self.verdict}: {self.summary}>"

    def __rich__(self) -> Any:
        from rich.text import Text

        return Text.from_ansi(self.text(color=True))

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


@dataclass(frozen=True)
class _WrittenDiagnosis:
    """As _WrittenReport."""

    page: str
    texts: tuple[str, str]

    def json(self) -> str:
        return self.page

    def text(self, color: bool) -> str:
        return self.texts[bool(color)]


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _html_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    def line(cells: Iterable[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

    return "<table>" + line(columns, "th") + "".join(line(row, "td") for row in rows) + "</table>"


def _write(path: str | os.PathLike[str], text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode())
