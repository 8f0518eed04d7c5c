"""What the user has set in the environment, and what must be set there before torch is imported."""

import os

SPINS = "3000"
"""Turns that a thread waits before it sleeps, for the next small operation comes at once. With the default, torch's
threads spin long while other work has their cores: an attack beside two busy processes then takes 5 to 9 times as
long, with this 3 times, and alone 1.05 times (benchmarks/beside.py)."""


def model_name() -> str:
    return os.environ.get("ADVDM_MODEL") or "atelier"


def device_name() -> str:
    return os.environ.get("ADVDM_DEVICE") or "auto"


def prepare() -> None:
    """Let torch use huge pages, which save a tenth of a large model's time (`benchmarks/README.md`), and spin less."""
    if os.path.exists("/sys/kernel/mm/transparent_hugepage"):
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
