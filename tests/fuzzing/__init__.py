"""Damaged and hostile inputs without end: how they are made, what they may lead to, and those worth keeping."""
