"""What realtime-spend costs the programs that it watches: measured, said, and nothing asserted."""
