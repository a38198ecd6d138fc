"""Render plates and what a camera does to them; needs numpy and OpenCV only."""
