"""What can be set, with every default; imports no torch, for a command line's help must not wait for it.

Each class raises SettingsError where a number is out of range.
"""

from dataclasses import dataclass, field, replace
from numbers import Integral

from advdm.errors import SettingsError

MEANINGS = {
    "advdm": "Makes the model's error on your painting as large as possible; the paper's objective.",
    "textural": "Makes the model see another picture in place of yours: the target, or a black and white pattern.",
    "mist": "advdm and textural together.",
    "ace": "Pushes all the model's answers about your painting towards one fixed target.",
    "sds": "Like advdm, but leaves part of the computation out: less time and memory.",
    "sds_down": "Makes your painting easier for the model. Published against edits; not measured here.",
}
"""The objectives, and what each does for the painter."""
TARGETED = ("textural", "mist", "ace")
"""Those that drive to a target."""
STRENGTHS = {"subtle": 9.1, "balanced": 8.5, "strong": 7.5}
"""How visible a change may be, in JOD, see `visibility`."""
FAINT = 9.5
"""JOD. From copies that are seen less than this an imitator learns most of what the original teaches."""
PROMPT = "a painting"
"""What a model is told of every painting that it attacks or looks at."""
PROMPTS = (
    "a painting in the style of {}",
    "a painting of a house in the style of {}",
    "a painting of a boat on the sea in the style of {}",
    "a painting of trees in the style of {}",
    "a painting of flowers in a vase in the style of {}",
    "a painting of a portrait in the style of {}",
)
"""The style by itself, and in subjects that the painting need not show; {} is the place of the style."""
LEAST_PICTURES = 4
"""Fewer of each imitator give no interval."""
MOST_OF_EACH = 100
"""Pictures of one prompt."""
MOST_EPSILON = 64


@dataclass(frozen=True)
class Settings:
    """How to attack. epsilon and step_size in 8-bit levels; step_size None is an eighth of epsilon, as published 1.

    even spends epsilon evenly.
    """

    epsilon: int = 8
    steps: int = 100
    samples: int = 1
    step_size: float | None = None
    objective: str = "advdm"
    even: bool = False
    as_published: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        whole("epsilon", self.epsilon, 1, MOST_EPSILON)
        whole("steps", self.steps, 1, 10_000)
        whole("samples", self.samples, 1, 256)
        whole("seed", self.seed, 0, 2**63 - 1)
        if self.step_size is not None:
            within("step size", self.step_size, 0.01, 64)
        if self.objective not in MEANINGS:
            raise SettingsError(f"There is no objective '{self.objective}'; choose from: {', '.join(MEANINGS)}.")
        if self.as_published and self.objective != "advdm":
            raise SettingsError("'As published' works only with the objective advdm.")

    @property
    def stride(self) -> float:
        """The step size as used, in 8-bit levels."""
        if self.step_size is not None:
            return self.step_size
        return 1.0 if self.as_published else self.epsilon / 8

    @property
    def evenly(self) -> bool:
        """Whether every pixel and every channel may use all of epsilon."""
        return self.even or self.as_published

    def check_target(self, target: object | None) -> None:
        """Refuse a target that the objective would not look at."""
        if target is not None and self.objective not in TARGETED:
            names = ", ".join(TARGETED)
            raise SettingsError(f"The objective '{self.objective}' has no target; only these have one: {names}.")


@dataclass(frozen=True)
class InversionSettings:
    """How a word is learned; batch is samples a step."""

    steps: int = 150
    vectors: int = 8
    learning_rate: float = 0.06
    batch: int = 4

    def __post_init__(self) -> None:
        _check_learning(self)
        whole("vectors", self.vectors, 1, 16)


@dataclass(frozen=True)
class LoraSettings:
    """How a LoRA is learned; batch is samples a step."""

    steps: int = 80
    rank: int = 16
    learning_rate: float = 4e-3
    batch: int = 4

    def __post_init__(self) -> None:
        _check_learning(self)
        whole("rank", self.rank, 1, 256)


