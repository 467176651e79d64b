from .marks import Mark as Mark
from .marks import Review as Review
from .marks import ReviewedEvent as ReviewedEvent
from .review_files import find_reviews as find_reviews
from .review_files import read_review as read_review
from .review_files import review_paths as review_paths
from .review_files import save_review as save_review
