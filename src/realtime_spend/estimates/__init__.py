"""What we counted, read back: from ledger folders."""
