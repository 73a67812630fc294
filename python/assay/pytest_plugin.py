"""The pytest plugin: tests that compare an engine's tensors with a reference, without its checkpoint.

::

    def test_first_layer(assay_reference, assay_prompt):          # once for each prompt
        ids = assay_reference.input_ids()
        assay_reference.assert_matches("layer_00_output", my_first_layer(ids))

pytest loads this module whenever the package is installed, so it imports nothing of Assay's before a test asks.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ._check import Check
    from ._errors import CheckFailed
    from ._reference import Reference
    from ._results import Comparison, TensorResult

_DEFAULTS = ("tests/assay_golden", "assay_golden")
_MARKER = "assay(reference=, prompts=, map=, profile=, tolerance=, as_type=, strict=): which reference and prompts a \
test compares with, and how, as assay.compare takes it"
_MARKER_KEYS = {"reference", "prompts", "map", "profile", "tolerance", "as_type", "strict"}
_updated = pytest.StashKey[list[str]]()
_opened = pytest.StashKey[dict[Path, "Reference"]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options and the lines of pytest.ini."""
    group = parser.getgroup("assay", "comparison with a reference")
    group.addoption("--assay-reference", metavar="DIR", help="the reference or golden bundle to compare with")
    group.addoption("--assay-update", action="store_true",
                    help="first make the golden bundles again, from their checkpoints")  # fmt: skip
    group.addoption("--assay-model", metavar="MODEL", help="the checkpoint from which --assay-update makes them")
    group.addoption("--assay-dump", metavar="DIR",
                    help="write the tensors that each test compares, for `assay compare` and `diagnose`")  # fmt: skip
    parser.addini("assay_reference", "references or golden bundles, one on each line, the first by default "
                  f"[{_DEFAULTS[0]}]", type="linelist")  # fmt: skip
    parser.addini("assay_model", "the checkpoint from which --assay-update makes golden bundles")


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker; with --assay-update makes the bundles again, once, before any test is collected."""
    config.addinivalue_line("markers", _MARKER)
    config.stash[_opened] = {}
    config.stash[_updated] = []
    if config.getoption("assay_update") and not hasattr(config, "workerinput"):  # not in xdist's workers
        for path in _configured(config):
            config.stash[_updated].append(_update(config, path))


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Tells what --assay-update has changed."""
    return config.stash[_updated]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes assay_prompt runs once for each prompt."""
    if "assay_prompt" not in metafunc.fixturenames:
        return
    options = _options_of(metafunc.definition)
    prompts = options.get("prompts") or _prompt_ids(_path_for(metafunc.config, options))
    # Without a reference there is one test, which fails and tells why.
    metafunc.parametrize("assay_prompt", prompts or [pytest.param("", id="no-reference")], indirect=True)


@pytest.fixture
def assay_prompt(request: pytest.FixtureRequest) -> str:
    """The id of a prompt of the reference: the test runs once for each."""
    prompt: str = request.param
    return prompt


@pytest.fixture
def assay_reference(request: pytest.FixtureRequest) -> Iterator[AssayReference]:
    """The reference that this test compares with: an AssayReference."""
    config, options = request.config, _options_of(request.node)
    reference = _open(config, _path_for(config, options))
    prompt = request.getfixturevalue("assay_prompt") if "assay_prompt" in request.fixturenames else None
    dump = config.getoption("assay_dump")
    record = None
    if dump is not None:
        record = config.invocation_params.dir / dump / _directory_of(request.node.nodeid)
    made = AssayReference(reference, prompt, options, record)
    yield made
    made._close()


class AssayReference:
    """A reference as tests use it; the fixture `assay_reference` makes it.

    Attributes:
        reference: The `assay.Reference`, with its arrays: ``reference["prompt1"]["layer_00_output"]``.
        path: Its directory.
        prompts: The ids of its prompts, or of those that the test's marker names.
        prompt: The prompt of this run of the test, which assay_prompt gives, or the only one; else None.
    """

    def __init__(self, reference: Reference, prompt: str | None, options: dict[str, Any], record: Path | None):
        self.reference = reference
        self.path = reference.path
        self.prompts: list[str] = list(options.get("prompts") or reference)
        self.prompt = prompt or (self.prompts[0] if len(self.prompts) == 1 else None)
        self._how = {k: v for k, v in options.items() if k in ("map", "profile", "tolerance", "as_type")}
        self._strict = bool(options.get("strict"))
        self._record = record
        self._checks: dict[str, Check] = {}
        self._extra: list[Check] = []
        self._dumps: dict[int, Path | None] = {}  # by id of a check

    def input_ids(self, prompt: str | None = None) -> list[int]:
        """The token ids of a prompt, of the test's own without an argument."""
        return self.reference[self._chosen(prompt)].input_ids

    def assert_matches(self, name: str, tensor: Any, *, prompt: str | None = None) -> TensorResult:
        """Fails the test unless a tensor is what the reference has.

        Args:
            name: A tap's name ("layer_00_output"), or one that a map knows.
            tensor: An array of numpy, torch, JAX, MLX or tinygrad, as `assay.compare` reads it: the batch axis may
                be missing, heads split or joined, all positions or only the last.
            prompt: The prompt's id, where neither assay_prompt nor the reference tells it.

        Returns:
            The result, with all metrics.

        Raises:
            CheckFailed: The tensor differs, cannot be read as the tap, or the reference lacks it.
            UsageError: It is not clear which prompt the tensor is of.
        """
        __tracebackhide__ = True
        chosen = self._chosen(prompt)
        if chosen not in self._checks:
            self._checks[chosen] = self._new_check(chosen)
        check = self._checks[chosen]
        result = check(name, tensor)
        if result.verdict == "not compared" and len(check.results) > 1:
            # A check takes each tap once; a test may compare it again.
            check = self._checks[chosen] = self._new_check(chosen)
            result = check(name, tensor)
        if result.verdict == "not compared":
            raise _failed(self._missing(name, chosen), name, "not compared")
        if not self._passes(result):
            raise _failed(self._explained(result, check, chosen), name, result.reason)
        return result

    @contextlib.contextmanager
    def check(self, module: Any = None, *, prompt: str | None = None, stop: bool = False) -> Iterator[Check]:
        """Compares what happens inside the block, and fails the test at its end.

        ::

            with assay_reference.check(module=model):
                model(torch.tensor([assay_reference.input_ids()]))

        Args:
            module: A torch module, whose submodules' outputs are compared; without one call the result:
                ``c("layer_00_output", hidden)``.
            prompt: The prompt's id, where neither assay_prompt nor the reference nor "input_ids" tells it.
            stop: Fail at the first tensor that differs, where it is computed.

        Raises:
            CheckFailed: A tensor differs, or nothing was compared.
        """
        __tracebackhide__ = True
        chosen = prompt or self.prompt or ""
        with self._new_check(chosen, stop=stop) as check:
            if module is not None:
                check.hook(module)
            yield check
        first = next((r for r in check.results if not self._passes(r)), None)
        if first is not None:
            prompts = [p.id for p in check.result.prompts]
            text = self._explained(first, check, chosen or (prompts[0] if prompts else ""))
            raise _failed(text, first.name, first.reason)
        check.raise_on_failure()

    def compare(self, dump: str | os.PathLike[str] | Mapping[str, Any], *, prompt: str | None = None) -> Comparison:
        """Compares a dump, as `assay.compare` takes it: a path or arrays by name. True if nothing failed.

        Args:
            dump: A file, a directory, or a mapping.
            prompt: The prompt's id. None: the test's own; else what the dump's ids or its layout tell.
        """
        from ._compare import compare

        return compare(self.reference, dump, prompt=prompt or self.prompt or "", **self._how)

    def _chosen(self, prompt: str | None) -> str:
        from ._errors import UsageError

        chosen = prompt or self.prompt
        if chosen is None:
            raise UsageError(f"{self.path}: has {len(self.prompts)} prompts; expected prompt=, or a test that takes "
                             f"assay_prompt: {', '.join(self.prompts)}", str(self.path), "several prompts")  # fmt: skip
        self.reference[chosen]  # a KeyError suggests the right one
        return chosen

    def _new_check(self, prompt: str, stop: bool = False) -> Check:
        from ._check import check

        record = self._file_of(prompt, len(self._extra))
        if record is not None:
            record.parent.mkdir(parents=True, exist_ok=True)
        made = check(self.reference, prompt=prompt, record=record, stop=stop, **self._how)
        self._dumps[id(made)] = record
        self._extra.append(made)
        return made

    def _file_of(self, prompt: str, number: int) -> Path | None:
        if self._record is None:
            return None
        return self._record / f"{prompt or 'run'}{f'-{number}' if number else ''}.npz"

    def _passes(self, result: TensorResult) -> bool:
        return result.passed and not (self._strict and result.verdict == "coarse")

    def _close(self) -> None:
        for check in self._extra:
            check.close()

    def _missing(self, name: str, prompt: str) -> str:
        import difflib

        names = list(self.reference[prompt])
        close = difflib.get_close_matches(name, names, 1)
        left_out = self.reference.manifest.get("golden", {}).get("left_out", {}).get(prompt, [])
        text = f"{name}: not compared: {_shown(self.path)} has no such array for prompt {prompt}"
        if any(fnmatch.fnmatchcase(name, glob) for glob in left_out):
            return text + "; it was left out to keep the bundle small: `assay golden --taps` or --max-bytes take it in"
        if close:
            return text + f"; did you mean {close[0]}?"
        return text + f"; it has {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}"

    def _explained(self, result: TensorResult, check: Check, prompt: str) -> str:
        whose = (
            result.name if result.candidate_name in ("", result.name) else f"{result.candidate_name} ({result.name})"
        )
        lines = [f"{whose} of prompt {prompt} is not what {_shown(self.path)} has: {result.reason or result.verdict}"]
        lines += [f"  {what:<20}{shown}" for what, shown in _figures(result)]
        before = [r.name for r in check.results if r is not result and r.verdict == "pass"]
        first = check.result.first_divergence
        if first is not None:
            lines.append(f"First divergence: {first}")
        if before:
            lines.append(f"Passed before it: {', '.join(before[-4:])}")
        dump = self._dumps.get(id(check))
        file = "FILE" if dump is None else shlex.quote(_shown(dump))
        lines.append("Which mistake is it?")
        lines.append(f"  assay diagnose --model MODEL --reference {shlex.quote(_shown(self.path))} --prompt {prompt}"
                     f" --candidate {file}")  # fmt: skip
        if dump is None:
            lines.append("  (pytest --assay-dump DIR writes the FILE)")
        return "\n".join(lines)


