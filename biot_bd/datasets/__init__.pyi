from .loading import adapt_dataset as adapt_dataset
from .loading import describe_dataset as describe_dataset
from .loading import load_dataset as load_dataset
from .recordings import make_dataset as make_dataset
