"""One run of a model, in a process of its own: every array goes to disk as it is made."""

import inspect
import json
import os
import sys
import traceback
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# Before transformers is imported: it reads this once.
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from torch import nn  # noqa: E402

from assay._errors import MachineError, UsageError  # noqa: E402
from assay._text import missing_name  # noqa: E402
from assay.capture.choices import Place  # noqa: E402
from assay.capture.double import fp32_is_double, widen_constants  # noqa: E402
from assay.capture.errors import InputError, said  # noqa: E402
from assay.capture.names import Rename, names_of_file, native_names  # noqa: E402
from assay.capture.reach import Probe, probed_positions, widest  # noqa: E402
from assay.capture.spool import Spool, SpoolReader  # noqa: E402
from assay.capture.state import RunState  # noqa: E402
from assay.capture.trace import Replay, Trace  # noqa: E402
from assay.capture.wanted import Wanted  # noqa: E402

_DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32, "f64": torch.float64}


@dataclass
class Job:
    """What a process is to run."""

    model: str
    numerics: str
    store: str  # "f32" or "f64"
    prompts: list[list[int] | None]  # token ids; None where the model gets none
    inputs: str | None  # an .npz of further inputs
    out: str  # directory of the spools, one for each prompt
    plan: str | None = None  # the first run's directory: record the same; None for the first run
    taps: list[str] = field(default_factory=list)  # globs; empty for all arrays
    map: str | None = None
    threads: int | None = None
    progress: bool = False

    @staticmethod
    def read(file: Path) -> "Job":
        """The job that a file of JSON holds."""
        return Job(**json.loads(file.read_text(encoding="utf-8")))

    @property
    def error_file(self) -> Path:
        """What was wrong with the model or its inputs, if the process ends with 3."""
        return Path(self.out) / "error"

    def spool(self, prompt: int) -> Path:
        """The spool of one prompt, by its number."""
        return Path(self.out) / f"{prompt}.bin"


def load(directory: Path, numerics: str, attention: str = "eager") -> nn.Module:
    """The model by its config's own class. Weights that the checkpoint lacks are an error: they
    would be random, and different in every run."""
    if not (directory / "config.json").is_file():
        raise InputError(f"{directory}: no config.json, expected a checkpoint directory")
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    try:
        config = transformers.AutoConfig.from_pretrained(directory, local_files_only=True)
        names = [name for name in config.architectures or [] if hasattr(transformers, name)]
        cls = getattr(transformers, names[0]) if names else transformers.AutoModel
        # The dtype is given at load: a later .to() would round the rotary frequencies too.
        net, told = cls.from_pretrained(
            directory,
            dtype=_DTYPES[numerics],
            attn_implementation=attention,
            local_files_only=True,
            output_loading_info=True,
        )
    except MemoryError:
        raise
    except Exception as error:  # of a damaged checkpoint transformers throws all kinds
        raise InputError(f"{directory}: transformers cannot load it: {said(error)}") from error
    missing = sorted(told["missing_keys"])
    if missing:
        raise InputError(
            f"{directory}: {len(missing)} weights are missing, {', '.join(missing[:3])}, expected"
            f" those of {type(net).__name__}"
        )
    model: nn.Module = net.eval()
    if numerics == "f64":
        widen_constants(model)
    return model


def inputs_of(
    net: nn.Module, ids: list[int] | None, file: str | None, numerics: str
) -> dict[str, torch.Tensor]:
    """The arguments of the model's forward pass: tokens, and the arrays of --inputs."""
    inputs: dict[str, torch.Tensor] = {}
    if ids is not None:
        inputs["input_ids"] = torch.tensor([ids])
    if file is not None:
        with np.load(file) as arrays:
            for name in arrays.files:
                value = torch.from_numpy(arrays[name])
                inputs[name] = value.to(_DTYPES[numerics]) if value.is_floating_point() else value
        _expect_arguments(net, set(inputs), file)
    config: Any = net.config
    if config.is_encoder_decoder and not inputs.keys() & {
        "decoder_input_ids",
        "decoder_inputs_embeds",
    }:
        inputs["decoder_input_ids"] = torch.tensor([[_decoder_start(net)]])
    return inputs


def _expect_arguments(net: nn.Module, names: set[str], file: str) -> None:
    """Forward passes accept any name, and many pass it on to inner models: one that none of them
    has would be ignored."""
    own = list(inspect.signature(net.forward).parameters)
    known = {p for module in net.modules() for p in inspect.signature(module.forward).parameters}
    for name in sorted(names - known - set(own)):
        raise InputError(f"{file}: {missing_name(name, own, type(net).__name__ + '.forward')}")


def _expect_tokens(net: Any, ids: list[int], prompt: str) -> None:
    try:
        rows = net.get_input_embeddings().num_embeddings
    except (AttributeError, NotImplementedError):  # of an unknown kind
        return
    for at, token in enumerate(ids):
        if not 0 <= token < rows:
            raise InputError(
                f"{prompt}: token {token} at {at}, expected 0 to {rows - 1}, the rows of"
                f" {type(net).__name__}'s embedding"
            )


def _not_finite(net: nn.Module) -> list[str]:
    """A line for each weight with NaN or infinity, which everything computed with it becomes."""
    lines = []
    for name, weight in net.named_parameters():
        wrong = int((~torch.isfinite(weight)).sum()) if weight.is_floating_point() else 0
        if wrong:
            lines.append(f"{name}: {wrong} of {weight.numel()} values are NaN or infinite")
    return lines


