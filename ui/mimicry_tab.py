"""The Mimicry tab: what stands on it, and what calls what."""

from typing import Any

import gradio as gr

from advdm.settings import PROMPTS, MimicrySettings, RepaintSettings
from ui.mimicry import SMOOTHING, Order, Shown, complaint, describe, mimic, new_pair, show, show_more, use_pair
from ui.runs import LANE, QUIET, model, status_line, wire
from ui.theme import gallery
from ui.uploads import PaintingsInput, shown_as

IMITATORS = (
    ("Learns a word for your style (textual inversion, the paper's test)", "inversion"),
    ("Trains a small add-on, a LoRA (what hobbyists do; the surer test)", "lora"),
    ("Paints over your picture (image to image, no learning)", "repaint"),
)
WELCOME = """### How it works
1. **Use the pair from Protect**, or upload originals and their protected copies in the same order.
2. **Equal imitators** learn from the original, from the protected copy and, as a control, from random noise.
3. **Look.** All paint the same subjects, and an independent judge measures how near each came to the painting.
"""
CONTROL = (
    "Noise as strong as the copy's largest change. If it hindered the imitator as much, the copy would protect "
    "nothing. It makes the learning half as long again."
)
HOW = """What each learned from: nothing (unseen), the original, the protected copy, or random noise. Click a picture to
enlarge it; the arrow keys go from one imitator to the next."""
ABOUT = """### What this test is, and what it is not
It is one imitator on **{}**. Other imitators and other models may imitate better. *Protected* means that the whole
interval lies below 50, *partly protected*, below 100, and both of them below the control, if there is one. *Not
protected* means above 80; *undecided*, none of these, or that the control is not near 100. More pictures narrow the
interval. Do not train on living artists' work without their permission.
"""


def build_mimicry_tab(pair: gr.State) -> None:
    """The tab with all its events; `pair` holds the paths of a painting and its protected copy, or None."""
    known, default = gr.State(), MimicrySettings()
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            take = gr.Button("Use the pair from Protect")
            with gr.Row():
                original, protected = paintings_input("Original"), paintings_input("Protected")
            imitator = gr.Radio(IMITATORS, value="inversion", label="Imitator")  # type: ignore[arg-type]
            strength = gr.Slider(
                0.1, 1, RepaintSettings.repaint_strength, label="How much is painted anew", visible=False
            )
            control = gr.Checkbox(True, label="Random noise as a control", info=CONTROL)
            price = gr.Markdown()
            with gr.Row():
                start = gr.Button("Learn and paint", variant="primary", min_width=100, elem_id="mimic")
                stop = gr.Button("Stop", interactive=False, min_width=100, elem_id="stop-mimic")
            status = status_line(complaint([], []))
            with gr.Accordion("Advanced", open=False):
                steps = gr.Slider(0, 1000, 0, step=1, label="Steps of learning", info="0 = as many as usual.")
                prompts = gr.Textbox(
                    "\n".join(PROMPTS).replace("{}", "*"),
                    label="Prompts",
                    info="One on each line; * stands for the style.",
                    lines=6,
                )
                count = gr.Slider(1, 10, default.count, step=1, label="Pictures of each prompt")
                seed = gr.Number(default.seed, label="Seed", minimum=0)
        with gr.Column(scale=3, min_width=320):
            with gr.Column() as welcome:
                gr.Markdown(WELCOME)
            with gr.Column(visible=False) as results:
                finding = gr.Markdown()
                more = gr.Button("Paint more", elem_id="more")
                pictures = gallery("One prompt and seed a row", 4, "labelled", height=640)
                gr.Markdown(HOW)
                with gr.Tab("Training loss"):
                    curve = gr.LinePlot(
                        x="step",
                        y="noise error",
                        color="learns from",
                        color_map={"original": "#0d9488", "protected": "#ea580c", "random noise": "#78716c"},
                        label=f"Training loss of each imitator, mean of up to {SMOOTHING} steps",
                        buttons=[],
                    )
                    gr.Markdown("How large each imitator's error is while it learns. Painting over learns nothing.")
                with gr.Tab("Files"):
                    gr.Markdown(
                        "As diffusers reads it: `load_textual_inversion` for a word, `load_lora_weights` for a LoRA."
                    )
                    downloads = gr.File(
                        label="What was learned", file_count="multiple", interactive=False, elem_classes="results"
                    )
                with gr.Tab("Report"):
                    report = gr.JSON(label="Report", show_label=False)
            gr.Markdown(ABOUT.format(model().title))

    order = Order(original, protected, imitator, control, steps, prompts, count, strength, seed)
    gr.on(None, describe, order[2:], price, **QUIET)  # at the start, and when something changes
    imitator.input(lambda kind: gr.update(visible=kind == "repaint"), imitator, strength, **QUIET)
    take.click(use_pair, pair, [original, protected, status], **QUIET)
    for side in (original, protected):
        side.upload(show_all, side, side, **QUIET)
    changes = [event for side in (original, protected) for event in (side.change, side.delete)]
    gr.on(changes, new_pair, [original, protected], [status, welcome, results, finding, known], **QUIET)
    outputs = Shown(status, finding, pictures, curve, downloads, report, more, known, welcome, results)
    for end in wire(stop, status, outputs, (start, show, order), (more, show_more, [known])):
        end.then(describe, order[2:], price, **QUIET)
    gr.on([], mimic, [*order], [pictures, report], **LANE)


def show_all(paths: list[str]) -> Any:
    """The uploads as the page can show them."""
    shown = [shown_as(path) for path in paths]
    return [one if isinstance(one, str) else path for one, path in zip(shown, paths, strict=True)]


def paintings_input(label: str) -> PaintingsInput:
    return PaintingsInput(
        label=label,
        type="filepath",
        file_types=["image"],
        sources=["upload"],
        columns=2,
        min_width=140,
        object_fit="contain",
        buttons=[],
        interactive=True,
        elem_classes="fit labelled",
    )
