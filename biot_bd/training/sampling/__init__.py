"""Which training windows an epoch holds, and how they are changed."""
