"""Arguments of wrong types are named, and nothing raises a bare TypeError from within."""

import numpy as np
import pytest

import assay

# A huge view of one number: no machine can copy it.
HUGE = np.broadcast_to(np.float32(1), (1 << 24, 1 << 24))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda r, out: assay.compare(r, "\ud800x"), assay.UsageError, "candidate: "),
        (lambda r, out: assay.compare(None, r), assay.UsageError, "reference: None; expected a path"),
        (lambda r, out: assay.compare(r, r, threads="a"), assay.UsageError, "threads: 'a'; expected a whole"),
        (lambda r, out: assay.diagnose(r, r, threads=1.5), assay.UsageError, "threads: 1.5; expected a whole"),
        (lambda r, out: assay.compare(r, r, threads=-1), assay.UsageError, "threads: -1"),
        (lambda r, out: assay.compare(r, r).to_html(None), assay.UsageError, "path: None; expected a path"),
        (lambda r, out: assay.compare(r, {"\ud800": np.zeros(3)}), assay.UsageError, "a name '\\ud800'"),
        (lambda r, out: assay.compare(r, {"logits": HUGE}), assay.MachineError, "does not fit in memory"),
        (lambda r, out: assay.explain(layer="x"), assay.UsageError, "layer: 'x'"),
        (lambda r, out: assay.extract(None, ["a"], out=out, max_new_tokens=1.5), assay.UsageError, "max_new_tokens"),
        (lambda r, out: assay.extract(None, ["a"], out=out, max_new_tokens=True), assay.UsageError, "max_new_tokens"),
        (lambda r, out: assay.extract(None, ["a"], out=out, taps=5), assay.UsageError, "taps: 5; expected a text"),
        (lambda r, out: assay.extract(None, ["a"], out=out, taps=[5]), assay.UsageError, "taps: [5]; expected a text"),
        (lambda r, out: assay.extract(None, 5, out=out), assay.UsageError, "prompts: int; expected a text"),
        (lambda r, out: assay.golden(out, taps=5), assay.UsageError, "taps: 5"),
    ],
)
def test_wrong_arguments_are_named(reference, tmp_path, call, error, message):
    out = tmp_path / "out"
    with pytest.raises(error) as raised:
        call(reference, out)
    assert message in str(raised.value)
    assert not out.exists()


def test_numbers_of_numpy_are_numbers(reference):
    assert assay.compare(reference, reference, threads=np.int64(1))


def test_a_check_that_has_written_its_record_takes_no_more(reference, tmp_path):
    with assay.check(reference, prompt="prompt1", record=tmp_path / "record.npz") as check:
        check("logits", reference["prompt1"]["logits"])
    with pytest.raises(assay.UsageError, match="the record is written already"):
        check("logits", reference["prompt1"]["logits"])
