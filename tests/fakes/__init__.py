"""Small real servers for what lives on the internet."""
