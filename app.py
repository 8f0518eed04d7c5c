"""The AdvDM app: loads the model, puts the tabs together and launches them."""

# ruff: noqa: E402
from advdm import environment

environment.prepare()  # before torch is imported
import spaces  # noqa: F401  also before torch, as ZeroGPU wants it

# isort: split
import os
import signal
import sys
import threading
from typing import Any

import gradio as gr

from advdm import AdvDMError
from ui import pace, runs
from ui.mimicry_tab import build_mimicry_tab
from ui.protect_tab import build_protect_tab
from ui.theme import CSS, THEME
from ui.uploads import Page

INTRO = """# AdvDM
Make a painting hard to imitate for diffusion models, by a change of its pixels. You choose how visible it may be.
"""
LAUNCH: dict[str, Any] = {
    "theme": THEME,
    "css": CSS,
    "max_file_size": "160mb",  # as many pixels as are admitted, not compressed
    "footer_links": ["api", "gradio", "settings"],
    "run_history": False,
    "enable_monitoring": False,
    "state_session_capacity": 100,  # Gradio would keep a copy of the page for each of the last 10,000 visitors
    "share": os.getenv("GRADIO_SHARE", "").lower() in ("1", "true"),
}


def build() -> gr.Blocks:
    """The page, with its model loaded and a folder for its files. Raises AdvDMError."""
    runs.model()
    runs.keep_cleaning(runs.make_home())
    with Page(title="AdvDM", analytics_enabled=False) as page:
        gr.Markdown(INTRO)
        with gr.Tab("Protect"):
            pair = build_protect_tab()
        with gr.Tab("Mimicry"):
            build_mimicry_tab(pair)
    return page.queue(max_size=50, api_open=False)  # or requests could pass the queue by


try:
    demo = build()
except AdvDMError as error:
    print(error, file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not pace.ON_ZERO:  # where the app itself may not compute
        threading.Thread(target=pace.gauge, daemon=True).start()
    demo.launch(**LAUNCH)
