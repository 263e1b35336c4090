"""Define and train: the papers' networks, their quantizers, their checkpoints. Needs torch."""