def _decoder_start(net: Any) -> int:
    configs = [net.config, getattr(net, "generation_config", None), net.config.get_text_config()]
    for name in ("decoder_start_token_id", "bos_token_id", "pad_token_id"):
        for config in configs:
            token = getattr(config, name, None)
            if isinstance(token, int):
                return token
    return 0


def run(job: Job, net: nn.Module | None = None) -> None:
    """Runs all prompts. net: the model, if it is loaded already."""
    if job.threads:
        torch.set_num_threads(job.threads)
    if net is None:
        _say(job, f"{job.numerics}: loading")
        net = load(Path(job.model), job.numerics)
    not_finite = _not_finite(net) if job.plan is None else []
    untouched = RunState(net)
    rename = _names(job, net)
    wanted = Wanted(job.taps)
    double = fp32_is_double if job.numerics == "f64" else nullcontext
    for p, ids in enumerate(job.prompts):
        _say(job, f"{job.numerics}: prompt {p + 1} of {len(job.prompts)}")
        if ids is not None and job.inputs is None:  # with images, some stand for no embedding
            _expect_tokens(net, ids, f"prompt {p + 1}")
        inputs = inputs_of(net, ids, job.inputs, job.numerics)
        spool = Spool(job.spool(p), job.store)
        untouched.restore()
        torch.manual_seed(0)
        notes: dict[str, Any] = {"architecture": type(net).__name__}
        if job.plan is None:
            trace = Trace(net, spool.write, rename, wanted)
            with torch.inference_mode(), double():
                _forward(net, trace, inputs)
            if p == 0 and not_finite:
                notes["warnings"] = not_finite
            notes["arrays"] = [array.as_json() for array in trace.arrays]
            notes["choices"] = [asdict(choice) for choice in trace.choices]
            spool.close(notes)
            continue
        told = SpoolReader(Path(job.plan) / f"{p}.bin").notes
        numbers = {array["hook"]: i for i, array in enumerate(told["arrays"])}
        choices = {(c["call"], c["nth"]): i for i, c in enumerate(told["choices"])}
        with torch.inference_mode(), double():
            _forward(net, Replay(net, spool.write, numbers, choices), inputs)
        spool.close(notes)
        if job.numerics == "f64" and choices and "input_ids" in inputs:
            _say(job, f"{job.numerics}: prompt {p + 1} of {len(job.prompts)}, reach of positions")
            untouched.restore()
            with torch.inference_mode(), double():
                reach = _measured_reach(net, SpoolReader(job.spool(p)), numbers, choices, inputs)
            spool.close(notes | {"reach": reach})
    if job.plan is None:
        wanted.expect_all_used()


def _measured_reach(
    net: nn.Module,
    first: SpoolReader,
    numbers: dict[str, int],
    choices: dict[Place, int],
    inputs: dict[str, torch.Tensor],
) -> dict[int, str]:
    """How far positions reach, by the numbers of arrays; empty if the model does not run so."""
    tokens = inputs["input_ids"].shape[1]
    probes = [Probe(net, first, numbers, choices, tokens, p) for p in probed_positions(tokens)]
    try:
        for probe in probes:
            torch.manual_seed(0)
            probe.run(inputs)
    except Exception:  # any of the model's own code, on values that it never has
        return {}
    seen = set.intersection(*(set(probe.reach) for probe in probes))
    return {number: widest(probe.reach[number] for probe in probes) for number in sorted(seen)}


def _forward(net: Any, recorder: Trace | Replay, inputs: dict[str, torch.Tensor]) -> None:
    try:
        recorder.run(inputs)
    except (MemoryError, MachineError):
        raise
    except Exception as error:  # the model's code was not written for such inputs
        if "can't allocate memory" in str(error):
            raise MemoryError(said(error)) from error
        given = ", ".join(inputs) or "nothing"
        advice = (
            "" if net.main_input_name in inputs else f" (its main input: {net.main_input_name})"
        )
        raise InputError(
            f"{type(net).__name__}: it does not run on {given}: {said(error)}; further inputs are"
            f" given by --inputs FILE.npz{advice}"
        ) from error


def _names(job: Job, net: Any) -> Rename:
    layers = getattr(net.config.get_text_config(), "num_hidden_layers", 0) or 0
    own = native_names(net.config.model_type, layers)
    if job.map is None:
        return own
    of_file = names_of_file(Path(job.map), layers)
    return lambda path: of_file(path) or own(path)


def _say(job: Job, text: str) -> None:
    if job.progress:
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def main() -> int:
    """Runs the job whose file standard input names. Returns the exit code; what went wrong is in the
    job's error file: 2 for wrong options and 3 for wrong files, which the user can mend, else 4."""
    file = sys.stdin.readline().rstrip("\n")
    if not file:  # nobody wants the run any more
        return 0
    job = Job.read(Path(file))
    try:
        run(job)
    except UsageError as error:
        return _failed(job, 2, str(error))
    except InputError as error:
        return _failed(job, 3, str(error))
    except MachineError as error:
        return _failed(job, 4, str(error))
    except MemoryError as error:
        return _failed(job, 4, f"the {job.numerics} run has too little memory: {said(error)}")
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(at.filename).name}:{at.lineno}"
        text = f"the {job.numerics} run failed: {type(error).__name__}: {said(error)} ({where})"
        return _failed(job, 4, text)
    return 0


def _failed(job: Job, exit_code: int, message: str) -> int:
    job.error_file.write_text(message, encoding="utf-8", errors="replace")
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
