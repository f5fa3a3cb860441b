"""The peers, ourselves among them: how each is started, subscribed to and published to."""

from __future__ import annotations

from bench.peers.base import Peer
from bench.peers.limits import Limit
from bench.peers.nchan import Nchan
from bench.peers.others import OTHERS
from bench.peers.ours import Ours

#: In the order in which they are measured and shown; the others are told as ratios to the first.
PEERS: tuple[Peer, ...] = (Ours(), Nchan(), *OTHERS, Limit("each"), Limit("join"))
