"""From frame to frame: drift, and the molecules that stayed, moved, turned, came and went."""
