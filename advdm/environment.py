"""What must be set before torch is imported. The entry points call `prepare`; what the user has set stays."""

import os


def prepare() -> None:
    """Let torch use huge pages, which save a tenth of a large model's time (`benchmarks/README.md`)."""
    if os.path.exists("/sys/kernel/mm/transparent_hugepage"):
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
