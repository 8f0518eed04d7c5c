"""Train atelier from nothing to weights: pictures, autoencoder, sharp decoder, latents, denoiser, pipeline folder.

    python -m training --paintings DIR --work WORK --out OUT --minutes 25 --device cuda --bf16 --batch 256

Started again with the same settings it goes on from its last checkpoint, the time already used counted.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from training.autoencoder import to_signed, train_reconstruction, whiten
from training.denoiser import captioned, train_denoiser
from training.loop import SHARES, Run, Stage
from training.pictures import make_pictures
from training.pipeline import export, starting_tokenizer
from training.sharp import train_perceptual, train_sharp

TRAINED = ("reconstruction", "perceptual", "sharp", "denoiser")
SETTINGS = ("seed", "batch", "minutes", "count", "steps", "start")
"""What a run that goes on must have in common with its beginning."""


def main(arguments: Sequence[str] | None = None, now: Callable[[], float] = time.monotonic) -> None:
    options = parse(arguments)
    device = torch.device(options.device)
    run = Run(options.work, device, options.seed, options.batch, options.minutes, options.bf16, now)
    steps = dict(zip(TRAINED, options.steps, strict=True))
    claim(options)

    stage = Stage(run, "pictures")
    pictures = make_pictures(run.work, options.paintings, options.count, run.seed, lambda: stage.save() < 1)
    print(f"pictures: {len(pictures.painted)} painted, {len(pictures.views)} views of {len(pictures.titles)} paintings")
    painted, real = (torch.from_numpy(levels).to(device) for levels in (pictures.painted, pictures.large))

    if options.start:
        vae = AutoencoderKL.from_pretrained(options.start / "vae").to(device)
    else:
        vae = train_reconstruction(run, painted, real, steps["reconstruction"])
        whiten(vae, to_signed(painted[:1000]))
    perceptual = train_perceptual(run, painted, pictures.scenes, steps["perceptual"])
    vae = train_sharp(run, vae, perceptual, painted, real, steps["sharp"])
    del painted, real
    vae.half().float()  # the denoiser learns the latents of the encoder that is written down

    tokenizer = starting_tokenizer(options.start)
    sources = captioned(run, pictures, vae, tokenizer)
    model = train_denoiser(run, *sources, tokenizer, len(pictures.titles), steps["denoiser"], options.start)
    export(vae, tokenizer, model.text_encoder, model.unet, options.out)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    shares = ", ".join(f"{stage} {share:.0%}" for stage, share in SHARES.items()).replace("%", "%%")
    parser = argparse.ArgumentParser(
        prog="python -m training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--paintings", type=Path, required=True, help="folder of real paintings with CREDITS.md")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for pictures and checkpoints, one for each run"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished pipeline")
    parser.add_argument("--minutes", type=float, default=25, help=f"for all, or inf; {shares}")
    parser.add_argument(
        "--steps",
        type=int,
        nargs=4,
        metavar="N",
        default=(7_000, 3_000, 12_500, 47_000),
        help=f"at most: {', '.join(TRAINED)} (default: as many as atelier was trained for)",
    )
    parser.add_argument("--count", type=int, default=60_000, help="painted pictures, at most")
    parser.add_argument("--batch", type=int, default=32, help="pictures a step of the denoiser; the others go with it")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--bf16", action="store_true", help="faster on cards, and on processors with AVX512-BF16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="finished pipeline to go on from; its encoder stays as it is")
    return parser.parse_args(arguments)


def claim(options: argparse.Namespace) -> None:
    """Write the settings down in WORK, or refuse a folder that belongs to a run with others."""
    options.work.mkdir(parents=True, exist_ok=True)
    file = options.work / "settings.json"
    settings = json.loads(json.dumps({name: getattr(options, name) for name in SETTINGS}, default=str))
    if not file.exists():
        file.write_text(json.dumps(settings))
    elif json.loads(file.read_text()) != settings:
        raise SystemExit(f"{options.work} belongs to a run with other settings: choose another folder for --work.")


if __name__ == "__main__":
    main()
