from .seed_ensemble import SeedEnsemble as SeedEnsemble