def _directory_of(test: str) -> str:
    """A directory's name for a test; where characters are lost, a checksum tells apart what would be the same."""
    name = re.sub(r"[^\w.-]+", "_", test.replace("::", "-"), flags=re.ASCII)[:150]
    if name == test.replace("::", "-"):
        return name
    import hashlib

    return f"{name}-{hashlib.sha256(test.encode()).hexdigest()[:8]}"


def _shown(path: Path) -> str:
    """A path as one would type it here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _figures(result: TensorResult) -> Iterator[tuple[str, str]]:
    """What a failing tensor's message shows."""
    metrics, limit = result.metrics, result.json.get("limits", {}).get("noise_ratio")
    if result.noise_ratio is not None:
        yield "noise ratio", f"{result.noise_ratio:.3g}" + (f", limit {limit:g}" if limit is not None else "")
    ratio = result.json.get("position_ratio")
    if isinstance(ratio, (int, float)):
        yield "per-position ratio", f"{ratio:.3g}" + (f", limit {limit:g}" if limit is not None else "")
    if result.verdict == "coarse" and "precision_ratio" in result.json:
        yield "precision ratio", f"{result.json['precision_ratio']:.3g}, {result.json.get('held_to', '')}"
    if result.relative_l2 is not None:
        yield "relative L2", f"{result.relative_l2:.3g}"
    if "max_index" in metrics:
        yield "largest error", (f"{metrics['max_abs']:.3g} at {metrics['max_index']}: {metrics['max_candidate']:.6g}, "
                                f"reference {metrics['max_reference']:.6g}")  # fmt: skip
    if "exact_share" in metrics:
        yield "bit-identical", f"{100 * metrics['exact_share']:.1f} %"
    if metrics.get("nan_candidate") or metrics.get("inf_candidate"):
        yield "not finite", f"{metrics['nan_candidate']} NaN, {metrics['inf_candidate']} infinite"


