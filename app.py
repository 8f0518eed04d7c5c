"""The AdvDM app: puts the tabs together and launches them."""

import spaces  # noqa: F401  before torch, as ZeroGPU wants it

# isort: split
import os
import signal
from typing import Any

import gradio as gr
from gradio.route_utils import delete_files_created_by_app

from ui.door import Door
from ui.mimicry import build_mimicry_tab
from ui.protect import build_protect_tab
from ui.shared import RUN_FILES, remove_empty_folders

INTRO = """# AdvDM
Protect a painting from imitation by diffusion models, with a slight change of its pixels that misleads them.
"""
THEME = gr.themes.Soft(primary_hue="teal", neutral_hue="stone", font=["system-ui", "sans-serif"]).set(
    background_fill_primary="*neutral_50",
    block_title_background_fill="none",
    block_title_background_fill_dark="none",
    block_title_padding="0",
    block_title_text_color="*body_text_color",
    block_title_text_color_dark="*body_text_color",
    block_label_text_color="*body_text_color",
    block_label_background_fill="*block_background_fill",
    block_label_background_fill_dark="*block_background_fill",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
    checkbox_border_color="*neutral_500",
    checkbox_border_color_dark="*neutral_400",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_600",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover_dark="*primary_600",
    checkbox_label_background_fill_selected="*primary_700",
    checkbox_label_background_fill_selected_dark="*primary_700",
)
CSS = """
.fit, .fit .grid-wrap { height: auto !important; min-height: 0 }
.labelled .grid-wrap { max-height: none; padding-top: 36px }
.labelled label > span { display: none }
.labelled button .caption-label { max-width: 95%; font-size: 11px; white-space: normal }
.prose table { display: block; overflow-x: auto; border: 0 !important }
.prose td, .prose th { overflow-wrap: normal; word-break: normal }
.dark button.secondary:disabled { background: var(--neutral-700) }
.band .grid-container { grid-template-columns: repeat(auto-fill, minmax(108px, 1fr)) }
.strip .grid-container { grid-template: auto / repeat(auto-fill, minmax(48px, 1fr)); grid-auto-rows: auto }
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

# Every 10 minutes, whatever is older than 50: within the hour.
with Door(title="AdvDM", analytics_enabled=False, delete_cache=(600, 3000)) as demo:
    gr.Markdown(INTRO)
    with gr.Tab("Protect"):
        pair = build_protect_tab()
    with gr.Tab("Mimicry"):
        build_mimicry_tab(pair)

demo.temp_file_sets.append(RUN_FILES)
demo.queue(max_size=16, api_open=False)  # or requests could pass the queue by


def main() -> None:
    """Serve until Ctrl-C or a request to end; what visitors have left goes with the app."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        demo.launch(**LAUNCH)
    finally:
        delete_files_created_by_app(demo, age=None)
        remove_empty_folders()


if __name__ == "__main__":
    main()
