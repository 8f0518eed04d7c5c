"""How the page looks: Gradio's soft theme with the contrast that text needs, and galleries that fit their pictures."""

from typing import Any

import gradio as gr

THEME = gr.themes.Soft(
    primary_hue="teal", secondary_hue="teal", neutral_hue="stone", font=["system-ui", "sans-serif"]
).set(
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
.fit, .fit .grid-wrap { height: auto !important; max-height: none; min-height: 0; overflow: visible }
.labelled .grid-wrap { padding-top: 36px }
.labelled label > span { display: none }
.labelled .grid-container { grid-template-columns: repeat(var(--grid-cols), minmax(0, 1fr)) }
.caption-label { max-width: 95%; font-size: 11px !important; white-space: normal !important }
@media (max-width: 640px) { .caption-label { padding: 0 4px !important; white-space: nowrap !important } }
.file-preview td.download { min-width: 0; width: auto }
.results .label-clear-button { display: none }
[role=tab].selected { color: var(--primary-700) }
.dark [role=tab].selected { color: var(--primary-400) }
.dark { color-scheme: dark }
.status .pending { opacity: 1 !important }
.dark button.secondary:disabled { background: var(--neutral-700) }
.strip .grid-container { grid-template: auto / repeat(auto-fill, minmax(48px, 1fr)); grid-auto-rows: auto }
.status p { margin: 0; overflow-wrap: anywhere }
.status progress, .status ::-webkit-progress-bar {
  appearance: none; width: 100%; height: 6px; border: 0; border-radius: 3px; background: var(--border-color-primary)
}
.status ::-webkit-progress-value { border-radius: 3px; background: var(--primary-700) }
.status ::-moz-progress-bar { border-radius: 3px; background: var(--primary-700) }
"""


def gallery(label: str, columns: int, classes: str, **other: Any) -> gr.Gallery:
    """Pictures as they are, without loss, to be looked at."""
    return gr.Gallery(
        label=label, columns=columns, elem_classes=classes, object_fit="contain", format="png", interactive=False,
        **{"buttons": ["fullscreen"], **other},
    )  # fmt: skip
