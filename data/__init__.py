"""The pictures: reading, writing, pairing, loading and synthesis. Knows no model."""
