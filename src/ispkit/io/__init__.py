"""Files in and out: RAW containers, headerless dumps, DNG and picture writers."""
