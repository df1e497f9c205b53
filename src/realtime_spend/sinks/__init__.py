"""Line items out: metrics for those who watch, the ledger for those who must be exact."""
