"""The Python interface: what `import hilum` offers. Each name is loaded when it is used (PEP 562)."""
