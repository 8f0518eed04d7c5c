"""Checks that every settings class shares."""

from numbers import Integral

from advdm.errors import SettingsError


def within(name: str, value: float, low: float, high: float) -> None:
    """Raise SettingsError unless value is a finite number in [low, high]."""
    if not low <= value <= high:  # nor is NaN
        raise SettingsError(f"{name.capitalize()} must lie between {low:,} and {high:,}, not {value:,}.")


def whole(name: str, value: int, low: int, high: int) -> None:
    """The same, and value must be a whole number, which 2.0 is not."""
    within(name, value, low, high)
    if not isinstance(value, Integral):
        raise SettingsError(f"{name.capitalize()} must be a whole number, not {value}.")
