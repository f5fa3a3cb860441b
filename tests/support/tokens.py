"""Tokens that are made while tests are collected: their ends are moments, so it doesn't matter when they are used."""

from __future__ import annotations

from typing import Any, Final

import jwt

__all__ = ["FAR", "PAST", "lasting"]

#: Moments that every run lies between: the years 2001 and 2050.
PAST: Final = 1_000_000_000
FAR: Final = 2_524_608_000


def lasting(secret: str, *, ends: int = FAR, **claims: Any) -> str:
    """A token with these claims that is valid until then, whenever this is called."""
    return jwt.encode({"exp": ends, **claims}, secret, algorithm="HS256")