@dataclass(frozen=True)
class RepaintSettings:
    """repaint_strength in [0.1, 1]: how much of the painting is painted anew; `strength` is the painter's word."""

    repaint_strength: float = 0.5

    def __post_init__(self) -> None:
        within("repaint strength", self.repaint_strength, 0.1, 1)


ImitatorSettings = InversionSettings | LoraSettings | RepaintSettings
IMITATORS: dict[str, type[ImitatorSettings]] = {
    "inversion": InversionSettings,
    "lora": LoraSettings,
    "repaint": RepaintSettings,
}


@dataclass(frozen=True)
class Sampling:
    """How an imitator paints: denoising steps, and the scale of classifier-free guidance."""

    steps: int = 12
    guidance: float = 3.0

    def __post_init__(self) -> None:
        whole("sampling steps", self.steps, 1, 1000)
        within("guidance", self.guidance, 1, 30)


@dataclass(frozen=True)
class MimicrySettings:
    """Who imitates, and what they paint: `count` pictures a prompt."""

    imitator: ImitatorSettings = field(default_factory=InversionSettings)
    prompts: tuple[str, ...] = PROMPTS
    count: int = 4
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0

    def __post_init__(self) -> None:
        whole("pictures a prompt", self.count, 1, MOST_OF_EACH)
        whole("seed", self.seed, 0, 2**32)
        if self.pictures < LEAST_PICTURES:
            raise SettingsError(
                f"At least {LEAST_PICTURES} pictures of each imitator are needed: more prompts, or more of each."
            )
        if isinstance(self.imitator, RepaintSettings) and self.imitator.repaint_strength * self.sampling.steps < 1:
            raise SettingsError(
                "So small a repaint strength leaves no step to paint; choose more, or more sampling steps."
            )

    @property
    def pictures(self) -> int:
        """How many pictures each side paints."""
        return self.count * len(self.prompts)

    def prompts_and_seeds(self, start: int, end: int) -> tuple[list[str], list[int]]:
        """Prompts and seeds of the pictures start, ..., end - 1."""
        numbers = range(start, end)
        return [self.prompts[i % len(self.prompts)] for i in numbers], [100_000 * self.seed + i for i in numbers]


AS_PUBLISHED = "as-published"
"""The attack of the paper and nothing else, beside the objectives of an evaluation: the baseline of every claim."""


@dataclass(frozen=True)
class EvaluationSettings:
    """What to compare; attack gives all but epsilon, objective and seed."""

    epsilons: tuple[int, ...] = (2, 4, 8, 16)
    objectives: tuple[str, ...] = ("advdm", AS_PUBLISHED)
    seeds: int = 1
    attack: Settings = field(default_factory=Settings)
    mimicry: MimicrySettings = field(default_factory=MimicrySettings)

    def __post_init__(self) -> None:
        whole("seeds", self.seeds, 1, 1000)
        for epsilon in self.epsilons:
            for objective in self.objectives:
                self.attack_with(objective, epsilon, 0)

    def attack_with(self, objective: str, epsilon: int, seed: int) -> Settings:
        """One of the attacks that are compared."""
        one = replace(self.attack, epsilon=epsilon, seed=seed)
        if objective == AS_PUBLISHED:
            return replace(one, as_published=True)
        return replace(one, objective=objective)


def within(name: str, value: float, low: float, high: float) -> None:
    """Raise SettingsError unless value is a finite number in [low, high]."""
    if not low <= value <= high:  # nor is NaN
        raise SettingsError(f"{name.capitalize()} must lie between {low:,} and {high:,}, not {value:,}.")


def whole(name: str, value: int, low: int, high: int) -> None:
    """The same, and value must be a whole number, which 2.0 is not."""
    within(name, value, low, high)
    if not isinstance(value, Integral):
        raise SettingsError(f"{name.capitalize()} must be a whole number, not {value}.")


def _check_learning(settings: InversionSettings | LoraSettings) -> None:
    whole("steps", settings.steps, 1, 100_000)
    within("learning rate", settings.learning_rate, 1e-6, 1)
    whole("batch", settings.batch, 1, 64)
