"""Numbers about pictures: every metric gives (B,) and says its range and direction."""
