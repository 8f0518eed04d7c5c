"""Where requests come in: what the page would never send is answered in a sentence, and not a word of it is logged."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio_client.utils import is_http_url_like

UPLOAD_FIRST = "Please upload the painting on this page."
UNREADABLE = "This request cannot be read. Upload the pictures first; 'Use via API' below the page shows the settings."


class GrowingSet(set[str]):
    """A set that may grow while somebody goes through it."""

    def __iter__(self) -> Iterator[str]:
        return iter(set(self))


class Door(gr.Blocks):
    """gr.Blocks, which by itself would answer such requests with nothing, and log them with the names of files.

    It also deletes old files for as long as it runs: gr.Blocks looks for them in a thread, and gives up for good as
    soon as a visitor adds one meanwhile.
    """

    def __exit__(self, *problem: Any) -> None:
        super().__exit__(*problem)
        self.upload_file_set = GrowingSet(self.upload_file_set)
        for block in (self, *self.blocks.values()):
            block.temp_files = GrowingSet(block.temp_files)
        self.temp_file_sets = [self.upload_file_set, *(block.temp_files for block in (self, *self.blocks.values()))]

    async def preprocess_data(self, *given: Any, **named: Any) -> Any:
        try:
            return await super().preprocess_data(*given, **named)
        except gr.Error as error:
            error.print_exception = False
            raise
        except Exception as error:  # a path that is no upload, text for a number, too few values
            raise gr.Error(UNREADABLE, print_exception=False) from error


class UploadsOnly(gr.components.Component):
    """A component that fetches nothing: Gradio would download any public address, however much there is behind it.

    It must not be the first base of a component: the page shows that one.
    """

    async def async_move_resource_to_block_cache(self, url_or_file_path: str | Path | None) -> str | None:
        if is_http_url_like(str(url_or_file_path)):
            raise gr.Error(UPLOAD_FIRST, print_exception=False)
        return await super().async_move_resource_to_block_cache(url_or_file_path)
