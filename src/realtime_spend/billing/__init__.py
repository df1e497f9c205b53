"""Bills as providers send them: files and live sources in, items and problems out."""
