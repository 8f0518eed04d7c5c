"""The Protect tab: what stands on it, and what calls what."""

from pathlib import Path
from typing import Any

import gradio as gr

from advdm import Settings
from advdm.settings import MEANINGS, MOST_EPSILON, STRENGTHS, TARGETED
from ui.attack import Order
from ui.protect import AMPLIFIED, CHOOSE, EFFORTS, Shown, add_folder, describe, new_files, new_painting, protect, show
from ui.runs import LANE, QUIET, model, part_of_the_page, status_line, wire
from ui.theme import gallery
from ui.uploads import BrushInput, FilesInput, FolderInput, PaintingInput, shown_as

BALANCED = "balanced"
EXAMPLES = Path(__file__).parents[1] / "examples"
WELCOME = """### How it works
1. **Choose a painting**, or an example by Vincent van Gogh.
2. **Protect** changes its pixels so that they mislead the model. You choose how visible that may be.
3. **Compare and download.** Publish only the protected copy, never the original.
"""
ATELIER = """**Computed on atelier**, the small model that comes with this app. It shows how the defence works. Do not
rely on it against Stable Diffusion. For that, whoever runs the app starts it with `ADVDM_MODEL=sd15 python app.py`."""
OTHERS = """**Computed on {}**, against imitators who train this same model. How well that protects was not measured;
try it on the Mimicry tab."""
LIMITS = """### What to expect
- JPEG, resizing, screenshots, attempts to remove it and newer models weaken it. Resize first, protect last.
- Plain areas, like a sky, change least. But a painting that is smooth all over, a face or a pale wall may look
  blotched: look closely before you publish, and choose Subtle if you mind it.
- It stops nobody from copying the picture itself. Picture editors are out of its reach.
- The copy is a PNG, and larger than a JPEG. Saving it as a JPEG would weaken the protection.
- Your painting stays in temporary files, which are deleted within the hour, and is used for nothing else.
"""


def build_protect_tab() -> gr.State:
    """The tab with all its events; returns the paths of the last painting and its protected copy, at first None."""
    pair, many = gr.State(), gr.State(False)
    examples = [path for path in part_of_the_page(EXAMPLES) if path.endswith(".webp")]
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            with gr.Tab("One painting") as one:
                painting = painting_input("Painting", alt_text="The chosen painting")
                strip = gallery(
                    "Examples", 8, "fit strip", value=examples, show_label=False, allow_preview=False, buttons=[]
                )
                with gr.Accordion("Leave parts clean", open=False):
                    gr.Markdown("Choose a painting, then paint over skin or sky. Nothing under the brush is changed.")
                    brush = brush_input()
                    mask = painting_input("Or a mask: black stays clean", height=160)
            with gr.Tab("Several") as several_tab:
                files = FilesInput(label="Paintings", file_count="multiple", height=200)
                folder = FolderInput("Add a folder", file_count="directory", size="sm")
            words = [(name.capitalize(), name) for name in STRENGTHS]
            seen = "How visible the change may become. Subtle shows less and protects less."
            strength = gr.Radio(words, value=BALANCED, label="Strength", info=seen)
            effort = gr.Radio(list(EFFORTS), value="Quick", label="Effort")
            with gr.Row():
                start = gr.Button("Protect", variant="primary", min_width=100, elem_id="protect")
                stop = gr.Button("Stop", interactive=False, min_width=100, elem_id="stop-protect")
            status = status_line(CHOOSE)
            with gr.Accordion("Advanced", open=False):
                order = Order(painting, mask, strength, *advanced(Settings()))
        with gr.Column(scale=3, min_width=320):
            with gr.Column() as welcome:
                gr.Markdown(WELCOME)
            summary = gr.Markdown()
            with gr.Column(visible=False) as single:
                slider = gr.ImageSlider(
                    label="Original | Protected", type="filepath", format="png", interactive=False,
                    buttons=["fullscreen"], max_height=480,
                )  # fmt: skip
                protected = gr.DownloadButton("Download the protected PNG", variant="primary", interactive=False)
                with gr.Tab("The change"):
                    change = gallery("Pixel by pixel", 3, "fit", show_label=False)
                    gr.Markdown(f"Click to enlarge. The change is multiplied by {AMPLIFIED}; grey is none.")
                with gr.Tab("Report"):
                    report = gr.JSON(label="Report", show_label=False)
            with gr.Column(visible=False) as several:
                copies = gr.File(
                    label="Protected copies", file_count="multiple", interactive=False, elem_classes="results"
                )
            told = ATELIER if model().name == "atelier" else OTHERS.format(model().title)
            gr.Markdown(f"{told}\n\n{LIMITS}")

    def pick(event: gr.SelectData) -> str:
        return examples[event.index]

    strip.select(pick, None, painting, **QUIET)
    for upload in (painting, mask, order.target):
        upload.upload(shown_as, upload, upload, **QUIET)
    painting.change(new_painting, painting, [status, brush, protected, summary, welcome, single, pair], **QUIET)
    one.select(lambda: False, None, many, **QUIET)
    several_tab.select(lambda: True, None, many, **QUIET)
    folder.upload(add_folder, [folder, files], files, **QUIET)
    files.change(new_files, files, status, **QUIET)
    strength.input(lambda: 0, None, order.epsilon, **QUIET)
    order.epsilon.input(lambda epsilon: None if epsilon else BALANCED, order.epsilon, strength, **QUIET)
    effort.input(lambda word: EFFORTS[word], effort, [order.steps, order.samples], **QUIET)
    order.objective.input(explain, order.objective, [order.objective, order.target], **QUIET)
    described = [order.steps, order.samples, order.objective]
    gr.on(None, describe, described, effort, **QUIET)  # at the start, and at each change
    outputs = Shown(status, protected, copies, report, summary, slider, change, welcome, single, several, pair)
    (end,) = wire(stop, status, outputs, (start, show, [many, files, brush, *order]))
    end.then(describe, described, effort, **QUIET)
    gr.on([], protect, [*order], [protected, report], **LANE)
    return pair


