"""include/assay.h for Python: checks numpy arrays from inside a running engine.

    checker = assay_check.Checker(reference="reference_data")    # or .from_environment()
    verdict = checker.check("layer_00_output", array)
    checker.close()

Needs numpy and libassay.so, found by the loader or at the path in ASSAY_LIBRARY.
"""

import ctypes
import enum
import os

import numpy as np


class Verdict(enum.IntEnum):
    PASS = 0
    FAIL = 1
    NOT_COMPARED = 2
    ERROR = 3
    COARSE = 4


class Stop(enum.IntEnum):
    NEVER = 0
    EXIT = 1
    ABORT = 2


class Result(ctypes.Structure):
    """The result of assay_check for one tensor; the fields are explained in assay.h."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("verdict", ctypes.c_int),
        ("tap", ctypes.c_char_p),
        ("message", ctypes.c_char_p),
        ("compared", ctypes.c_int64),
        ("relative_l2", ctypes.c_double),
        ("cosine", ctypes.c_double),
        ("mse", ctypes.c_double),
        ("max_abs", ctypes.c_double),
        ("noise_ratio", ctypes.c_double),
        ("mean_ulp", ctypes.c_double),
        ("max_ulp", ctypes.c_int64),
    ]


class _Options(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("reference", ctypes.c_char_p),
        ("prompt", ctypes.c_char_p),
        ("record", ctypes.c_char_p),
        ("map", ctypes.c_char_p),
        ("profile", ctypes.c_char_p),
        ("tolerance", ctypes.c_double),
        ("stop", ctypes.c_int),
        ("print", ctypes.c_int),
        ("as_type", ctypes.c_char_p),
        ("strict", ctypes.c_int),
        ("model", ctypes.c_char_p),
    ]


# By numpy's names and ml_dtypes'.
_DTYPES = {
    "bool": 0, "uint8": 1, "int8": 2, "int16": 3, "int32": 4, "int64": 5,
    "float8_e4m3fn": 6, "float8_e5m2": 7, "float16": 8, "bfloat16": 9, "float32": 10, "float64": 11,
    "uint16": 12, "uint32": 13, "uint64": 14,
}  # fmt: skip

_POINTER = ctypes.POINTER(ctypes.c_int64)


def _load():
    library = ctypes.CDLL(os.environ.get("ASSAY_LIBRARY", "libassay.so.0"))
    for name, result, arguments in [
        ("assay_open", ctypes.c_void_p, [ctypes.POINTER(_Options)]),
        ("assay_open_environment", ctypes.c_void_p, []),
        ("assay_wants", ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p]),
        ("assay_set_positions", ctypes.c_int, [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]),
        ("assay_check", ctypes.c_int,
         [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, _POINTER,
          _POINTER, ctypes.POINTER(Result)]),
        ("assay_report_text", ctypes.c_char_p, [ctypes.c_void_p]),
        ("assay_report_json", ctypes.c_char_p, [ctypes.c_void_p]),
        ("assay_close", ctypes.c_int, [ctypes.c_void_p]),
        ("assay_message", ctypes.c_char_p, []),
    ]:  # fmt: skip
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_library = None


def _lib():
    global _library
    if _library is None:
        _library = _load()
    return _library


def _c_string(name):
    if "\0" in name:
        raise ValueError(f"{name!r}: a name cannot hold NUL")
    return name.encode()


class Checker:
    """One run over one prompt. After close(), and if the environment variables are not set, every
    method does nothing."""

    def __init__(self, reference=None, *, prompt=None, record=None, map=None, profile=None,
                 tolerance=0.0, stop=Stop.NEVER, print=False, as_type=None, strict=False,
                 model=None):  # fmt: skip
        """Options as in assay_options in assay.h; as_type is its `as`, which is a keyword of Python."""

        def text(value):
            return None if value is None else os.fsencode(value)

        options = _Options(
            ctypes.sizeof(_Options), text(reference), text(prompt), text(record), text(map),
            text(profile), tolerance, stop, print, text(as_type), strict, text(model),
        )  # fmt: skip
        self._handle = _lib().assay_open(ctypes.byref(options))
        self.result = None  # the result of the last check
        if not self._handle:
            raise ValueError(message())

    @classmethod
    def from_environment(cls):
        self = cls.__new__(cls)
        self._handle = None
        self.result = None
        if os.environ.get("ASSAY_REFERENCE") or os.environ.get("ASSAY_RECORD"):
            self._handle = _lib().assay_open_environment()
            problem = message()
            if problem:
                self.close()
                raise ValueError(problem)
        return self

    def wants(self, name):
        return bool(self._handle and _lib().assay_wants(self._handle, _c_string(name)))

    def set_positions(self, first, count):
        if self._handle and _lib().assay_set_positions(self._handle, first, count):
            raise ValueError(message())

    def check(self, name, array):
        """array: anything numpy can view; strided views are read in place."""
        if not self._handle:
            return Verdict.NOT_COMPARED
        array = np.asarray(array)
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        dtype = _DTYPES.get(array.dtype.name)
        if dtype is None:
            raise TypeError(f"{name}: dtype {array.dtype}; one of {', '.join(_DTYPES)}")
        if any(stride % array.itemsize for stride in array.strides):
            array = np.ascontiguousarray(array)
        shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        strides = (ctypes.c_int64 * array.ndim)(*(s // array.itemsize for s in array.strides))
        self.result = Result(size=ctypes.sizeof(Result))
        verdict = Verdict(
            _lib().assay_check(self._handle, _c_string(name), array.ctypes.data, dtype, array.ndim,
                               shape, strides, ctypes.byref(self.result))
        )  # fmt: skip
        # The library's texts live until its next call: each read is a copy, which is kept.
        self.result.tap = self.result.tap
        self.result.message = self.result.message
        return verdict

    def report(self):
        return _lib().assay_report_text(self._handle).decode() if self._handle else ""

    def report_json(self):
        return _lib().assay_report_json(self._handle).decode() if self._handle else "{}"

    def close(self):
        handle, self._handle = self._handle, None
        return Verdict(_lib().assay_close(handle)) if handle else Verdict.NOT_COMPARED

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def message():
    """What went wrong in this thread's last call."""
    return _lib().assay_message().decode()
