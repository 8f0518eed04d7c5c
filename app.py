"""The AdvDM app: puts the tabs together and launches them."""

import spaces  # noqa: F401  before torch, as ZeroGPU wants it

# isort: split
import os
from typing import Any

import gradio as gr

from ui.protect import build_protect_tab

INTRO = """# AdvDM
Protect a painting from imitation by diffusion models, with a change that you hardly see and that misleads them.
"""
LAUNCH: dict[str, Any] = {
    "theme": gr.themes.Soft(primary_hue="teal", neutral_hue="stone", font=["system-ui", "sans-serif"]),
    "max_file_size": "50mb",
    "footer_links": ["api", "gradio", "settings"],
    "run_history": False,
    "enable_monitoring": False,
    "share": os.getenv("GRADIO_SHARE", "").lower() in ("1", "true"),
}

# Every 10 minutes, whatever is older than 50: within the hour.
with gr.Blocks(title="AdvDM", analytics_enabled=False, delete_cache=(600, 3000)) as demo:
    gr.Markdown(INTRO)
    with gr.Tab("Protect"):
        build_protect_tab()

demo.queue(max_size=16)


def main() -> None:
    demo.launch(**LAUNCH)


if __name__ == "__main__":
    main()
