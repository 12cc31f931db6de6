"""Training data: loading, synthesis and checks. Independent of models."""
