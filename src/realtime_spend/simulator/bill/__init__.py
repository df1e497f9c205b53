"""The bill that a provider would send for a truth, in the forms that providers send, and what can be wrong with it."""
