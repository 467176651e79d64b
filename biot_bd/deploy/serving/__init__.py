"""What pages on this machine have in common: whom they let in, and how a request is answered."""
