"""The Centrifuge client protocol (JSON, version 2) from either side, and the frames that carry it. No I/O."""
