"""One module for each command of `python -m advdm`; whatever brings torch is imported inside the functions."""
