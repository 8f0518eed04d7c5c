"""What is left of a protection: the treatments, the measure, and the command from files to tables, on a tiny model."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from advdm import cli
from advdm.commands.shared import attack_settings, mimicry_settings
from advdm.evaluation import noise_error
from advdm.imitators.inversion import InversionSettings
from advdm.mimicry import MimicrySettings
from advdm.paintings import Painting
from advdm.protection import Settings, protect
from advdm.robustness import (
    COPIES,
    NOISE,
    Row,
    imitations,
    left,
    make_copies,
    markdown,
    noise_errors,
    robustness,
    tabulate,
    ticks,
    treatments,
)
from advdm.tables import ORIGINAL, RANDOM
from tests.test_cli import paint, run, saved_tiny, workplace, written  # noqa: F401  (fixtures)

NAMES = [
    *("untouched", "JPEG 95", "JPEG 75", "JPEG 50"),
    *("half size and back", "cropped", "blurred", "noise added", "purified"),
]
ATTACK = Settings(steps=2, step_size=4)
QUICK_MIMICRY = MimicrySettings(InversionSettings(steps=2, vectors=1, batch=1), ("a {}", "a boat"), sampling_steps=2)
QUICK = (
    "--steps",
    "2",
    "--inversion-steps",
    "2",
    "--vectors",
    "1",
    "--sampling-steps",
    "2",
    "--prompts",
    "prompts.txt",
)


@pytest.fixture
def few(monkeypatch) -> list[str]:
    """Two treatments in place of nine, where imitators learn."""
    monkeypatch.setattr("advdm.robustness.treatments", lambda model: {n: treatments(model)[n] for n in NAMES[:2]})
    return NAMES[:2]


def test_treatments_are_what_they_are_called(tiny, painting):
    levels = painting.levels
    treated = {name: treat(levels) for name, treat in treatments(tiny).items()}
    assert list(treated) == NAMES
    assert treated.pop("untouched") is levels
    assert all(one.dtype == np.uint8 and one.shape[2] == 3 for one in treated.values())
    assert treated.pop("cropped").shape == (56, 72, 3)
    purified = treated.pop("purified")
    assert purified.shape[0] % 8 == purified.shape[1] % 8 == 0
    change = {name: np.abs(one.astype(int) - levels) for name, one in treated.items()}
    assert change["noise added"].max() == NOISE
    assert 0 < change["JPEG 95"].mean() < change["JPEG 75"].mean() < change["JPEG 50"].mean()
    again = {name: treat(levels) for name, treat in treatments(tiny).items()}
    assert all(np.array_equal(again[name], one) for name, one in treated.items())


def test_copies_are_what_they_are_called(tiny, painting):
    copies = make_copies(painting, tiny, ATTACK, lambda: None)
    assert tuple(copies) == COPIES
    assert copies[ORIGINAL] is painting
    assert np.abs(copies[RANDOM].levels.astype(int) - painting.levels).max() == ATTACK.epsilon
    for name, robust in (("protected", False), ("robustly protected", True)):
        expected = protect(painting, tiny, steps=2, step_size=4, robust=robust).levels
        assert np.array_equal(copies[name].levels, expected)


def test_noise_errors_are_those_of_the_treated_copies(tiny, painting):
    other = replace(painting, levels=255 - painting.levels)
    errors = dict(noise_errors({"one": painting, "other": other}, tiny))
    assert list(errors) == NAMES
    assert errors["untouched"] == {"one": noise_error(painting, tiny), "other": noise_error(other, tiny)}
    blurred = Painting(treatments(tiny)["blurred"](other.levels))
    assert errors["blurred"]["other"] == noise_error(blurred, tiny)


def test_what_is_left_is_measured_from_the_original_that_was_treated_too():
    errors = {
        "untouched": {ORIGINAL: 0.2, RANDOM: 0.201, "protected": 0.3, "smoothed": 0.15},
        "blurred": {ORIGINAL: 0.18, RANDOM: 0.19, "protected": 0.23, "smoothed": 0.18},
    }
    assert left(errors, "blurred", "protected") == pytest.approx(50)
    assert left(errors, "blurred", "smoothed") == pytest.approx(0), "an attack that lowers the error counts the same"
    assert left(errors, "blurred", ORIGINAL) is None and left(errors, "blurred", RANDOM) is None
    assert left(errors, "untouched", "protected") == 100


def test_imitations_share_one_scale(tiny, painting, few, monkeypatch):
    monkeypatch.setattr("advdm.mimicry.LEAST_GAIN", -math.inf)  # a tiny model learns too little to be put on the scale
    copies = {ORIGINAL: painting, "same": painting, "other": Painting(255 - painting.levels)}
    counted = []
    found = dict(imitations(copies, tiny, QUICK_MIMICRY, lambda: counted.append(1)))
    assert list(found) == few and len(counted) == len(few) * (2 + 3)
    assert found["untouched"][ORIGINAL] == pytest.approx(100)
    for row in found.values():  # the scale magnifies what is rounded otherwise in another place of the batch
        assert row[ORIGINAL] == pytest.approx(row["same"], abs=0.05), "equal copies are imitated equally"
        assert abs(row[ORIGINAL] - row["other"]) > 0.2, "others are not"


@pytest.mark.parametrize("mimicry", (None, QUICK_MIMICRY))
def test_a_painting_gives_a_row_for_each_treatment_of_each_copy(tiny, painting, few, mimicry):
    counted = []
    rows = robustness(painting, tiny, ATTACK, mimicry, lambda: counted.append(1))
    assert [(row.treatment, row.copy) for row in rows] == [(name, copy) for name in few for copy in COPIES]
    assert len(counted) == ticks(tiny, ATTACK, mimicry)
    if mimicry is None:
        assert all(row.imitation is None for row in rows)


def rows_of(value: float) -> list[Row]:
    return [Row(name, copy, 0.1, None if copy == ORIGINAL else value, None) for name in NAMES for copy in COPIES]


def test_table_shows_what_was_measured_and_no_more():
    text = markdown(tabulate([rows_of(40), rows_of(60)]))
    assert "over 2 paintings" in text
    assert "## Imitation" not in text
    (protected,) = (line for line in text.splitlines() if line.startswith("| protected | 50"))
    assert protected.count("50 ± 14") == len(NAMES)
    assert text.count("| original |") == 1, "nothing could be left of it"
    assert "over 1 painting." in markdown(tabulate([rows_of(40)]))


def test_from_files_to_tables(few, capsys):
    paint("DIR/a.png", seed=1), paint("DIR/b.jpg", "L", seed=2)
    Path("prompts.txt").write_text("a painting in the style of {}\na boat in {}\n")
    assert run("robustness", "DIR", "-o", "out", *QUICK) == 0
    assert [path for path in written() if path.startswith("out")] == ["out/robustness.csv", "out/robustness.md"]
    text = Path("out/robustness.md").read_text()
    assert capsys.readouterr().out == text
    assert text.startswith("# What is left of the protection of 2 paintings on tiny\n")
    settings = json.loads(text.split("Settings: `")[1].split("`")[0])
    assert settings["attack"]["steps"] == settings["mimicry"]["inversion"]["steps"] == 2
    table = list(csv.DictReader(Path("out/robustness.csv").read_text().splitlines()))
    assert [(row["treatment"], row["copy"]) for row in table] == [(name, copy) for name in few for copy in COPIES]
    assert all(float(row["noise_error"]) > 0 and row["noise_error_count"] == "2" for row in table)


def test_what_was_measured_before_an_end_is_kept(few, monkeypatch):
    paint("DIR/a.png", seed=1), paint("DIR/b.png", seed=2)
    whole = robustness

    def measure(painting, *others):
        if painting.name == "b":
            raise KeyboardInterrupt
        return whole(painting, *others)

    monkeypatch.setattr("advdm.robustness.robustness", measure)
    assert run("robustness", "DIR", "-o", "out", "--steps", 1, "--skip-mimicry") == 130
    assert "of 1 painting on tiny" in Path("out/robustness.md").read_text()


def test_without_mimicry_and_again(few, monkeypatch):
    paint("DIR/a.png")
    monkeypatch.setattr("advdm.robustness.imitations", lambda *_: pytest.fail("an imitator learned"))
    for output in ("one", "two"):
        assert run("robustness", "DIR", "-o", output, "--steps", 1, "--skip-mimicry", "--seed", 2**40) == 0
    assert "Imitation, 0-100" not in Path("one/robustness.md").read_text()
    for name in ("robustness.md", "robustness.csv"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()


@pytest.mark.parametrize(
    "arguments, words",
    (
        (["DIR", "-o", "DIR"], "The folder DIR holds the paintings"),
        (["empty", "-o", "out"], "There is no picture in empty."),
        (["bad/a.png", "-o", "out"], "a.png is not a PNG"),
        (["DIR", "-o", "out", "--objective", "magic"], "There is no objective 'magic'"),
        (["DIR", "-o", "out", "--inversion-steps", "0"], "Steps must lie between"),
        (["DIR"], "-o/--output"),
    ),
)
def test_refused_in_one_line(arguments, words, capsys, monkeypatch):
    monkeypatch.setattr("advdm.model.load_model", lambda *_: pytest.fail("the model was loaded"))
    paint("DIR/a.png"), Path("empty").mkdir(), Path("bad").mkdir()
    Path("bad/a.png").write_text("no picture")
    assert run("robustness", *arguments) == 2
    out, err = capsys.readouterr()
    assert words in err and err.count("\n") == 1 and out == ""
    assert not Path("out").exists()


def test_defaults_are_those_of_the_library():
    options = cli.parser().parse_args(["robustness", "DIR", "-o", "out"])
    assert attack_settings(options) == Settings()
    assert mimicry_settings(options, options.inversion_steps, options.seed) == MimicrySettings()
