"""A server that turns RAW frames into pictures, labels and boxes: engine, batcher, routes, page, client."""
