"""The HTTP service: `hilum serve`, its API and its page."""
