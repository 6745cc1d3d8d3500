"""Image super-resolution and restoration."""