def _failed(text: str, where: str, found: str) -> CheckFailed:
    from ._errors import CheckFailed

    return CheckFailed(text, where, found)


def _options_of(node: Any) -> dict[str, Any]:
    """What a test's markers say; those nearest to the test win."""
    options: dict[str, Any] = {}
    for marker in node.iter_markers("assay"):
        unknown = set(marker.kwargs) - _MARKER_KEYS
        if marker.args or unknown:
            found = f"{sorted(unknown)[0]}=" if unknown else "a positional argument"
            expected = ", ".join(f"{key}=" for key in sorted(_MARKER_KEYS))
            raise pytest.UsageError(f"{node.nodeid}: pytest.mark.assay with {found}; expected {expected}")
        options = marker.kwargs | options
    if isinstance(options.get("prompts"), str):
        options["prompts"] = [options["prompts"]]
    return options


def _base(config: pytest.Config) -> Path:
    """The project's directory. pytest takes the value of `--assay-model PATH` for a test, and may find another one."""
    found = config.inipath.parent if config.inipath else config.rootpath
    here = config.invocation_params.dir
    return found if here.is_relative_to(found) else here


def _configured(config: pytest.Config) -> list[Path]:
    """The references of the command line, or else of pytest.ini, or else the default ones."""
    given = config.getoption("assay_reference")
    if given is not None:
        return [Path(config.invocation_params.dir, given)]
    base = _base(config)
    lines = [line for line in config.getini("assay_reference") if line]
    if lines:
        return [base / line for line in lines]
    there = [base / name for name in _DEFAULTS if (base / name).is_dir()]
    return there[:1] or [base / _DEFAULTS[0]]


