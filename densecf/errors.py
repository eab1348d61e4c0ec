"""The one family of exceptions that users are meant to see."""


class DensecfError(Exception):
    """Something the user can mend. The message names the file or option, the row, and the fix."""


class ConfigError(DensecfError):
    """One or more options do not fit; the message lists all of them."""


class DataError(DensecfError):
    """A table, image, mask or prepared dataset cannot be used."""


class LeakError(DataError):
    """A patient would be both trained and tested on."""


class CheckpointError(DensecfError):
    """Weights or a run folder cannot be used."""


class BusyError(DensecfError):
    """Another process works there."""
