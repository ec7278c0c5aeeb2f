"""Recognition of a frame while it is scanned: new lines cost what new lines cost."""
