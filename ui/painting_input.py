"""The input for a painting; in a module of its own, because Gradio writes a .pyi beside what defines a component."""

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from advdm.paintings import check_painting
from ui.shared import said


class PaintingInput(gr.Image):
    """gr.Image that judges a file before anything decodes it, and takes nothing but uploads."""

    is_template = True  # the page shows it as gr.Image

    def preprocess(self, payload: Any) -> str | None:
        if payload is None:
            return None
        path = Path(payload.path or "").resolve()
        if not path.is_relative_to(Path(get_upload_folder()).resolve()):
            raise gr.Error("Please upload the painting on this page.", print_exception=False)
        with said():
            check_painting(path)
        return str(path)
