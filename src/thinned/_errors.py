"""Error classes of the package: each is also the built-in error that a caller would expect."""


class ThinnedError(Exception):
    """Base of every error that the package raises on its own account."""


class RangeError(ThinnedError, ValueError):
    """A value is outside the range that a rule allows."""


class KindError(ThinnedError, TypeError):
    """An argument is of a type, or a tensor of a dtype, that a rule does not allow."""


class DataError(ThinnedError, ValueError):
    """A file or folder of data is missing, damaged, or not what it claims to be."""


class MissingExtraError(ThinnedError, ImportError):
    """An optional dependency is not installed."""


class ReplayError(ThinnedError, RuntimeError):
    """A recomputation cannot know which masks its forward had."""


class OperatorError(ThinnedError, RuntimeError):
    """An operator, a net or a workspace in Caffe2's manner refuses what it was given."""
