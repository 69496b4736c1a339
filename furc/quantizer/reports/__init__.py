"""What a user reads about a quantization: tables by layer and method, lint, the noise report and its page."""
