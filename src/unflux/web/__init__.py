"""For people and their programs: findings in a store, an API over it, and pages over the API."""
