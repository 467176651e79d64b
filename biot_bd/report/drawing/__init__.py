"""Pictures of the pages: SVG marks, curves, heat maps."""
