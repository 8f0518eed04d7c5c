"""The inputs for paintings; in a module of their own, because Gradio writes a .pyi beside what defines a component."""

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components.gallery import GalleryData
from gradio.data_classes import ListFiles
from gradio.utils import get_upload_folder
from pydantic import model_validator

from advdm import PaintingError
from advdm.paintings import check_painting
from ui.door import UPLOAD_FIRST, UploadsOnly

MOST_PICTURES = 20


class PaintingInput(gr.Image, UploadsOnly):
    """gr.Image that decodes nothing, and takes nothing but uploads."""

    is_template = True  # the page shows it as gr.Image

    def preprocess(self, payload: Any) -> str | None:
        return None if payload is None else uploaded(payload.path)


class Files(GalleryData):
    """What a gallery holds; a client may also send one file, or a list of files, without captions."""

    @model_validator(mode="before")
    @classmethod
    def wrapped(cls, value: Any) -> Any:
        files = value if isinstance(value, list) else [value]
        return [{"image": file} if isinstance(file, dict) and "path" in file else file for file in files]


class PaintingsInput(gr.Gallery, UploadsOnly):
    """gr.Gallery for one or several paintings, as careful as PaintingInput."""

    is_template = True
    data_model = Files

    def preprocess(self, payload: Any) -> list[str]:
        items = [] if payload is None else payload.root
        if len(items) > MOST_PICTURES:  # before each of them is read
            raise gr.Error(f"At most {MOST_PICTURES} pictures of one painter, please.", print_exception=False)
        return [uploaded(item.image.path if hasattr(item, "image") else None) for item in items]

    def api_info_as_input(self) -> dict[str, Any]:
        return ListFiles.model_json_schema()

    def example_payload(self) -> Any:
        return [item["image"] for item in super().example_payload()]


def uploaded(path: str | None) -> str:
    """The path of an upload; every other is refused in a sentence on the page."""
    file = Path(path or "").resolve()
    if not file.is_relative_to(Path(get_upload_folder()).resolve()):
        raise gr.Error(UPLOAD_FIRST, print_exception=False)
    return str(file)


def objection(*paths: str) -> str:
    """Why one of these files cannot be used as a painting, or nothing; told without decoding them."""
    try:
        for path in paths:
            check_painting(path)
    except PaintingError as error:
        return str(error)
    return ""
