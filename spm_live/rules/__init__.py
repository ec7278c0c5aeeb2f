"""Rules that turn what is seen into notices. The program advises; it never drives the tip."""
