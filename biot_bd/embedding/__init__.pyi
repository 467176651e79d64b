from .embedder import Embedder as Embedder
