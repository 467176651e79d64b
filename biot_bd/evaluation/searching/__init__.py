"""Search for parameters by subject, nested in the folds that score what was chosen."""
