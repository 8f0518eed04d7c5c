"""What the benchmarks compare is what they say, on the tiny model; nothing here measures time."""

import numpy as np
import pytest
from torch.utils.flop_counter import FlopCounterMode

from advdm.models import cpu
from advdm.models.latent_diffusion import LatentDiffusion
from advdm.protection import Settings, protect
from benchmarks import choices, figures, speed
from benchmarks.objectives import attacked, fitting_steps
from benchmarks.readme import README, RESULTS, filled
from benchmarks.speed import ATTENTION, BASELINE, FRUGAL, Case, as_published, cases, comparisons
from tests.tiny import tiny_pipeline


@pytest.mark.parametrize("name", (BASELINE, FRUGAL))
def test_baseline_trains_the_denoiser_and_nothing_else(name, monkeypatch):
    """As in Mist, whose autoencoder and text encoder are frozen: a baseline must not be slower than it was."""
    monkeypatch.setattr(cpu, "PART", 1)
    model = LatentDiffusion(tiny_pipeline(), "tiny")
    sign = as_published(model, Case("tiny", 64, 64, name, 2, 1))()
    assert sign.shape == (1, 3, 64, 64) and sign.abs().max() == 1
    modules = (model.vae, model.unet, model.text_encoder)
    assert not any("forward" in vars(part) for module in modules for part in module.modules())  # all is torch's own
    assert all(weight.grad is not None for weight in model.unet.parameters())
    assert all(weight.grad is None for part in (model.vae, model.text_encoder) for weight in part.parameters())


@pytest.mark.parametrize("model", ("atelier", "sd15"))
def test_each_baseline_has_its_counterpart(model):
    measured = [taking([2.0 if case.objective == "advdm" else 5.0], case) for case in cases(model, 64, 1)]
    for name, sentence in zip((BASELINE, FRUGAL), comparisons(measured), strict=True):
        assert f"against the baseline {name}: 2.50 times as fast, 100% of" in sentence
    assert comparisons(measured[:1] + measured[-1:]) == [], "what was measured with as many samples, or nothing"


def test_the_share_of_the_ceiling_is_that_of_the_moment():
    """A machine that slows down by half, and a step with it: the share stays, and the slowest repeat is not counted."""
    case = Case("tiny", 64, 64, "advdm", 1, 3)
    assert taking([20.0, 40.0, 400.0], case, [100.0, 50.0, 50.0]).share == pytest.approx(0.5)


def taking(times, case, ceilings=(1.0,)):
    limits = [{"matrix product": ceiling, "convolution": ceiling / 2} for ceiling in ceilings]
    return speed.Measured(case, times, limits, 1.0, 1.0)


def test_a_case_is_measured_whole(monkeypatch, tiny):
    monkeypatch.setattr(speed, "new_model", lambda case: tiny)
    monkeypatch.setattr(speed, "ceilings", lambda: {"matrix product": 100.0})
    measured = speed.measure(Case("tiny", 64, 64, "advdm", 2, 3))
    assert len(measured.times) == len(measured.limits) == 3
    assert min(measured.times) <= measured.milliseconds <= max(measured.times)
    assert measured.share == pytest.approx(10 * measured.gigaflops / measured.milliseconds)
    assert speed.ranges(measured.limits) == ["matrix product 100 to 100 GFLOP/s"]


def test_attention_is_counted(tiny):
    step = speed.ours(tiny, Case("tiny", 64, 64, "advdm", 1, 1))
    counts = []
    for formulas in ({}, ATTENTION):
        with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
            step()
        counts.append(counter.get_total_flops())
    assert counts[1] > counts[0] > 0


def test_choices_leave_the_model_as_it_was(tiny, painting):
    before = protect(painting, tiny, steps=2, samples=3).levels
    for name, choice in choices.CHOICES.items():
        with choice(tiny):
            protect(painting, tiny, steps=1)
        assert np.array_equal(protect(painting, tiny, steps=2, samples=3).levels, before), name


def test_a_stop_on_the_way_is_the_attack_of_that_length(tiny, painting):
    found = attacked(painting, tiny, Settings(objective="sds"), {2, 4})
    for steps, copy in found.items():
        assert np.array_equal(copy.levels, protect(painting, tiny, objective="sds", steps=steps).levels)


def test_equal_time():
    assert fitting_steps({"advdm": 90.0, "mist": 100.0, "sds": 30.0}, 100) == {"advdm": 100, "mist": 90, "sds": 300}


def test_scaled_takes_each_time_by_the_rate_before_it(monkeypatch):
    rates, times = iter((73.0, 146.0, 292.0)), iter(((2.0, 5.0), (4.0, 9.0), (3.0, 6.0)))
    monkeypatch.setattr(figures, "ceilings", lambda: {figures.PRODUCT: next(rates)})
    name, seconds, note = figures.scaled("work", lambda: next(times), 3, "in all")
    assert (name, seconds) == ("work", "3.00")
    assert note == "median of 3, from 2.00 to 4.00 s; scaled to 146 GFLOP/s: 4.00 s; 6.0 s in all"


def test_tables_come_into_their_places(tmp_path):
    (tmp_path / "a.md").write_text("| new |\n")
    text = "<!-- a.md -->\nold\n<!-- end -->\n\n<!-- b.md -->\nkept\n<!-- end -->\n"
    once = filled(text, tmp_path)
    assert once == text.replace("old", "| new |")
    assert filled(once, tmp_path) == once


def test_the_page_holds_the_results_as_they_are():
    """Or the next `python -m benchmarks.readme` would bring back older figures."""
    assert filled(README.read_text(), RESULTS) == README.read_text()
