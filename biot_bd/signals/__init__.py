"""Signal steps: montage, resampling, filters, scaling, as scikit-learn transformers over windows."""
