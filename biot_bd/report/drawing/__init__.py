"""Pictures of the pages: SVG marks, curves, chains of channels."""
