"""The paper's experiment, end to end on the tiny model: cells, resumption, and a table that says what the cells say."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from advdm import cells, cli, evaluation
from advdm.cells import _new_folder
from advdm.commands.shared import mimicry_settings
from advdm.errors import AdvDMError, SettingsError
from advdm.evaluation import EvaluationSettings, experiment, noise_error, with_noise
from advdm.imitators.inversion import InversionSettings
from advdm.judge import Judge
from advdm.metrics import compare
from advdm.mimicry import MimicrySettings
from advdm.models.latent_diffusion import LatentDiffusion
from advdm.paintings import Painting
from advdm.protection import Settings
from advdm.tables import METRICS, ORIGINAL, RANDOM, UNSEEN, Row, imitation_by_means, markdown, tabulate
from tests.test_cli import ROOT, paint, run, saved_tiny, workplace, written  # noqa: F401  (fixtures)
from tests.tiny import tiny_pipeline

QUICK = ("--steps", "2", "--inversion-steps", "2", "--epsilons", "4,8", "--vectors", "1", "--prompts", "prompts.txt")
QUICK += ("--sampling-steps", "2")
SIDES = [(UNSEEN, 0), (ORIGINAL, 0), (RANDOM, 4), (RANDOM, 8), ("advdm", 4), ("advdm", 8)]


@pytest.fixture
def pictures() -> None:
    """Two loose pictures in DIR, and prompts."""
    paint("DIR/a.png", seed=1), paint("DIR/b.jpg", seed=2)
    Path("prompts.txt").write_text("a painting in the style of {}\n\na boat in {}\n")


@pytest.fixture
def learning(monkeypatch):
    """How often imitators set out to learn."""
    calls = []
    steps = evaluation.mimicry_steps
    monkeypatch.setattr(evaluation, "mimicry_steps", lambda *given: calls.append(1) or steps(*given))
    return calls


def rows_of(cell: Path) -> dict[tuple[str, int], dict]:
    return {(row["side"], row["epsilon"]): row for row in json.loads(cell.read_text())["rows"]}


def test_end_to_end_and_again(pictures, learning, capsys):
    assert run("evaluate", "DIR", "-o", "out", *QUICK) == 0
    assert len(learning) == 2, "once for each picture, all sides in one batch"
    out = Path("out")
    results = {name: (out / name).read_bytes() for name in ("evaluation.md", "evaluation.csv")}
    assert {path.name for path in out.iterdir()} == {*results, "evaluation.png", "sheet.jpg", "cells"}
    assert not list(out.rglob(".*")), "nothing half written stays"
    assert capsys.readouterr().out == results["evaluation.md"].decode()
    for name in ("evaluation.png", "sheet.jpg"):
        assert np.asarray(Image.open(out / name)).std() > 5

    cells = [rows_of(path) for path in sorted(out.glob("cells/*/cell.json"))]
    assert len(cells) == 2 and all(list(cell) == SIDES for cell in cells)
    table = list(csv.DictReader((out / "evaluation.csv").open()))
    assert [(row["learned_from"], int(row["epsilon"])) for row in table] == SIDES
    for side, row in zip(SIDES, table, strict=True):
        for metric in METRICS:
            known = [cell[side][metric] for cell in cells if cell[side][metric] is not None]
            assert int(row[f"{metric}_count"]) == len(known)
            assert row[metric] == "" if not known else float(row[metric]) == pytest.approx(mean(known))
            spread = row[f"{metric}_spread"]
            assert spread == "" if len(known) < 2 else float(spread) == pytest.approx(stdev(known))

    made = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/*")}
    for name in results:
        (out / name).unlink()
    assert run("evaluate", "DIR", "-o", "out", *QUICK) == 0
    assert len(learning) == 2, "a second run learns nothing"
    assert {path: path.stat().st_mtime_ns for path in out.glob("cells/*/*")} == made
    assert {name: (out / name).read_bytes() for name in results} == results

    # Another seed for one picture alone, whose first cell is lost: only these two are made.
    Path("DIR/b.jpg").unlink()
    lost = next(out.glob("cells/a-0-*"))
    before = {path.name: path.read_bytes() for path in lost.iterdir()}
    for path in lost.iterdir():
        path.unlink()
    lost.rmdir()
    assert run("evaluate", "DIR", "-o", "out", "--seeds", 2, *QUICK) == 0
    assert len(learning) == 4
    assert {path.name: path.read_bytes() for path in lost.iterdir()} == before, "the same seed gives the same cell"


def test_a_run_that_stops_in_the_midst_goes_on(pictures, learning, monkeypatch):
    whole = evaluation.measure
    monkeypatch.setattr(evaluation, "measure", lambda *given: whole(*given) if len(learning) == 1 else interrupted())

    def interrupted():
        raise KeyboardInterrupt

    assert run("evaluate", "DIR", "-o", "out", *QUICK, "--epsilons", 4) == 130
    assert [path.name for path in Path("out").iterdir()] == ["cells"]
    assert len(list(Path("out/cells").iterdir())) == 1, "the finished cell, and nothing of the other"
    monkeypatch.setattr(evaluation, "measure", whole)
    assert run("evaluate", "DIR", "-o", "out", *QUICK, "--epsilons", 4) == 0
    assert len(learning) == 3


def test_a_folder_is_one_painter(learning):
    paint("DIR/vincent/a.png", seed=1), paint("DIR/vincent/b.png", size=(70, 99), seed=2), paint("DIR/c.png", "L")
    Path("prompts.txt").write_text("a painting in the style of {}\na boat in {}\n")
    assert run("evaluate", "DIR", "-o", "DIR/out", *QUICK, "--epsilons", "4") == 0
    assert len(learning) == 2
    assert run("evaluate", "DIR", "-o", "DIR/out", *QUICK, "--epsilons", "4") == 0
    assert len(learning) == 2, "what was written into DIR is no painter"


def test_rows_are_what_they_say(tiny, painting):
    settings = EvaluationSettings(
        (8,), ("advdm",), 1, Settings(steps=2, step_size=4),
        MimicrySettings(InversionSettings(steps=2, vectors=1, batch=1), ("a {}", "a boat"), sampling_steps=2),
    )  # fmt: skip
    ticks = []
    found = experiment([painting], 0, tiny, Judge(), settings, lambda: ticks.append(1))
    assert len(ticks) == settings.ticks(1) == 2 + 2 + 1
    rows = {(row.side, row.epsilon): row for row in found.rows}
    assert list(rows) == list(found.pictures) == [(UNSEEN, 0), (ORIGINAL, 0), (RANDOM, 8), ("advdm", 8)]
    assert all(pictures.shape == (2, 3, 64, 64) for pictures in found.pictures.values())
    for side, (copy,) in found.copies.items():
        seen = compare(painting, copy)
        assert seen.max_change == side[1]
        assert rows[side].ssim == pytest.approx(seen.ssim)
        assert rows[side].perceptual == pytest.approx(seen.perceptual)
        assert rows[side].psnr == (pytest.approx(seen.psnr) if side[1] else None)
        assert rows[side].noise_error == pytest.approx(noise_error(copy, tiny))
    nothing = rows[UNSEEN, 0]
    assert (nothing.noise_error, nothing.psnr, nothing.ssim, nothing.perceptual) == (None,) * 4
    assert all(0 <= row.precision <= 1 and row.frechet >= 0 for row in found.rows)


def test_random_noise_is_uniform_and_within_epsilon():
    flat = Painting(np.full((100, 120, 3), 128, np.uint8))
    noise = with_noise(flat, 8, 0).astype(int) - 128
    values, counts = np.unique(noise, return_counts=True)
    assert list(values) == list(range(-8, 9)) and counts.min() > 0.9 * noise.size / 17
    assert not np.array_equal(noise, with_noise(flat, 8, 1).astype(int) - 128)
    grey = with_noise(Painting(flat.levels, grey=True), 8, 0)
    assert (grey == grey[..., :1]).all()
    assert np.abs(with_noise(Painting(flat.levels * 0), 8, 0)).max() == 8, "clipped, not wrapped around"


def row(side: str, epsilon: int, imitation: float | None) -> Row:
    return Row(side, epsilon, imitation, 0.5, 1.0, 0.25)


def test_table_names_its_spread_and_what_failed():
    controls = [row(UNSEEN, 0, 0.0), row(ORIGINAL, 0, 100.0)]
    cells = [
        [*controls, row(RANDOM, 8, 90.0), row("advdm", 8, -0.2)],
        [*controls, row(RANDOM, 8, 94.0), row("advdm", 8, 0.1)],
        [row(UNSEEN, 0, None), row(ORIGINAL, 0, None), row(RANDOM, 8, None), row("advdm", 8, None)],
    ]
    text = markdown(tabulate(cells))
    assert "| random noise 8 | 92 ± 3 | 0.500 ± 0.000 |" in text
    assert "| advdm 8 | 0 ± 0 |" in text, "never -0"
    assert "Imitation counts 2 cells" in text and "over 3 cells" in text and "bug" not in text
    beaten = [row(RANDOM, 8, 90.0), row("advdm", 8, 95.0), row("sds_down", 8, 99.0)]
    text = markdown(tabulate([[*controls, *beaten]]))
    assert "**sds_down 8 does no better than random noise.**" in text, "nor is it meant to"
    assert "**advdm 8 does no better than random noise: that is a bug.**" in text
    assert "| advdm 8 | 95 | 0.500 | 1.0 | 0.25 |  |  |  |  |" in text


def test_mean_distances_count_every_cell():
    def cell(unseen: float, original: float, protected: float) -> list[Row]:
        sides = ((UNSEEN, 0, unseen), (ORIGINAL, 0, original), (RANDOM, 8, original), ("advdm", 8, protected))
        return [Row(side, epsilon, None, distance, 100 * distance**2, 0.25) for side, epsilon, distance in sides]

    table = tabulate([cell(0.9, 0.5, 0.8), cell(0.5, 0.5, 0.5)])
    assert imitation_by_means(table, "style_distance") == pytest.approx({(RANDOM, 8): 100, ("advdm", 8): 25})
    assert "imitation is: random noise 8 100, advdm 8 25." in markdown(table)
    assert "Fréchet distances, on the same scale: random noise 8 100, advdm 8 30." in markdown(table)
    nothing_learned = tabulate([cell(0.5, 0.5, 0.5)])
    assert imitation_by_means(nothing_learned, "style_distance") == {}
    assert "By the mean" not in markdown(nothing_learned)


@pytest.mark.parametrize(
    "arguments, words",
    (
        (["DIR", "--epsilons", "4,99"], "Epsilon must lie between"),
        (["DIR", "--epsilons", "4,,8"], "argument --epsilons"),
        (["DIR", "--objectives", "advdm,magic"], "There is no objective 'magic'"),
        (["DIR", "--seeds", "0"], "Seeds must lie between"),
        (["DIR", "--inversion-steps", "0"], "Steps must lie between"),
        (["DIR", "--prompts", "one.txt"], "at least two pictures"),
        (["DIR", "-o", "DIR"], "The folder DIR holds the paintings"),
        (["nowhere"], "nowhere is not a folder."),
        (["empty"], "There is no picture in empty."),
        (["bad"], "a.png is not a PNG"),
    ),
)
def test_refused_in_one_line(pictures, arguments, words, capsys, monkeypatch):
    monkeypatch.setattr("advdm.model.load_model", lambda *_: pytest.fail("the model was loaded"))
    Path("one.txt").write_text("a {}"), Path("empty").mkdir(), Path("bad").mkdir()
    Path("bad/a.png").write_text("no picture")
    before = written()
    assert run("evaluate", *arguments) == 2
    out, err = capsys.readouterr()
    assert words in err and err.count("\n") == 1 and out == ""
    assert written() == before and not Path("DIR_evaluation").exists()


def test_a_prompt_too_long_is_refused_before_the_attacks(pictures, capsys, monkeypatch):
    monkeypatch.setattr("advdm.cells.experiment", lambda *_: pytest.fail("it began"))
    monkeypatch.setattr("advdm.robustness.robustness", lambda *_: pytest.fail("it began"))
    Path("prompts.txt").write_text("a " * 60 + "{}\na {}\n")
    assert run("evaluate", "DIR", "-o", "out", *QUICK) == 2
    assert run("robustness", "DIR", "-o", "out", "--prompts", "prompts.txt") == 2
    assert capsys.readouterr().err.count("is too long: its word must come within") == 2


def test_results_lie_beside_the_folder_however_it_is_named(pictures, monkeypatch):
    monkeypatch.chdir("DIR")
    assert run("evaluate", ".", *[name.replace("prompts.txt", "../prompts.txt") for name in QUICK]) == 0
    assert Path("../DIR_evaluation/evaluation.md").exists()


def test_a_sheet_of_many_subjects_stays_a_jpeg(pictures, monkeypatch):
    monkeypatch.setattr(cells, "SHEET_SIDE", 100)
    assert run("evaluate", "DIR", "-o", "out", *QUICK) == 0
    assert 50 <= max(Image.open("out/sheet.jpg").size) <= 100


def test_another_noise_schedule_is_another_model(tiny):
    other = tiny_pipeline()
    other.scheduler = type(other.scheduler).from_config(other.scheduler.config, beta_end=0.02)
    assert cells.fingerprint(LatentDiffusion(other, "tiny")) != cells.fingerprint(tiny)
    assert cells.fingerprint(LatentDiffusion(tiny_pipeline(), "tiny")) == cells.fingerprint(tiny)


def test_without_matplotlib_only_the_plot_is_missing(pictures, monkeypatch):
    monkeypatch.setattr("advdm.tables.find_spec", lambda _: None)
    assert run("evaluate", "DIR", "-o", "out", *QUICK) == 0
    assert {path.name for path in Path("out").iterdir()} == {"evaluation.md", "evaluation.csv", "sheet.jpg", "cells"}


def test_defaults_are_those_of_the_library():
    options = cli.parser().parse_args(["evaluate", "DIR"])
    defaults = EvaluationSettings(
        options.epsilons, options.objectives, options.seeds,
        Settings(steps=options.steps, samples=options.samples, step_size=options.step_size),
        mimicry_settings(options, options.inversion_steps),
    )  # fmt: skip
    assert defaults == EvaluationSettings()


def test_settings_out_of_range():
    for change in ({"epsilons": (0,)}, {"objectives": ("magic",)}, {"seeds": 1.5}):
        with pytest.raises(SettingsError):
            EvaluationSettings(**change)
    assert issubclass(SettingsError, AdvDMError)


def test_each_cell_is_of_one_process(pictures, learning, monkeypatch):
    """Also where there are more processes than cells are missing; of these here each runs alone, one after another."""
    made = []
    for index in range(3):
        state = SimpleNamespace(process_index=index, num_processes=3, is_main_process=False)
        state.wait_for_everyone = lambda: None
        monkeypatch.setattr("accelerate.PartialState", lambda state=state, **_: state)
        # Of two cells that are all missing still when each process looks.
        monkeypatch.setattr("advdm.cells.Cell.finished", False)
        monkeypatch.setattr("advdm.cells.make_cell", lambda cell, *_: made.append(cell.folder))
        assert run("evaluate", "DIR", "-o", "out", *QUICK) == 0
    assert len(made) == len(set(made)) == 2


def test_a_cell_that_another_run_made_meanwhile_is_kept(tmp_path):
    target = tmp_path / "cells" / "a-0"
    with _new_folder(target) as folder:
        (folder / "cell.json").write_text("mine")
        target.mkdir()
        (target / "cell.json").write_text("theirs")
    assert [path.name for path in target.parent.iterdir()] == ["a-0"]
    assert (target / "cell.json").read_text() == "theirs"


@pytest.mark.slow
def test_two_processes_share_the_cells(pictures):
    """Under --multi_gpu, which needs no card; with --cpu, accelerate starts one process whatever --num_processes is."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def evaluate(output: str, *launcher: str) -> None:
        command = [*launcher, "-m", "advdm", "evaluate", "DIR", "-o", output, "--device", "cpu", *QUICK]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("| learned from |") == 1, "only the main process writes the tables"

    evaluate("two", *launch)
    evaluate("one", sys.executable)  # with as many threads, on which the last bit of a sum depends
    for name in ("evaluation.csv", "evaluation.md"):
        assert Path("two", name).read_bytes() == Path("one", name).read_bytes()
    assert sorted(os.listdir("two/cells")) == sorted(os.listdir("one/cells"))

    # One cell for two processes: it is made once, and the process without a share waits for it.
    (lost, *_) = Path("two/cells").iterdir()
    shutil.rmtree(lost)
    evaluate("two", *launch)
    assert Path("two/evaluation.csv").read_bytes() == Path("one/evaluation.csv").read_bytes()
