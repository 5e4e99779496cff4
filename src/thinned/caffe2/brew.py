"""Helpers that add layers to a model; of Caffe2's, that for dropout."""

from typing import Any

from thinned._errors import KindError
from thinned.caffe2.core import Net
from thinned.caffe2.definitions import BlobReference


class _MissingError(KindError, AssertionError):
    """An argument is missing: Caffe2 asserts it."""


def dropout(model: Any, blob_in: str, blob_out: str, use_cudnn: bool = False, **kwargs: Any) -> BlobReference:
    """Add a `Dropout` operator to a net.

    Args:
        model: a net, or anything with an attribute `net` that is one.
        blob_in: name of the input.
        blob_out: name of the output; the mask's is "_" + blob_out + "_mask".
        use_cudnn: prefer the engine "CUDNN".
        **kwargs: the operator's arguments; `is_test` is required.

    Returns:
        A reference to the output, without the mask.

    Raises:
        AssertionError: `is_test` is missing.

    Examples:
        >>> from thinned.caffe2 import brew, core
        >>> net = core.Net("example")
        >>> brew.dropout(net, "X", "Y", ratio=0.3, is_test=False)
        'Y'
        >>> net.Proto().op[0].output
        ['Y', '_Y_mask']
    """
    if "is_test" not in kwargs:
        raise _MissingError("Argument 'is_test' is required")
    net = model if isinstance(model, Net) else model.net
    kwargs["engine"] = "CUDNN" if use_cudnn else "DEFAULT"
    y, _ = net.Dropout(blob_in, [blob_out, f"_{blob_out}_mask"], **kwargs)
    return BlobReference(y)
