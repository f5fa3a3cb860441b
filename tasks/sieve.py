"""Counting primes, block by block: the sieve of Eratosthenes in bounded memory."""

import math
from collections.abc import Iterator

_BLOCK = 4_000_000


def count_in_blocks(limit: int) -> Iterator[tuple[int, int]]:
    """For each block of numbers up to the limit: its last number, and how many primes are in it."""
    small = _sieve(math.isqrt(max(limit, 0)))
    for start in range(2, limit + 1, _BLOCK):
        stop = min(start + _BLOCK, limit + 1)
        block = bytearray([1]) * (stop - start)
        for prime in small:
            first = max(prime * prime, -(-start // prime) * prime)  # below its square a smaller prime strikes
            block[first - start :: prime] = bytes(len(range(first, stop, prime)))
        yield stop - 1, block.count(1)


def _sieve(limit: int) -> list[int]:
    numbers = bytearray([1]) * (limit + 1)
    for candidate in range(2, math.isqrt(limit) + 1):
        if numbers[candidate]:
            numbers[candidate * candidate :: candidate] = bytes(len(range(candidate * candidate, limit + 1, candidate)))
    return [number for number in range(2, limit + 1) if numbers[number]]
