"""Tests for people who write kernels: one operation's output against the exact result.

::

    from assay.testing import Inputs, assert_op

    def test_rms_norm():
        assert_op(my_rms_norm, Inputs((16, 1024), "bfloat16", "torch", device="cuda"), op="rms_norm", eps=1e-6)

The exact result is computed in double precision from the very values that the kernel got. The kernel's error is
measured by the errors of correct implementations: the exact result rounded once to the output's type, a computation in
FP32 that is rounded once, and one that rounds every intermediate, as frameworks do. It needs numpy alone.
"""

from __future__ import annotations

from .arithmetic import OUTPUT_TYPES
from .cases import CASES, Inputs
from .operation import OPS, CaseResult, OpResult, assert_op, check_op

__all__ = ["CASES", "OPS", "OUTPUT_TYPES", "CaseResult", "Inputs", "OpResult", "assert_op", "check_op"]
