"""Option files and their typed form. Knows nothing of models, data or metrics."""
