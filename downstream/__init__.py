"""What fused pictures and fused features are worth to another task."""
