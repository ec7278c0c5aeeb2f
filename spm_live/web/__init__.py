"""The viewer: an HTTP and WebSocket server and its page."""
