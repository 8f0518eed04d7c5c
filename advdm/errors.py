"""What AdvDM refuses, and why: every message is for the person who asked."""


class AdvDMError(Exception):
    """Anything AdvDM refuses, on one line, for the person who asked."""


class PaintingError(AdvDMError):
    """A picture that cannot be read or written."""


class ModelError(AdvDMError):
    """A model that cannot be loaded or does not fit."""


class SettingsError(AdvDMError, ValueError):
    """A setting out of range."""
