"""What visitors upload. Nothing is fetched from elsewhere, and nothing is decoded that was not looked at first."""

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.components.gallery import GalleryData
from gradio.data_classes import ListFiles
from gradio.utils import get_upload_folder
from gradio_client.utils import is_http_url_like
from PIL import Image
from pydantic import model_validator

from advdm import AdvDMError, read_painting
from advdm.formats import check_painting
from advdm.paintings import Levels, mask_levels
from ui.runs import not_possible

EXAMPLE = {"path": "painting.png", "meta": {"_type": "gradio.FileData"}}
"""What the API page sends in its examples: a file, for addresses are not fetched."""
UPLOAD_FIRST = "Please upload the painting on this page."
UNREADABLE = "This request cannot be read. Upload the pictures first; 'Use via API' below the page shows the settings."
MOST_PICTURES = 20
SHOWN_SIDE = 2000
"""Pixels a side up to which the page shows a picture at full resolution."""
BRUSH_SIDE = 1000
"""Pixels a side of the picture under the brush."""


class Page(gr.Blocks):
    """gr.Blocks would answer what the page never sends with nothing, and log it with the names of files."""

    async def preprocess_data(self, *given: Any, **named: Any) -> Any:
        try:
            return await super().preprocess_data(*given, **named)
        except gr.Error as error:
            error.print_exception = False
            raise
        except Exception as error:  # a path that is no upload, text for a number, too few values
            raise not_possible(UNREADABLE) from error


class UploadsOnly(gr.components.Component):
    """Gradio would download any public address, however much there is behind it; these take files alone.

    It must not be the first base of a component: the page shows that one.
    """

    async def async_move_resource_to_block_cache(self, url_or_file_path: str | Path | None) -> str | None:
        if is_http_url_like(str(url_or_file_path)):
            raise not_possible(UPLOAD_FIRST)
        return await super().async_move_resource_to_block_cache(url_or_file_path)


class PaintingInput(gr.Image, UploadsOnly):
    """gr.Image that decodes nothing."""

    is_template = True  # the page shows it as gr.Image

    def preprocess(self, payload: Any) -> str | None:
        return None if payload is None else uploaded(payload.path)

    def example_payload(self) -> Any:
        return EXAMPLE


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
            raise not_possible(f"At most {MOST_PICTURES} pictures of one painter, please.")
        return [uploaded(item.image.path if hasattr(item, "image") else None) for item in items]

    def api_info_as_input(self) -> dict[str, Any]:
        return ListFiles.model_json_schema()

    def example_payload(self) -> Any:
        return [EXAMPLE]


class FilesInput(gr.File, UploadsOnly):
    """gr.File that fetches nothing."""

    is_template = True


class FolderInput(gr.UploadButton, UploadsOnly):
    """gr.UploadButton that fetches nothing."""

    is_template = True


class BrushInput(gr.ImageEditor, UploadsOnly):
    """gr.ImageEditor that hands over where the brush went: (h, w) bool in the size of the picture below, or None."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        if payload is None or not payload.layers:
            return None
        with Image.open(uploaded(payload.layers[0].path), formats=["PNG", "WEBP"]) as layer:
            if max(layer.size) > BRUSH_SIDE:
                raise not_possible(UNREADABLE)
            touched = np.asarray(layer.convert("RGBA"))[..., 3] > 0
        return touched if touched.any() else None


def uploaded(path: str | None) -> str:
    """The path of an upload, or of the painting that it shows; every other is refused in a sentence on the page."""
    file = Path(path or "").resolve()
    if not file.is_relative_to(Path(get_upload_folder()).resolve()):
        raise not_possible(UPLOAD_FIRST)
    original = file.with_suffix("")  # see `shown_as`
    return str(original if original.suffix.lower() in (".tif", ".tiff") and original.exists() else file)


def shown_as(path: str | None) -> Any:
    """What the page shows of an upload: of a TIFF, which no browser shows, sea.tif.png beside it."""
    if path is None or Path(path).suffix.lower() not in (".tif", ".tiff"):
        return gr.skip()
    return preview(path, f"{path}.png", SHOWN_SIDE) or gr.skip()


def under_the_brush(path: str | None) -> str | None:
    """A small picture of the painting, to mark parts on."""
    return preview(path, f"{path}.brush.png", BRUSH_SIDE) if path else None


def preview(path: str, reduced: str, side: int) -> str | None:
    """Write the painting as a PNG of at most `side` pixels a side; None where it cannot be read."""
    try:
        return str(read_painting(path).save(reduced, side))
    except AdvDMError:
        return None


def objection(*paths: str) -> str:
    """Why one of these files cannot be used as a painting, or nothing; told without decoding them."""
    try:
        for path in paths:
            check_painting(path)
    except AdvDMError as error:
        return str(error)
    return ""


def clean_parts(size: tuple[int, int], file: str | None, brush: Any) -> Levels | None:
    """The mask (H, W) for a painting of (width, height): black where the brush went, and as the uploaded file has it.

    None where everything may change. Raises PaintingError.
    """
    masks = []
    if file:
        masks.append(mask_levels(read_painting(file)))
    if brush is not None:
        touched = Image.fromarray(np.where(brush, 0, 255).astype(np.uint8))
        masks.append(np.asarray(touched.resize(size, Image.Resampling.NEAREST)))
    if len({mask.shape for mask in masks}) == 2:
        masks.pop()  # the file's is of another size, which the attack refuses in a sentence
    return np.minimum.reduce(masks) if masks else None
