"""Which axis of an array counts the prompt's tokens."""

from collections.abc import Sequence


def position_axis(shape: Sequence[int], tokens: int | None) -> int | None:
    """The axis that counts the prompt's tokens: the second, after the batch; the third of scores
    and of heads; the first where the batch is flattened. None for images and what is pooled."""
    if tokens is None or len(shape) < 2:
        return None
    if len(shape) == 4 and shape[2] == tokens and (shape[1] != tokens or shape[3] == tokens):
        return 2
    if shape[1] == tokens and shape[0] == 1:
        return 1
    if len(shape) == 2 and shape[0] == tokens and tokens > 1:
        return 0
    return None


def default_axis(shape: Sequence[int], axis: int | None) -> int:
    """The axis along which errors are told apart: that of positions, or else the last but one."""
    return axis if axis is not None else max(len(shape) - 2, 0)


def only_axis_of(shape: Sequence[int], tokens: int | None) -> int | None:
    """The axis with so many elements, if it is the only one."""
    axes = [axis for axis, size in enumerate(shape) if size == tokens]
    return axes[0] if len(axes) == 1 else None
