"""Manifests, scanning, indices, plans and their reading, loading, and synthetic worlds."""
