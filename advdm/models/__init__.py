"""The models that attack and imitators work with, and how they are loaded."""

from advdm.models.latent_diffusion import Condition, LatentDiffusion, Posterior, Vectors, join, load_model

__all__ = ["Condition", "LatentDiffusion", "Posterior", "Vectors", "join", "load_model"]
