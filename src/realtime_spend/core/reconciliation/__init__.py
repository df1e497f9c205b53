"""Estimates beside a bill: rows, how they are compared, and the causes that each unit of drift is put under."""
