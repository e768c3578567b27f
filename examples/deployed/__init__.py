"""The chat for people who sign in, on several workers behind a proxy: app.py, and a configuration for two proxies."""
