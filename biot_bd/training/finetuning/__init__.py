"""What trains when, at which rate: strategies, schedules, adapters."""
