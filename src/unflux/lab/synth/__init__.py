"""Play a scenario on a virtual clock: days of answers in seconds, with their truth."""