def _path_for(config: pytest.Config, options: dict[str, Any]) -> Path:
    if "reference" not in options or config.getoption("assay_reference") is not None:
        return _configured(config)[0]
    base = _base(config)
    return Path(base, options["reference"])


def _prompt_ids(path: Path) -> list[str]:
    """The prompts that a manifest names; none if it cannot be read, which the fixture reports."""
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        return [prompt["id"] for prompt in manifest["prompts"] if isinstance(prompt["id"], str)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _open(config: pytest.Config, path: Path) -> Reference:
    __tracebackhide__ = True
    opened = config.stash[_opened]
    if path not in opened:
        if not (path / "manifest.json").is_file():
            pytest.fail(f"{path}: no reference; expected a golden bundle: make it with\n"
                        f"  assay golden MODEL --out {shlex.quote(str(path))}", pytrace=False)  # fmt: skip
        if config.getoption("assay_update") and path not in _configured(config):
            pytest.fail(f"{path}: --assay-update has not made it again, since only a marker names it; name it in the "
                        "lines of assay_reference in pytest.ini too", pytrace=False)  # fmt: skip
        from ._reference import Reference

        opened[path] = Reference(path)
    return opened[path]


def _update(config: pytest.Config, path: Path) -> str:
    from ._errors import AssayError
    from ._golden import golden, update_golden

    base = _base(config)
    model = config.getoption("assay_model") or config.getini("assay_model") or None
    if model is not None and (base / model).exists():
        model = base / model
    before = _contents(path)
    try:
        if before:
            update_golden(path, model=model)
        elif model is None:
            raise pytest.UsageError(f"--assay-update: {path} does not exist; expected --assay-model, or assay_model in "
                                    "pytest.ini, from which to make it")  # fmt: skip
        else:
            golden(model, path)
    except AssayError as error:
        raise pytest.UsageError(f"--assay-update: {error}") from error
    after = _contents(path)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    size = sum(map(len, after.values())) / 1000
    what = f"{len(changed)} files changed: {', '.join(changed[:6])}" if changed else "nothing changed"
    return f"assay: {path} made again, {size:.0f} kB; {what}"


def _contents(path: Path) -> dict[str, bytes]:
    return {str(f.relative_to(path)): f.read_bytes() for f in sorted(path.rglob("*")) if f.is_file()}
