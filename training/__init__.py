"""How atelier, the embedded model, was made."""
