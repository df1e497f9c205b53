"""What people read: tables for the terminal, and the JSON that other programs build on."""
