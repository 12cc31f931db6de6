"""Evaluates fused pictures and fused features on another task."""
