"""Bootstrap intervals and paired tests over subjects."""