def advanced(default: Settings) -> tuple[Any, ...]:
    """From epsilon to seed, in the order of `Order`."""
    steps, samples = EFFORTS["Quick"]
    return (
        gr.Slider(0, MOST_EPSILON, 0, step=1, label="Epsilon", info="Largest change, of 255 levels; 0 = by Strength."),
        gr.Slider(1, 500, steps, step=1, label="Steps"),
        gr.Slider(1, 16, samples, step=1, label="Samples", info="Random noises that each step averages."),
        gr.Number(0, label="Step size", info="Of 255 levels; 0 = an eighth of epsilon.", minimum=0),
        gr.Dropdown(list(MEANINGS), value=default.objective, label="Objective", info=MEANINGS[default.objective]),
        painting_input("Target picture, or none", height=160, visible=False),
        gr.Checkbox(default.even, label="Same change everywhere, as in the paper", info="Plain areas show it more."),
        gr.Checkbox(default.as_published, label="As published", info="The paper's algorithm and nothing else."),
        gr.Number(default.seed, label="Seed", info="The same seed gives the same copy.", minimum=0),
    )


def explain(objective: str) -> tuple[Any, Any]:
    """What the objective does; a target picture only for those that have one."""
    return gr.update(info=MEANINGS[objective]), gr.update(visible=objective in TARGETED, value=None)


def painting_input(label: str, **other: Any) -> PaintingInput:
    how = {"height": 240, "sources": ["upload", "clipboard"], **other}
    return PaintingInput(label=label, type="filepath", image_mode=None, buttons=[], **how)


def brush_input() -> BrushInput:
    """To mark what stays clean."""
    brush = gr.Brush(default_size=24, colors=["#e11d48"], color_mode="fixed")
    return BrushInput(
        label="Brush", show_label=False, type="filepath", format="png", sources=(), transforms=(), layers=False,
        buttons=[], brush=brush, height=420,
    )  # fmt: skip
