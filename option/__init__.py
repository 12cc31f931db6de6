"""Option files and their typed form. Independent of models, data and metrics."""
