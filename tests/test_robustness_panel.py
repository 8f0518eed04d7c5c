"""The panel on what is left of a protection, without a browser."""

import inspect
from types import ModuleType

import gradio as gr
import pytest

from tests import app_server
from tests.test_mimicry_tab import BRIDGE, HARVEST, VISITOR


@pytest.fixture(scope="module")
def panel() -> ModuleType:
    app_server.app()
    from ui import robustness

    return robustness


def test_table_grows_to_a_line_for_each_treatment(panel: ModuleType) -> None:
    first, *shows = panel.show_robustness([HARVEST], [BRIDGE], VISITOR)
    assert first == ("Measuring.", "")
    total = len(panel.treatments(panel.MODEL))
    assert len(shows) == total + 1
    statuses, tables = zip(*shows, strict=True)
    assert statuses[0] == f"harvest.webp: treatment 1 of {total}."
    assert tables[0].count("\n| ") == 2  # and the rule
    assert tables[-1].count("\n| ") == total + 1
    assert statuses[-1].startswith("harvest.webp: ")
    assert "leaves least" in statuses[-1] or "nothing" in statuses[-1]


def test_what_it_says_whichever_way_it_falls(panel: ModuleType) -> None:
    errors = {
        "untouched": {"original": 0.2, "protected": 0.3},
        "JPEG 95": {"original": 0.2, "protected": 0.29},
        "purified": {"original": 0.2, "protected": 0.195},
    }
    text = panel.table(errors)
    assert "| untouched | 100 %, all of it | 0.200 | 0.300 |" in text
    assert "| JPEG 95 | 90 %, nearly all | 0.200 | 0.290 |" in text
    assert "| purified | -5 %, nothing | 0.200 | 0.195 |" in text
    assert panel.summary(errors) == "**purified** leaves least: -5 %, nothing."
    same = {name: {"original": 0.2, "protected": 0.2} for name in errors}
    assert "| purified | no difference to begin with | 0.200 | 0.200 |" in panel.table(same)
    assert "nothing that could be left" in panel.summary(same)


def test_stop_ends_it_after_a_treatment_or_before_it_begins(panel: ModuleType) -> None:
    stop, finish = (panel.owned(panel.PLACE, event) for event in (panel.shared.press_stop, panel.shared.finish))
    shows = panel.show_robustness([HARVEST], [BRIDGE], VISITOR)
    assert next(shows) == ("Measuring.", "")
    stop(VISITOR)
    status, table = next(shows)
    assert status == "harvest.webp: stopped." and table.count("\n| ") == 2
    assert list(shows) == []
    assert list(panel.show_robustness([HARVEST], [BRIDGE], VISITOR)) == [("Stopped.", "")]
    assert not panel.stop_flag(VISITOR).exists(), "what runs on the Protect tab goes on"
    finish(VISITOR)
    assert next(panel.show_robustness([HARVEST], [BRIDGE], VISITOR)) == ("Measuring.", "")


def test_needs_a_pair(panel: ModuleType) -> None:
    with pytest.raises(gr.Error, match="Choose an original and its protected copy"):
        next(panel.show_robustness([HARVEST], [], VISITOR))


def test_duration_takes_what_measure_takes(panel: ModuleType) -> None:
    assert inspect.signature(panel.gpu_seconds).parameters == inspect.signature(panel.measure).parameters
