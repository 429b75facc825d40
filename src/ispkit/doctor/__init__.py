"""What the pixels say against what the file says: a RAW file's examination, with words, numbers and a picture."""
